"""Options of the LoRA trainer of Stable Diffusion."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from dda.errors import UserError
from dda.options import SHARE, Limit, at_least, option
from dda.training.options import TrainerOptions

if TYPE_CHECKING:  # torch takes seconds to import
    import torch

    from dda.models.options import ModelOptions
    from dda.training.lora.trainer import LoraTrainer

RESOLUTION = Limit("a multiple of 64 from 64 to 1024", lambda value: value in range(64, 1025, 64))


@dataclass(kw_only=True)
class LoraTrainerOptions(TrainerOptions):
    """LoRA on the attention of the U-Net, by the noise that leads from source to target."""

    rank: int = option("Rank of the LoRA matrices.", limit=at_least(1))
    condition_dropout: float = option(
        "Share of targets replaced by their bare source, under the bare prompt.", limit=SHARE
    )
    resolution: int = option("Side of the pictures in pixels.", limit=RESOLUTION)
    gradient_checkpointing: bool = option("Save memory at a third more time.", changes_output=False)
    seed_format: bool = option("Also write checkpoint.pth, the whole U-Net in the seed format.", changes_output=False)

    def open(self, model: "ModelOptions", seed: int, device: "torch.device") -> "LoraTrainer":
        """As :meth:`TrainerOptions.open`."""
        if missing := [name for name in ("accelerate", "peft") if find_spec(name) is None]:
            raise UserError(f"LoRA training needs {missing[0]}; install it with pip install -e '.[sd15]'")
        from dda.models.stable_diffusion.options import StableDiffusionOptions
        from dda.training.lora.trainer import LoraTrainer

        assert isinstance(model, StableDiffusionOptions)
        return LoraTrainer(self, model, seed, device)
