"""The official release of TinyBeauty: a folder with LoRA weights (``save_attn_procs``) and ``proj.pth``.

Its U-Net is conditioned on pictures instead of text: on CLIP embeddings of the face, then of a reference picture of the
style (github.com/TinyBeauty/TinyBeauty, SD_inference.py). It has no alpha and no region weights. Its script also uses a
canny ControlNet of the base model, which is not part of the folder and is not used here.
"""

from pathlib import Path

from diffusers import UNet2DConditionModel

from dda.models.stable_diffusion.checkpoints.applied_checkpoint import (
    AppliedCheckpoint,
    ParsedCheckpoint,
    summarize_checkpoint,
)
from dda.models.stable_diffusion.checkpoints.checkpoint_file import CheckpointFile
from dda.models.stable_diffusion.checkpoints.lora_file import LORA_WEIGHTS_NAMES, find_lora_file, merge_lora
from dda.models.stable_diffusion.image_projection import ImageProjection

PROJECTION_NAME = "proj.pth"
"""File of the image projection."""

_PROJECTION_KEYS = ("proj.weight", "proj.bias", "norm.weight", "norm.bias")


def read_official_release(folder: Path, unet: UNet2DConditionModel) -> ParsedCheckpoint:
    """Read a folder and merge its LoRA weights with the U-Net's.

    Raises:
        OptionError: a file is missing or does not fit the U-Net.
    """
    file = find_lora_file(folder) or CheckpointFile(folder, folder / LORA_WEIGHTS_NAMES[0])
    unet_weights, loaded, ignored = merge_lora(file, *file.read(), unet)
    projection = _read_projection(CheckpointFile(folder, folder / PROJECTION_NAME), unet.config.cross_attention_dim)
    loaded = f"{loaded}, {projection.num_embeds} image tokens a picture"
    summary = summarize_checkpoint("official release", loaded, ignored)
    return ParsedCheckpoint(unet_weights, AppliedCheckpoint(summary, image_projection=projection))


def _read_projection(file: CheckpointFile, cross_attention_dim: int) -> ImageProjection:
    content, _ = file.read()
    tensors = file.check_tensors(content)
    if tensors.keys() != set(_PROJECTION_KEYS):
        key = min(tensors.keys() ^ set(_PROJECTION_KEYS))
        problem = "lacks" if key in _PROJECTION_KEYS else "holds"
        raise file.make_error(f"{problem} {key}; it must hold {', '.join(_PROJECTION_KEYS)}")
    weight, norm = tensors["proj.weight"], tensors["norm.weight"]
    if norm.shape != (cross_attention_dim,):
        raise file.make_error(
            f"makes tokens of {tuple(norm.shape)}, this U-Net takes ({cross_attention_dim},): it is of another model"
        )
    if weight.ndim != 2 or len(weight) % cross_attention_dim or not weight.numel():
        raise file.make_error(
            f"holds proj.weight of shape {tuple(weight.shape)}; it must be (tokens x {cross_attention_dim}, embedding)"
        )
    projection = ImageProjection(weight.shape[1], len(weight) // cross_attention_dim, cross_attention_dim)
    for name, parameter in projection.named_parameters():
        if tensors[name].shape != parameter.shape:
            raise file.make_error(
                f"holds {name} of shape {tuple(tensors[name].shape)}; it must be {tuple(parameter.shape)}"
            )
    projection.load_state_dict(tensors)
    return projection.eval().requires_grad_(False)
