"""The official TinyBeauty release: a folder of LoRA (``save_attn_procs``) and ``proj.pth``, the image tokens.

The U-Net is conditioned by no text at all: by CLIP tokens of the face to paint, then those of a reference picture of
the style (github.com/TinyBeauty/TinyBeauty, SD_inference.py). It has no alpha and no region weights. Its script also
steers with a canny ControlNet of the base model, which is not part of the folder and is not used here.
"""

from pathlib import Path

from diffusers import UNet2DConditionModel

from dda.models.stable_diffusion.checkpoints.applied_checkpoint import AppliedCheckpoint, Reading, describe
from dda.models.stable_diffusion.checkpoints.checkpoint_file import CheckpointFile
from dda.models.stable_diffusion.checkpoints.lora_file import NAMES, find_lora, merge_lora
from dda.models.stable_diffusion.image_tokens import ImageTokens

PROJECTION = "proj.pth"
_KEYS = ("proj.weight", "proj.bias", "norm.weight", "norm.bias")


def read_official(folder: Path, unet: UNet2DConditionModel) -> Reading:
    """The LoRA of the folder merged into the U-Net's weights, and the image tokens that condition it.

    Raises:
        UserError: a file is missing or does not fit the U-Net.
    """
    lora = find_lora(folder) or CheckpointFile(folder, folder / NAMES[0])
    weights, loaded, ignored = merge_lora(lora, *lora.read(), unet)
    tokens = _read_projection(CheckpointFile(folder, folder / PROJECTION), unet.config.cross_attention_dim)
    loaded = f"{loaded}, {tokens.count} image tokens a picture"
    return Reading(
        weights,
        AppliedCheckpoint(describe("official release", loaded, ignored), image_tokens=tokens),
    )


def _read_projection(file: CheckpointFile, width: int) -> ImageTokens:
    content, _ = file.read()
    tensors = file.tensors(content)
    if tensors.keys() != set(_KEYS):
        wrong = min(tensors.keys() ^ set(_KEYS))
        raise file.refusal(f"{'lacks' if wrong in _KEYS else 'holds'} {wrong}; it must hold {', '.join(_KEYS)}")
    weight, norm = tensors["proj.weight"], tensors["norm.weight"]
    if norm.shape != (width,):
        raise file.refusal(f"makes tokens of {tuple(norm.shape)}, this U-Net takes ({width},): it is of another model")
    if weight.ndim != 2 or len(weight) % width or not weight.numel():
        raise file.refusal(
            f"holds proj.weight of shape {tuple(weight.shape)}; it must be (tokens x {width}, embedding)"
        )
    tokens = ImageTokens(weight.shape[1], len(weight) // width, width)
    for name, parameter in tokens.named_parameters():
        if tensors[name].shape != parameter.shape:
            raise file.refusal(
                f"holds {name} of shape {tuple(tensors[name].shape)}; it must be {tuple(parameter.shape)}"
            )
    tokens.load_state_dict(tensors)
    return tokens.eval().requires_grad_(False)
