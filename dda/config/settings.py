"""The settings of an amplification and of a training: every key but those that are declared to change no output."""

from collections.abc import Mapping, Sequence
from typing import Any

from dda.config.schema import AmplifyConfig, TrainConfig
from dda.errors import keys_of
from dda.options import fingerprint_options
from dda.pairs.plan import Plan
from dda.styles import Style
from dda.system.device import pick_device


def amplify_settings(cfg: AmplifyConfig, plan: Plan, styles: Sequence[Style], shard_count: int) -> dict[str, Any]:
    """Return everything that decides the bytes of the pairs.

    The number of CPU threads is not part of it, though it may change the last bit of a sum and so, rarely, a value by
    one level.

    Args:
        cfg: the configuration.
        plan: of the run.
        styles: as resolved from the style set.
        shard_count: number of shards, those of launch=local included.
    """
    resolved = {style.name: {"regions": dict(style.regions), "strength": dict(style.strength)} for style in styles}
    return {
        **_fingerprint(cfg),
        "style_set.styles": resolved,
        "device": pick_device(cfg.device).type,
        "shard.count": shard_count,
        "dataset.root": f"{len(plan.faces)} pictures",
        "the names of the pictures in dataset.root": plan.fingerprint[:12],
    }


def train_settings(
    cfg: TrainConfig, styles: Sequence[str], picture_hashes: Sequence[str], precision: str, model: Mapping[str, Any]
) -> dict[str, Any]:
    """Return everything that decides the weights that a training ends with.

    Args:
        cfg: the configuration.
        styles: names of the trained styles.
        picture_hashes: of the pictures of each pair.
        precision: the number format that ``train.precision`` means on this machine.
        model: those options of the model that decide the trained weights.
    """
    options = {name: value for name, value in fingerprint_options(cfg).items() if not name.startswith("model.")}
    return {
        **options,
        "data.root": f"{len(picture_hashes)} pairs of {', '.join(styles)}",
        "the pictures": list(picture_hashes),
        "train.precision": precision,
        **{f"model.{name}": value for name, value in model.items()},
    }


def _fingerprint(cfg: AmplifyConfig) -> dict[str, Any]:
    """Return the keys that change the output; the model's as the model itself names them on this machine."""
    found = {name: value for name, value in fingerprint_options(cfg).items() if not name.startswith("model.")}
    with keys_of("model"):
        model = cfg.model.fingerprint(pick_device(cfg.device))
    return found | {f"model.{name}": value for name, value in model.items()}
