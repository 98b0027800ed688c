"""Fixtures of checkpoints: a tiny U-Net, its LoRA, and the error that refuses a checkpoint."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

from dda.errors import OptionError
from dda.models.stable_diffusion.checkpoints import apply_checkpoint
from tests.models.stable_diffusion.checkpoints.tiny import State, legacy_lora, make_unet


@pytest.fixture
def unet() -> UNet2DConditionModel:
    return make_unet()


@pytest.fixture
def lora(unet: UNet2DConditionModel) -> State:
    """LoRA of the U-Net's attention under legacy keys."""
    return legacy_lora(unet)


@pytest.fixture
def refusal(unet: UNet2DConditionModel) -> Callable[[Path], str]:
    """A function from a checkpoint to the line that refuses it; it checks that the U-Net is unchanged."""

    def refuse(checkpoint: Path) -> str:
        before = {key: tensor.clone() for key, tensor in unet.state_dict().items()}
        with pytest.raises(OptionError) as caught:
            apply_checkpoint(checkpoint, unet)
        after = unet.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)
        message = str(caught.value)
        assert "\n" not in message and message.startswith(f"checkpoint={checkpoint}: ")
        return message

    return refuse
