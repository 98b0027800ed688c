"""Options of the compact model's trainer."""

import os
from dataclasses import dataclass

from dda.options import Limit, at_least, option
from dda.training.options import TrainerOptions

INIT = Limit(
    "shipped, scratch or a checkpoint folder that exists",
    lambda value: value in ("shipped", "scratch") or os.path.isdir(value),
)


def fingerprint_init(init: str) -> str:
    """Return what a training starts from: "scratch", or the digest of a checkpoint's files."""
    from dda.models.compact.checkpoint import checkpoint_digest  # imports torch, which takes seconds

    return init if init == "scratch" else checkpoint_digest(None if init == "shipped" else init)


@dataclass(kw_only=True)
class CompactTrainerOptions(TrainerOptions):
    """The compact model is trained whole, on canonical crops of the residual."""

    init: str = option(
        "Weights to start from: shipped | scratch | PATH of a checkpoint folder.",
        limit=INIT,
        is_path=True,
        fingerprint=fingerprint_init,
    )
    morphs: int = option("Faces made between two seed faces, to widen the variety; 0: none.", limit=at_least(0))
    lip_normalization: int = option(
        "Styles of at most so many faces: equalize how strongly lips are painted; 0: never.", limit=at_least(0)
    )
    patch_mix: int = option(
        "Styles of at most so many faces: mix patches of two faces, as CutMix does; 0: never.", limit=at_least(0)
    )
