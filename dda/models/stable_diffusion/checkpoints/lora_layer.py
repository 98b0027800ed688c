"""LoRA layers in every spelling of their keys, and their merging into plain weights.

``save_attn_procs`` of diffusers before 0.26 wrote ``X.processor.to_q_lora.down.weight``; a state dict taken after the
first forward pass of such a U-Net has ``X.to_q.lora_layer.down.weight``; ``save_lora_weights`` wrote
``X.to_q.lora.down.weight``. Today's diffusers ignores the first two. peft writes ``X.to_q.lora_A.weight``. One file
may mix them: ``convert_state_dict_to_diffusers`` renames the attention's layers alone.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from dda.models.stable_diffusion.checkpoints.checkpoint_file import CheckpointFile

_PREFIX = re.compile(r"^(unet\.|base_model\.model\.)")  # of save_lora_weights, of peft's save_pretrained
_PROCESSOR = re.compile(r"\.processor\.to_(q|k|v|out)_lora\.")
_LAYER = re.compile(r"(?P<module>.+?)(\.lora_layer|\.lora)?\.(?P<part>down\.weight|up\.weight|alpha|network_alpha)")
_PEFT = re.compile(r"(?P<module>.+)\.(?P<part>lora_A\.weight|lora_B\.weight)")
_PARTS = {"lora_A.weight": "down.weight", "lora_B.weight": "up.weight", "network_alpha": "alpha"}


@dataclass(frozen=True)
class LoRALayer:
    """What LoRA adds to the weight of one module: scale * up @ down.

    Attributes:
        module: name of the module in the U-Net.
        down: (r, in) for a linear layer, (r, in, k, k) for a convolution.
        up: (out, r) or (out, r, 1, 1).
        scale: alpha / r where the file has an alpha, else 1.
    """

    module: str
    down: torch.Tensor
    up: torch.Tensor
    scale: float

    @property
    def weight(self) -> str:
        """Name of the weight it changes."""
        return f"{self.module}.weight"

    def merged(self, weight: torch.Tensor) -> torch.Tensor:
        """W + scale * up @ down, in float32."""
        down, up = (part.to(weight.device, torch.float32).flatten(1) for part in (self.down, self.up))
        return weight.detach().float() + self.scale * (up @ down).view_as(weight)


def parse_key(key: str) -> tuple[str, str] | None:
    """The module and the part (down.weight, up.weight or alpha) that a key means; None where it is not LoRA's."""
    plain = _PROCESSOR.sub(
        lambda found: f".to_{found[1]}{'.0' if found[1] == 'out' else ''}.lora.", _PREFIX.sub("", key)
    )
    found = _PEFT.fullmatch(plain) or _LAYER.fullmatch(plain)
    return (found["module"], _PARTS.get(found["part"], found["part"])) if found else None


def spelling(keys: Sequence[str]) -> str:
    """How the layers among the keys are spelled, for the report."""
    marks = {"legacy": ("_lora.", ".lora_layer."), "diffusers": (".lora.",), "peft": (".lora_A.", ".lora_B.")}
    return " and ".join(name for name, parts in marks.items() if any(part in key for key in keys for part in parts))


def pair_up(
    file: CheckpointFile, tensors: Mapping[str, torch.Tensor], scale_of: Callable[[str, int], float]
) -> list[LoRALayer]:
    """The layers that LoRA tensors make.

    Args:
        file: where the tensors are from.
        tensors: by key; every key one that ``parse_key`` knows.
        scale_of: scale of a module without an alpha of its own, by its name and rank.

    Raises:
        UserError: a part is there twice or missing, or the parts do not fit each other.
    """
    modules: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        module, part = parse_key(key) or ("", key)
        if part in modules.setdefault(module, {}):
            raise file.refusal(f"holds the LoRA {part} of {module} twice, in two spellings; keep one of them")
        modules[module][part] = tensor
    return [_layer(file, module, parts, scale_of) for module, parts in modules.items()]


def _layer(
    file: CheckpointFile, module: str, parts: Mapping[str, torch.Tensor], scale_of: Callable[[str, int], float]
) -> LoRALayer:
    for part in ("down.weight", "up.weight"):
        if part not in parts:
            raise file.refusal(f"lacks the LoRA {part} of {module}; copy or download it again")
    down, up = parts["down.weight"], parts["up.weight"]
    rank = len(down) if down.ndim else 0
    if rank == 0 or down.ndim not in (2, 4) or up.ndim != down.ndim or up.shape[1] != rank or up[0].numel() != rank:
        raise file.refusal(
            f"holds LoRA weights of {module} that do not fit each other: "
            f"down {tuple(down.shape)}, up {tuple(up.shape)}; they must be (r, in) and (out, r)"
        )
    alpha = parts.get("alpha")
    scale = scale_of(module, rank) if alpha is None else file.number(alpha, f"the alpha of {module}") / rank
    return LoRALayer(module, down, up, scale)


def merge(
    file: CheckpointFile, layers: Sequence[LoRALayer], weights: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The weights that the layers change, as they shall be: W + scale * up @ down, float32.

    Args:
        file: where the layers are from.
        layers: one a module.
        weights: the U-Net's, by name.

    Raises:
        UserError: a layer of a module that is not there or has another shape.
    """
    for layer in layers:
        if layer.weight not in weights:
            raise file.refusal(f"holds LoRA for {layer.module}, which this U-Net does not have: it is of another model")
        found = (len(layer.up), *layer.down.shape[1:])
        wanted = tuple(weights[layer.weight].shape)
        if found != wanted:
            raise file.refusal(
                f"holds LoRA for a {layer.module} of shape {found}, this U-Net's is {wanted}: it is of another model"
            )
    return {layer.weight: layer.merged(weights[layer.weight]) for layer in layers}
