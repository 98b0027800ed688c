"""Image projection: the official release's layer from a CLIP image embedding to cross-attention embeddings."""

import torch
from torch import nn


class ImageProjection(nn.Module):
    """Linear layer and LayerNorm from a CLIP image embedding to embeddings that the U-Net attends to.

    The same computation as ``diffusers.models.embeddings.ImageProjection`` (IP-Adapter: Ye et al., arXiv 2308.06721),
    under the tensor names of the official ``proj.pth``: ``proj`` is Linear(1024, 32 * 768), ``norm`` LayerNorm(768).

    Args:
        image_embed_dim: length of the CLIP embedding.
        num_embeds: embeddings P of one picture.
        cross_attention_dim: length D of an embedding, that of the U-Net's configuration.
    """

    def __init__(self, image_embed_dim: int, num_embeds: int, cross_attention_dim: int) -> None:
        super().__init__()
        self.num_embeds = num_embeds
        self.proj = nn.Linear(image_embed_dim, num_embeds * cross_attention_dim)
        self.norm = nn.LayerNorm(cross_attention_dim)

    def forward(self, image_embeds: torch.Tensor) -> torch.Tensor:
        """Return embeddings (N, P, D) of CLIP embeddings (N, image_embed_dim)."""
        return self.norm(self.proj(image_embeds).unflatten(-1, (self.num_embeds, -1)))
