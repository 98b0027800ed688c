"""Configuration: schemas for Hydra, the run folder, and the checks made before anything loads."""

import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dda.mistakes import UserError, explain_value
from dda.schema import AmplifyConfig, EvalConfig, TrainConfig


def register_configs() -> None:
    """Give Hydra the schemas (group `schema/`) and the resolvers that `conf/` uses."""
    store = ConfigStore.instance()
    store.store(group="schema", name="amplify", node=AmplifyConfig, package="_global_")
    store.store(group="schema", name="train", node=TrainConfig, package="_global_")
    store.store(group="schema", name="eval", node=EvalConfig, package="_global_")
    # Cached, so that `latest` stays the same run for every job of a sweep.
    OmegaConf.register_new_resolver("dda.run_folder", _run_folder, use_cache=True, replace=True)
    OmegaConf.register_new_resolver("dda.job_folder", _job_folder, replace=True)
    OmegaConf.register_new_resolver("dda.evaluation_name", _evaluation_name, use_cache=True, replace=True)


# --- The run folder ---------------------------------------------------------------------------------------

STATE_NAME = "state.pt"
"""In the folder of a training: what it goes on from."""

SWEEP_RECORD = "multirun.yaml"
"""In the folder of a multirun: Hydra's record of it."""


@dataclass(frozen=True)
class Run:
    """Where a job writes, and the name of the run it belongs to (`latest` resolved)."""

    name: str
    folder: Path


def resolve_run(cfg: DictConfig, task: str) -> Run:
    """The run of this job: Hydra's where Hydra started it, else `<paths.outputs>/<task>/<run_name>`.

    Raises:
        UserError: a `run_name` that is no folder name, or `latest` where there is no run.
    """
    if HydraConfig.initialized():
        hydra = HydraConfig.get()
        folder = Path(hydra.runtime.output_dir)
        return Run(folder.parent.name if hydra.mode == RunMode.MULTIRUN else folder.name, folder)
    folder = Path(_run_folder(cfg.paths.outputs, task, cfg.run_name))
    return Run(folder.name, folder)


def resolve_pairs(cfg: DictConfig) -> Path:
    """The folder that an evaluation measures: `run` (`latest` resolved), or `pairs`.

    Raises:
        UserError: neither is given or both are, or `latest` where there is no run.
    """
    return _pairs_folder(cfg.paths.outputs, cfg.run, cfg.pairs)


def last_written(run_folder: Path) -> int:
    """When the newest file of a run was written, in ns since the epoch; 0 for a run that wrote nothing.

    Hydra's own files do not count: it writes them for refused starts and dry runs too.
    """
    files = [*run_folder.glob("[!.]*"), *run_folder.glob("[!.]*/[!.]*")]
    return max((f.stat().st_mtime_ns for f in files if f.is_file() and f.name != SWEEP_RECORD), default=0)


def _newest_run(runs: Path) -> Path | None:
    written = {run: last_written(run) for run in runs.glob("[!.]*")}
    newest = max(written, key=lambda run: (written[run], run.name), default=None)
    return newest if newest is not None and written[newest] else None


def _run_folder(outputs: str, task: str, run_name: str) -> str:
    runs = Path(outputs) / task
    if run_name == "latest":
        newest = _newest_run(runs)
        if newest is None:
            raise UserError(f"run_name=latest: there is no run in {runs} yet; leave run_name out to start one")
        return str(newest)
    if not FOLDER_NAME.holds(run_name):
        raise UserError(
            f"run_name={run_name}: must be {FOLDER_NAME.allowed}; the folder it lies in is paths.outputs={outputs}"
        )
    return str(runs / run_name)


def _pairs_folder(outputs: str, run: str | None, pairs: str | None) -> Path:
    if (run is None) == (pairs is None):
        raise UserError(
            f"run={run or 'null'} pairs={pairs or 'null'}: exactly one of them must be given; write "
            "run=outputs/amplify/NAME or run=latest for a run of run_amplify.py, "
            "pairs=DIR for any folder with source/ and target/"
        )
    if run == "latest":
        runs = Path(outputs) / "amplify"
        newest = _newest_run(runs)
        if newest is None:
            raise UserError(f"run=latest: there is no run in {runs} yet; make one with run_amplify.py")
        return newest
    return Path(str(run or pairs))


