"""A tiny U-Net, its LoRA, and what refusing a checkpoint must look like."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

from dda.errors import UserError
from dda.models.stable_diffusion.checkpoints import apply_checkpoint
from tests.models.stable_diffusion.checkpoints.tiny import State, legacy_lora, make_unet


@pytest.fixture
def unet() -> UNet2DConditionModel:
    return make_unet()


@pytest.fixture
def lora(unet: UNet2DConditionModel) -> State:
    """LoRA of the U-Net's attention in legacy keys."""
    return legacy_lora(unet)


@pytest.fixture
def refusal(unet: UNet2DConditionModel) -> Callable[[Path], str]:
    """The one line that refuses a checkpoint; the U-Net is as it was."""

    def refuse(checkpoint: Path) -> str:
        before = {key: tensor.clone() for key, tensor in unet.state_dict().items()}
        with pytest.raises(UserError) as caught:
            apply_checkpoint(checkpoint, unet)
        after = unet.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)
        message = str(caught.value)
        assert "\n" not in message and message.startswith(f"model.checkpoint={checkpoint}: ")
        return message

    return refuse
