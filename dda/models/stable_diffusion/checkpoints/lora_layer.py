"""LoRA layers under the keys of every version of diffusers and peft, and their merging with the U-Net's weights.

LoRA: Hu et al., Low-Rank Adaptation of Large Language Models, ICLR 2022, section 4.1: W + (alpha / r) B A, with A the
"down" and B the "up" matrix.

``save_attn_procs`` of diffusers before 0.26 wrote ``X.processor.to_q_lora.down.weight``; a state dict taken after the
first forward pass of such a U-Net has ``X.to_q.lora_layer.down.weight``; ``save_lora_weights`` wrote
``X.to_q.lora.down.weight``. Diffusers 0.42 ignores the first two. peft writes ``X.to_q.lora_A.weight``. One file may
mix them: ``convert_state_dict_to_diffusers`` renames the layers of attention only.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from dda.models.stable_diffusion.checkpoints.checkpoint_file import CheckpointFile

KEY_FORMATS = {"legacy": ("_lora.", ".lora_layer."), "diffusers": (".lora.",), "peft": (".lora_A.", ".lora_B.")}
"""Formats of LoRA keys, by the parts that occur in them."""

_PREFIX = re.compile(r"^(unet\.|base_model\.model\.)")  # of save_lora_weights, of peft's save_pretrained
_PROCESSOR = re.compile(r"\.processor\.to_(q|k|v|out)_lora\.")
_LAYER = re.compile(r"(?P<module>.+?)(\.lora_layer|\.lora)?\.(?P<part>down\.weight|up\.weight|alpha|network_alpha)")
_PEFT = re.compile(r"(?P<module>.+)\.(?P<part>lora_A\.weight|lora_B\.weight)")
_PARTS = {"lora_A.weight": "down.weight", "lora_B.weight": "up.weight", "network_alpha": "alpha"}


@dataclass(frozen=True)
class LoRALayer:
    """The LoRA update of one module's weight: scale * up @ down.

    Attributes:
        module: name of the module in the U-Net.
        down: A, (r, in) for a linear layer, (r, in, k, k) for a convolution.
        up: B, (out, r) or (out, r, 1, 1).
        scale: alpha / r if the file has an alpha, else 1.
    """

    module: str
    down: torch.Tensor
    up: torch.Tensor
    scale: float

    @property
    def rank(self) -> int:
        """The rank r."""
        return len(self.down)

    @property
    def weight_name(self) -> str:
        """Name of the weight that the layer updates."""
        return f"{self.module}.weight"

    def merge(self, weight: torch.Tensor) -> torch.Tensor:
        """Return W + scale * up @ down, float32."""
        down, up = (part.to(weight.device, torch.float32).flatten(1) for part in (self.down, self.up))
        return weight.detach().float() + self.scale * (up @ down).view_as(weight)


def parse_key(key: str) -> tuple[str, str] | None:
    """Parse a key into the module and the part of its layer: down.weight, up.weight or alpha; None if not LoRA's."""
    plain = _PROCESSOR.sub(
        lambda found: f".to_{found[1]}{'.0' if found[1] == 'out' else ''}.lora.", _PREFIX.sub("", key)
    )
    found = _PEFT.fullmatch(plain) or _LAYER.fullmatch(plain)
    return (found["module"], _PARTS.get(found["part"], found["part"])) if found else None


def detect_key_format(keys: Sequence[str]) -> str:
    """Return the names of the formats that occur among the keys (legacy, diffusers or peft), for the log."""
    return " and ".join(
        name for name, parts in KEY_FORMATS.items() if any(part in key for key in keys for part in parts)
    )


def build_layers(
    file: CheckpointFile, tensors: Mapping[str, torch.Tensor], scale_of: Callable[[str, int], float]
) -> list[LoRALayer]:
    """Build the layers of LoRA tensors, one for each module.

    Args:
        file: file of the tensors.
        tensors: by key; `parse_key` must know every key.
        scale_of: scale of a module without an alpha of its own, from the module's name and rank.

    Raises:
        OptionError: a part occurs twice or is missing, or the parts of a layer do not fit each other.
    """
    modules: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        module, part = parse_key(key) or ("", key)
        if part in modules.setdefault(module, {}):
            raise file.make_error(f"holds the LoRA {part} of {module} twice, under two keys; keep one of them")
        modules[module][part] = tensor
    return [_build_layer(file, module, parts, scale_of) for module, parts in modules.items()]


def _build_layer(
    file: CheckpointFile, module: str, parts: Mapping[str, torch.Tensor], scale_of: Callable[[str, int], float]
) -> LoRALayer:
    for part in ("down.weight", "up.weight"):
        if part not in parts:
            raise file.make_error(f"lacks the LoRA {part} of {module}; copy or download it again")
    down, up = parts["down.weight"], parts["up.weight"]
    rank = len(down) if down.ndim else 0
    if rank == 0 or down.ndim not in (2, 4) or up.ndim != down.ndim or up.shape[1] != rank or up[0].numel() != rank:
        raise file.make_error(
            f"holds LoRA weights of {module} that do not fit each other: "
            f"down {tuple(down.shape)}, up {tuple(up.shape)}; they must be (r, in) and (out, r)"
        )
    alpha = parts.get("alpha")
    scale = scale_of(module, rank) if alpha is None else file.check_scalar(alpha, f"the alpha of {module}") / rank
    return LoRALayer(module, down, up, scale)


def merge_layers(
    file: CheckpointFile, layers: Sequence[LoRALayer], weights: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Merge layers with a U-Net's weights; return those that change, by name, float32.

    Args:
        file: file of the layers.
        layers: one for each module.
        weights: of the U-Net, by name.

    Raises:
        OptionError: a layer of a module that the U-Net does not have, or of another shape.
    """
    for layer in layers:
        if layer.weight_name not in weights:
            raise file.make_error(
                f"holds LoRA for {layer.module}, which this U-Net does not have: it is of another model"
            )
        shape = (len(layer.up), *layer.down.shape[1:])
        unet_shape = tuple(weights[layer.weight_name].shape)
        if shape != unet_shape:
            raise file.make_error(
                f"holds LoRA for a {layer.module} of shape {shape}, this U-Net's is {unet_shape}: "
                "it is of another model"
            )
    return {layer.weight_name: layer.merge(weights[layer.weight_name]) for layer in layers}