def _evaluation_name(outputs: str, run: str | None, pairs: str | None) -> str:
    """An evaluation is called after what it measures; a job of a multirun, RUN_JOB."""
    folder = _pairs_folder(outputs, run, pairs).resolve()
    runs = Path(outputs, "amplify").resolve()
    if folder == runs:
        raise UserError(f"run={run}: is the folder of all runs; give one of those in it, or run=latest")
    return "_".join(folder.relative_to(runs).parts) if folder.is_relative_to(runs) else folder.name


def _job_folder(number: int, style_set: str, shard_count: int) -> str:
    """A job's folder in a sweep. Shards of one plan share theirs, so that one manifest comes of them."""
    _refuse("style_set.name", style_set, FOLDER_NAME)
    return style_set if shard_count > 1 else f"{number}_{style_set}"


# --- Checks -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Limit:
    """What a value may be, in words and as a test."""

    allowed: str
    holds: Callable[[Any], bool]


def at_least(least: int) -> Limit:
    return Limit(f"at least {least}", lambda value: value >= least)


def between(low: float, high: float) -> Limit:
    return Limit(f"between {low:g} and {high:g}", lambda value: low <= value <= high)


def one_of(*choices: str) -> Limit:
    return Limit(f"one of {', '.join(choices)}", lambda value: value in choices)


STRENGTH = Limit("a finite number, 0 or more", lambda value: math.isfinite(value) and value >= 0)
FILE = Limit("a file that exists", lambda value: os.path.isfile(value))
FOLDER = Limit("a folder that exists", lambda value: os.path.isdir(value))
FOLDER_NAME = Limit(
    "the name of one folder (no slashes, no dot in front, at most 255 bytes)",
    lambda value: re.fullmatch(r"[^./\\\0][^/\\\0]*", value) is not None and len(value.encode()) <= 255,
)

# A null needs no check: the schema says where it is allowed. A key that a config does not have is skipped.
LIMITS = {
    "batch_size": between(1, 1024),
    "seed": Limit("between 0 and 2**63 - 1", lambda value: 0 <= value < 2**63),
    "num_pairs": at_least(1),
    "style_assignment": one_of("random", "balanced", "all"),
    "faces": one_of("largest", "all", "reject"),
    "failure_budget": between(0, 1),
    "device": Limit(
        "one of auto, cpu, cuda, cuda:N, mps",
        lambda value: re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value) is not None,
    ),
    "tags": Limit("words of 1 to 64 characters", lambda value: all(0 < len(tag) <= 64 for tag in value)),
    "strength.makeup": STRENGTH,
    "strength.detail": between(0, 1),
    "strength.eyes": STRENGTH,
    "strength.lips": STRENGTH,
    "strength.skin": STRENGTH,
    "strength.brows": STRENGTH,
    "shard.count": at_least(1),
    "shard.index": at_least(0),
    "batch.workers": at_least(1),
    "model.name": one_of("compact", "sd15"),
    "model.checkpoint": Limit("a path that exists", lambda value: os.path.exists(value)),
    "model.steps": between(1, 1000),
    "model.start": one_of("noise", "inversion"),
    "model.strength": Limit("above 0 and at most 1", lambda value: 0 < value <= 1),
    "model.guidance": Limit("a finite number, 1 (none) or more", lambda value: math.isfinite(value) and value >= 1),
    "model.conditioning": one_of("attention", "sum"),
    "model.precision": one_of("auto", "fp32", "bf16", "fp16"),
    "model.prompt": Limit("a text that holds {style}, which the style's name takes", lambda value: "{style}" in value),
    "style_set.name": FOLDER_NAME,
    "dataset.name": one_of("demo", "folder", "ffhq"),
    "dataset.root": Limit("the path of a folder", lambda value: value != ""),
    "dataset.align": one_of("ffhq", "none"),
    "parser.name": one_of("mesh", "farl"),
    "parser.labels": one_of("lapa", "celebm"),
    "parser.weights": FILE,
    "parser.detector_weights": FILE,
    "engine.name": one_of("local", "ray"),
    "engine.workers": at_least(1),
    "engine.threads": at_least(1),
    "engine.address": Limit(
        "local, auto or HOST:PORT", lambda value: re.fullmatch(r"local|auto|[^/\s]+:\d+", value) is not None
    ),
    "launch.name": one_of("none", "local", "slurm"),
    "launch.processes": at_least(1),
    "logger.name": one_of("wandb", "none"),
    "logger.mode": one_of("auto", "online", "offline", "disabled"),
    "logger.grid_every": at_least(0),
    "paths.outputs": Limit("the path of a folder", lambda value: value != ""),
    "run": Limit(
        "latest, or the folder of a run (outputs/amplify/NAME)", lambda value: value == "latest" or os.path.isdir(value)
    ),
    "pairs": FOLDER,
    "oracle": FOLDER,
    "num_samples": at_least(1),
    "metrics": Limit("null for all, or a list of at least one, such as [ssim,strength]", lambda value: len(value) > 0),
    "data.root": FOLDER,
    "data.holdout": FOLDER,
    "train.updates": at_least(1),
    "train.batch_size": between(1, 1024),
    "train.learning_rate": Limit("a finite number above 0", lambda value: math.isfinite(value) and value > 0),
    "train.morphs": at_least(0),
    "train.level": at_least(0),
    "train.collage": at_least(0),
    "train.ema": Limit("at least 0 and below 1", lambda value: 0 <= value < 1),
    "train.precision": one_of("auto", "fp32", "bf16", "fp16"),
    "train.rank": at_least(1),
    "train.condition_dropout": Limit("at least 0 and below 1", lambda value: 0 <= value < 1),
    "train.resolution": Limit("a multiple of 64 from 64 to 1024", lambda value: value in range(64, 1025, 64)),
    "train.init": Limit(
        "shipped, scratch or a checkpoint folder that exists",
        lambda value: value in ("shipped", "scratch") or os.path.isdir(value),
    ),
    "train.log_every": at_least(1),
    "train.grid_every": at_least(1),
    "train.checkpoint_every": at_least(1),
}


