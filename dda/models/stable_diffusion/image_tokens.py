"""Image tokens: the condition of the official release, made of CLIP embeddings of the face and of a style's picture."""

from typing import Any

import torch
from torch import nn
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from dda.errors import UserError, first_line
from dda.models.stable_diffusion.pretrained import identity

ENCODER = "h94/IP-Adapter"
"""Hub id of the image encoder that the official release was trained with: CLIP ViT-H/14, embeddings of 1024."""

ENCODER_FOLDER = "models/image_encoder"
ENCODER_FILES = tuple(f"{ENCODER_FOLDER}/{name}" for name in ("config.json", "model.safetensors"))
"""What of it is read."""


class ImageTokens(nn.Module):
    """Cross-attention tokens of a picture: a linear layer of its CLIP embedding, then LayerNorm of each token.

    The layout of the official ``proj.pth``: ``proj`` is Linear(1024, 32 * 768), ``norm`` LayerNorm(768). The U-Net of
    the release attends to the tokens of the face, then those of a picture of the style; its unconditional pass, to
    those of two embeddings of zeros.

    Args:
        embedding: length of the CLIP embedding.
        count: tokens a picture.
        width: length of a token, the U-Net's ``cross_attention_dim``.
    """

    def __init__(self, embedding: int, count: int, width: int) -> None:
        super().__init__()
        self.count = count
        self.proj = nn.Linear(embedding, count * width)
        self.norm = nn.LayerNorm(width)

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Tokens (N, count, width) of CLIP embeddings (N, embedding)."""
        return self.norm(self.proj(embeddings).unflatten(-1, (self.count, -1)))


class ImageEncoder:
    """CLIP's embedding of a picture.

    Args:
        model: CLIP's vision tower and its projection; embeddings are on its device.
    """

    def __init__(self, model: CLIPVisionModelWithProjection) -> None:
        self.model = model.eval().requires_grad_(False)
        self.processor = CLIPImageProcessor()

    @torch.no_grad()
    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        """Embeddings (N, embedding), float32, of pictures (N, 3, H, W) in [0, 1]: resized, cropped to their center."""
        gray_levels = (pictures * 255).round().to(torch.uint8)  # as the release's pictures are when they are resized
        pixels = self.processor(images=gray_levels, return_tensors="pt").pixel_values
        return self.model(pixels.to(self.model.device, self.model.dtype)).image_embeds.float()


def encoder_identity(pretrained: str) -> str:
    """What an image encoder is called on the hub; of a folder, the SHA-256 of its files, wherever it lies."""
    return identity(pretrained, ENCODER_FILES)


def load_image_encoder(pretrained: str = ENCODER, device: torch.device | None = None) -> ImageEncoder:
    """The image encoder of a hub id or local folder, its weights in ``models/image_encoder``.

    Args:
        pretrained: the hub id or the folder.
        device: where it runs; None: the CPU.

    Raises:
        UserError: it is neither on this machine nor to be had from the hub, damaged or incomplete, or no CLIP vision
            model.
    """
    try:
        loaded: Any = CLIPVisionModelWithProjection.from_pretrained(
            pretrained,
            subfolder=ENCODER_FOLDER,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
        )
    except Exception as error:  # transformers and safetensors have no common class for a damaged file
        raise UserError(
            f"the official release needs the CLIP image encoder {pretrained}/{ENCODER_FOLDER}, which cannot be loaded: "
            f"{first_line(error)}; run once where the hub can be reached, or give a checkpoint that text conditions"
        ) from error
    model, report = loaded
    if report["missing_keys"]:
        raise UserError(
            f"model.image_encoder={pretrained}: its weights lack {sorted(report['missing_keys'])[0]}; download it again"
        )
    return ImageEncoder(nn.Module.to(model, device))
