"""A tiny U-Net of the real class, the LoRA of its attention under every key format, and their merging in plain code."""

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel

State = dict[str, torch.Tensor]


def make_unet(seed: int = 0, width: int = 32) -> UNet2DConditionModel:
    """A U-Net of random weights; `width` is its cross_attention_dim."""
    return copy.deepcopy(_make_unet(seed, width))


@cache
def _make_unet(seed: int, width: int) -> UNet2DConditionModel:
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=width,
        norm_num_groups=8,
        attention_head_dim=8,
    )
    return unet.eval().requires_grad_(False)


def legacy_lora(unet: UNet2DConditionModel, rank: int = 4) -> State:
    """State dict that `save_attn_procs` of diffusers 0.25 wrote: four layers of each attention."""
    generator = torch.Generator().manual_seed(1)
    state = {}
    for processor in unet.attn_processors:
        attention = unet.get_submodule(processor.removesuffix(".processor"))
        for target in ("to_q", "to_k", "to_v", "to_out"):
            linear = attention.to_out[0] if target == "to_out" else getattr(attention, target)
            for side, shape in (("down", (rank, linear.in_features)), ("up", (linear.out_features, rank))):
                state[f"{processor}.{target}_lora.{side}.weight"] = torch.randn(shape, generator=generator) * 0.3
    return state


def layer_keys(legacy: State) -> State:
    """The keys of a state dict that diffusers 0.20 to 0.25 gave after the first forward pass."""
    return {
        key.replace(".processor.to_out_lora.", ".to_out.0.lora_layer.")
        .replace(".processor.", ".")
        .replace("_lora.", ".lora_layer."): tensor
        for key, tensor in legacy.items()
    }


def peft_keys(legacy: State) -> State:
    """The keys of `save_lora_weights` today."""
    return {
        "unet." + key.replace("lora_layer.down", "lora_A").replace("lora_layer.up", "lora_B"): tensor
        for key, tensor in layer_keys(legacy).items()
    }


def merge_by_hand(unet: UNet2DConditionModel, legacy: State, scale: float = 1.0) -> State:
    """The U-Net's state dict with W + scale * up @ down."""
    state = {key: tensor.clone() for key, tensor in unet.state_dict().items()}
    for key in legacy:
        if ".down." in key:
            processor, target = key.split(".processor.")[0], key.split(".processor.")[1].split("_lora.")[0]
            name = f"{processor}.{'to_out.0' if target == 'to_out' else target}.weight"
            state[name] += scale * legacy[key.replace(".down.", ".up.")] @ legacy[key]
    return state


@torch.no_grad()
def output(unet: UNet2DConditionModel) -> torch.Tensor:
    """Output of a U-Net for one fixed input."""
    generator = torch.Generator().manual_seed(2)
    latents = torch.randn(2, 4, 8, 8, generator=generator)
    embeds = torch.randn(2, 5, unet.config.cross_attention_dim, generator=generator)
    return unet(latents, torch.tensor([10, 700]), embeds).sample


class Trap:
    """Writes a file if it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., int], tuple[str, str]]:
        return _write_text, (str(self.file), "run by a pickle")


def _write_text(file: str, text: str) -> int:
    return Path(file).write_text(text)


def are_same(one: State, other: State, tolerance: float = 0.0) -> bool:
    return one.keys() == other.keys() and all(torch.allclose(one[k], other[k], rtol=0, atol=tolerance) for k in one)
