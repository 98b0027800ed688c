"""The fine-grained makeup module (FGMM): region weights, and style embeddings by region."""

import torch
from torch import nn

from dda.regions import REGIONS


class FineGrainedMakeupModule(nn.Module):
    """Region weights w_r, and style embeddings that act through the region masks (TinyBeauty, section 3.2).

    The paper's module weights features by region; the style embedding of each region is added here.

    Args:
        num_styles: number of styles.
        style_dim: length of a style's embedding in each region.
    """

    def __init__(self, num_styles: int, style_dim: int) -> None:
        super().__init__()
        self.weights = nn.ParameterDict({f"{region}_weight": nn.Parameter(torch.ones(())) for region in REGIONS})
        self.styles = nn.Parameter(torch.randn(num_styles, len(REGIONS), style_dim))

    def region_weights(self) -> torch.Tensor:
        """Return w_r, (4,) in the order of `REGIONS`."""
        return torch.stack([self.weights[f"{region}_weight"] for region in REGIONS])

    def forward(self, features: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Return sum_r w_r M_r f, (N, C, H, W).

        Args:
            features: f (N, C, H, W).
            masks: M_r (N, 4, H, W) in [0, 1].
        """
        weighted = masks * self.region_weights()[:, None, None]
        return weighted.sum(1, keepdim=True) * features

    def embed_styles(self, style_ids: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Return the embedding map sum_r M_r e_{s_r,r}, (N, style_dim, H, W); each region may have another style.

        Args:
            style_ids: s_r, index of the style in each region, (N, 4) int64.
            masks: M_r (N, 4, H, W) in [0, 1].
        """
        embeddings = self.styles[style_ids, torch.arange(len(REGIONS), device=style_ids.device)]
        return torch.einsum("nrhw,nrd->ndhw", masks, embeddings)
