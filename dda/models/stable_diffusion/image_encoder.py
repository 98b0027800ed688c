"""The CLIP image encoder of checkpoints that are conditioned on pictures (the official release)."""

from typing import Any

import torch
from torch import nn
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from dda.errors import OptionError, first_line
from dda.models.stable_diffusion.pretrained import fingerprint_files

IMAGE_ENCODER_SUBFOLDER = "models/image_encoder"
"""Folder of the encoder inside its repository; IP-Adapter's repositories have it there."""

IMAGE_ENCODER_FILES = tuple(f"{IMAGE_ENCODER_SUBFOLDER}/{name}" for name in ("config.json", "model.safetensors"))
"""Files of the repository that are read."""


class ImageEncoder:
    """CLIP image embeddings of pictures.

    Args:
        model: CLIP's vision tower with its projection; the embeddings have its device.
    """

    def __init__(self, model: CLIPVisionModelWithProjection) -> None:
        self.model = model.eval().requires_grad_(False)
        self.processor = CLIPImageProcessor()

    @torch.no_grad()
    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return embeddings (N, projection_dim), float32, of pictures (N, 3, H, W) in [0, 1].

        CLIP's image processor resizes them and crops their center.
        """
        levels = (pictures * 255).round().to(torch.uint8)  # the release resizes 8-bit pictures
        pixel_values = self.processor(images=levels, return_tensors="pt").pixel_values
        return self.model(pixel_values.to(self.model.device, self.model.dtype)).image_embeds.float()


def fingerprint_image_encoder(pretrained: str) -> str:
    """Return the SHA-256 of the files of a local folder, wherever it lies; a hub id as it is."""
    return fingerprint_files(pretrained, IMAGE_ENCODER_FILES)


def load_image_encoder(pretrained: str, device: torch.device | None = None) -> ImageEncoder:
    """Load the image encoder of a hub id or local folder, with its weights in `IMAGE_ENCODER_SUBFOLDER`.

    Args:
        pretrained: the hub id or the folder; the release was trained with CLIP ViT-H/14 of "h94/IP-Adapter".
        device: where it runs; None: the CPU.

    Raises:
        OptionError: it is neither on this machine nor on the hub, is damaged or incomplete, or is no CLIP vision model.
    """
    try:
        loaded: Any = CLIPVisionModelWithProjection.from_pretrained(
            pretrained,
            subfolder=IMAGE_ENCODER_SUBFOLDER,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:  # transformers and safetensors have no common class for a damaged file
        raise OptionError(
            "image_encoder",
            f"the CLIP image encoder in {IMAGE_ENCODER_SUBFOLDER}, which this checkpoint needs, cannot be loaded: "
            f"{first_line(error)}; run once where the hub can be reached, or give a checkpoint conditioned on text",
            pretrained,
        ) from error
    model, report = loaded
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])[0]
        raise OptionError("image_encoder", f"its weights lack {missing}; download it again", pretrained)
    return ImageEncoder(nn.Module.to(model, device))
