"""The checks of a configuration, made before anything loads; a checked configuration is typed."""

from typing import Any, TypeVar, cast, get_type_hints

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dda.config.choices import TARGET, import_target
from dda.config.hydra_errors import describe_option_error
from dda.config.schema import AmplifyConfig, EvalConfig, TrainConfig
from dda.engines.options import LocalLaunchOptions, RayEngineOptions
from dda.errors import UserError
from dda.models.compact.options import CompactOptions
from dda.options import check_limit, walk_options

Config = TypeVar("Config", AmplifyConfig, TrainConfig, EvalConfig)


def check(cfg: DictConfig, schema: type[Config]) -> Config:
    """Check a composed configuration and return it typed.

    Missing values, unknown keys, types, limits, and options that exclude each other are refused, without loading a
    model or reading a picture.

    Raises:
        UserError: the first error found.
    """
    typed = _typed(cfg, schema)
    for name, option in walk_options(typed):
        check_limit(name, _select(typed, name), option.metadata.get("limit"))
    if isinstance(typed, AmplifyConfig):
        _check_amplify(typed)
    if isinstance(typed, TrainConfig):
        _check_train(typed)
    if not (isinstance(typed, AmplifyConfig) and isinstance(typed.engine, RayEngineOptions)):  # its GPUs are elsewhere
        _check_device(typed.device)
    return typed


def _typed(cfg: DictConfig, schema: type[Config]) -> Config:
    try:
        values = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
        node = OmegaConf.structured(schema)
        for group, kind in get_type_hints(schema).items():
            chosen = values.get(group)
            if isinstance(chosen, dict) and TARGET in chosen:
                options = import_target(chosen.pop(TARGET), kind)
                node = OmegaConf.merge(node, {group: OmegaConf.structured(options)})
        merged = OmegaConf.merge(node, values)
        for key in sorted(OmegaConf.missing_keys(merged)):
            raise UserError(f"{key}: must be given; write {key}=VALUE")
        return cast(Config, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        raise UserError(describe_option_error(error)) from error


def _select(options: Any, name: str) -> Any:
    for part in name.split("."):
        options = options[part] if isinstance(options, dict) else getattr(options, part)
    return options


def _check_train(cfg: TrainConfig) -> None:
    checkpoint = getattr(cfg.model, "checkpoint", None)
    if checkpoint is not None:
        start = "train.init=PATH" if isinstance(cfg.model, CompactOptions) else "model.pretrained=HUB_ID_OR_DIR"
        raise UserError(f"model.checkpoint={checkpoint}: is what amplifies; a training starts from {start}")
    if isinstance(cfg.model, CompactOptions) and cfg.train.precision == "fp16":
        raise UserError("train.precision=fp16: model=compact trains in auto, fp32 or bf16")


def _check_amplify(cfg: AmplifyConfig) -> None:
    for key, look in cfg.style_set.styles.items():
        for name, option in walk_options(look, f"style_set.styles.{key}."):
            check_limit(name, _select(cfg, name), option.metadata.get("limit"))
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
    if isinstance(cfg.engine, RayEngineOptions) and cfg.faces == "all" and cfg.num_pairs is not None:
        raise UserError(
            f"engine=ray: with faces=all nobody knows beforehand which pictures bring num_pairs={cfg.num_pairs} pairs; "
            "use num_pairs=null, faces=largest or engine=local"
        )
    _check_launch(cfg)


def _check_launch(cfg: AmplifyConfig) -> None:
    """Check what a launch excludes, Hydra's run mode included where Hydra launched this job."""
    is_multirun = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    is_local = isinstance(cfg.launch, LocalLaunchOptions)
    is_ray = isinstance(cfg.engine, RayEngineOptions)
    if is_local and cfg.shard.count > 1:
        raise UserError(f"shard.count={cfg.shard.count}: launch=local makes the shards itself; leave shard out")
    if is_local and is_ray:
        raise UserError(f"launch=local: engine={cfg.engine.name} starts processes itself; use one of the two")
    if is_local and is_multirun:
        raise UserError("launch=local: is for one run at a time; leave out -m, or launch=local")
    if cfg.launch.name == "slurm" and HydraConfig.initialized() and not is_multirun:
        raise UserError(
            "launch=slurm: each shard is a job of a multirun; "
            "write -m 'shard.index=range(16)' shard.count=16 run_name=NAME"
        )
    if cfg.device.startswith("cuda:") and (is_local or is_ray):
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