def check(cfg: DictConfig) -> None:
    """Refuse what the types cannot: missing values, added keys, ranges, choices, what does not go together.

    Works on all three configurations, without loading a model or reading a picture.

    Raises:
        UserError: the first mistake found.
    """
    schema = TrainConfig if "train" in cfg else EvalConfig if "num_samples" in cfg else AmplifyConfig
    try:
        typed = OmegaConf.merge(OmegaConf.structured(schema), OmegaConf.to_container(cfg, resolve=True))
    except OmegaConfBaseException as error:
        raise UserError(explain_value(error)) from error
    for key in sorted(OmegaConf.missing_keys(typed)):
        raise UserError(f"{key}: must be given; write {key}=VALUE")
    for key, limit in LIMITS.items():
        _check_value(typed, key, limit)
    if schema is not EvalConfig:
        _check_latent(typed)
    if schema is TrainConfig:
        _check_train(typed)
    if schema is AmplifyConfig:
        _check_amplify(typed)
    _check_parser(typed)
    if not (schema is AmplifyConfig and typed.engine.name == "ray"):  # its GPUs are elsewhere
        _check_device(typed.device)


def _check_value(cfg: Any, key: str, limit: Limit) -> None:
    value = OmegaConf.select(cfg, key)
    if value is not None:
        _refuse(key, value, limit)


def _refuse(key: str, value: Any, limit: Limit) -> None:
    """Refuse a value outside its limit."""
    if not limit.holds(value):
        raise UserError(f"{key}={value}: must be {limit.allowed}")


LATENT = (
    *("pretrained", "start", "strength", "scheduler", "guidance"),
    *("conditioning", "precision", "style_images", "image_encoder"),
)
LATENT_OPTIONAL = ("prompt", "bare_prompt")


def _check_latent(cfg: Any) -> None:
    """The keys of a latent model are given for one, and none of them for another."""
    _check_own(cfg, "model", (*LATENT, *LATENT_OPTIONAL), "model", "sd15", optional=LATENT_OPTIONAL)


def _check_own(
    cfg: Any, part: str, keys: Sequence[str], group: str, owner: str, optional: Sequence[str] = (), home: str = ""
) -> None:
    """The keys of ``cfg[part]`` that only ``group=owner`` has are given for it, and for no other of the group.

    ``conf/<home>`` (``conf/<group>`` unless given) holds their usual values.
    """
    chosen = cfg[group].name
    for key in keys:
        value = cfg[part][key]
        if chosen != owner and value is not None:
            raise UserError(
                f"{part}.{key}={value}: {group}={chosen} has no such setting; it belongs to {group}={owner}"
            )
        if chosen == owner and value is None and key not in optional:
            raise UserError(
                f"{part}.{key}: must be given for {group}={owner}; "
                f"conf/{home or group}/{owner}.yaml has its usual value"
            )


