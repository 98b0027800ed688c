"""The checks of a configuration, made before anything loads."""

from collections.abc import Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dda.config.hydra_errors import describe_option_error
from dda.config.limits import LIMITS, STRENGTH, Limit, refuse
from dda.config.schema import AmplifyConfig, EvalConfig, TrainConfig
from dda.errors import UserError


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
        raise UserError(describe_option_error(error)) from error
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
        refuse(key, value, limit)


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
