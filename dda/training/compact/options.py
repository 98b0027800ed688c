"""Options of the compact model's trainer."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dda.options import Limit, at_least, option
from dda.training.options import TrainerOptions

if TYPE_CHECKING:  # torch takes seconds to import
    import torch

    from dda.models.options import ModelOptions
    from dda.training.compact.trainer import CompactTrainer

INIT = Limit(
    "shipped, scratch or a checkpoint folder that exists",
    lambda value: value in ("shipped", "scratch") or os.path.isdir(value),
)


def fingerprint_init(init: str) -> str:
    """Return what a training starts from: "scratch", or the digest of a checkpoint's files."""
    from dda.models.compact.checkpoint import digest_checkpoint  # imports torch, which takes seconds

    return init if init == "scratch" else digest_checkpoint(None if init == "shipped" else init)


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

    def open(self, model: "ModelOptions", seed: int, device: "torch.device") -> "CompactTrainer":
        """As :meth:`TrainerOptions.open`."""
        from dda.models.compact.options import CompactOptions
        from dda.training.compact.trainer import CompactTrainer

        assert isinstance(model, CompactOptions)
        return CompactTrainer(self, model, seed, device)