TRAINERS = {
    "compact": ("init", "morphs", "level", "collage"),
    "sd15": ("rank", "condition_dropout", "gradient_checkpointing", "resolution", "seed_format"),
}


def _check_train(cfg: Any) -> None:
    """The keys of the model's own trainer are given, and none of the other's."""
    for model, keys in TRAINERS.items():
        _check_own(cfg, "train", keys, "model", model, home="trainer")
    if cfg.model.checkpoint is not None:
        start = "train.init=PATH" if cfg.model.name == "compact" else "model.pretrained=HUB_ID_OR_DIR"
        raise UserError(f"model.checkpoint={cfg.model.checkpoint}: is what amplifies; a training starts from {start}")
    if cfg.model.name == "compact" and cfg.train.precision == "fp16":
        raise UserError("train.precision=fp16: model=compact trains in auto, fp32 or bf16")


def _check_parser(cfg: Any) -> None:
    keys = ("labels", "weights", "detector_weights")
    _check_own(cfg, "parser", keys, "parser", "farl", optional=keys)


def _check_amplify(cfg: Any) -> None:
    for slug, style in cfg.style_set.styles.items():
        for region in style.strength:
            _check_value(cfg, f"style_set.styles.{slug}.strength.{region}", STRENGTH)
    if cfg.shard.index >= cfg.shard.count:
        raise UserError(
            f"shard.index={cfg.shard.index}: must be below shard.count={cfg.shard.count}; "
            f"the first shard is 0, the last is {cfg.shard.count - 1}"
        )
    if cfg.dataset.name == "folder" and cfg.dataset.root is None:
        raise UserError("dataset.root: must be given for dataset=folder; write dataset.root=DIR")
    if cfg.faces == "all" and cfg.dataset.align == "none":
        raise UserError(
            "faces=all: needs dataset.align=ffhq, which makes one picture of each face; "
            "with dataset.align=none use faces=largest or faces=reject"
        )
    _check_engine(cfg)
    _check_launch(cfg)


def _check_engine(cfg: Any) -> None:
    _check_own(cfg, "engine", ("workers", "threads", "address"), "engine", "ray", optional=["workers"])
    if cfg.engine.name == "ray" and cfg.faces == "all" and cfg.num_pairs is not None:
        raise UserError(
            f"engine=ray: with faces=all nobody knows beforehand which pictures bring num_pairs={cfg.num_pairs} pairs; "
            "use num_pairs=null, faces=largest or engine=local"
        )


def _check_launch(cfg: Any) -> None:
    """What Hydra's mode has to be is checked too, where Hydra started this job."""
    launch, sweeping = cfg.launch.name, HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    if launch != "local" and cfg.launch.processes is not None:
        raise UserError(f"launch.processes={cfg.launch.processes}: belongs to launch=local")
    if launch == "local" and cfg.shard.count > 1:
        raise UserError(f"shard.count={cfg.shard.count}: launch=local deals the shards itself; leave shard out")
    if launch == "local" and cfg.engine.name != "local":
        raise UserError(f"launch=local: engine={cfg.engine.name} starts processes itself; use one of the two")
    if launch == "local" and sweeping:
        raise UserError("launch=local: is for one run at a time; leave out -m, or launch=local")
    if launch == "slurm" and HydraConfig.initialized() and not sweeping:
        raise UserError(
            "launch=slurm: each shard is a job of a multirun; "
            "write -m 'shard.index=range(16)' shard.count=16 run_name=NAME"
        )
    if cfg.device.startswith("cuda:") and (launch == "local" or cfg.engine.name == "ray"):
        raise UserError(
            f"device={cfg.device}: each process gets a GPU of its own; use device=cuda, "
            "with CUDA_VISIBLE_DEVICES where not all of them are meant"
        )


def _check_device(device: str) -> None:
    if device in ("auto", "cpu"):
        return
    import torch  # takes seconds: only where the answer depends on it

    found = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    found += ["mps"] if torch.backends.mps.is_available() else []
    if device not in found and not (device == "cuda" and torch.cuda.is_available()):
        raise UserError(f"device={device}: not on this machine; use one of {', '.join(['auto', 'cpu', *found])}")
