"""The fine-grained makeup module: which style, and how much of it, in which region."""

import torch
from torch import nn

from dda.regions import REGIONS


class FineGrainedMakeupModule(nn.Module):
    """Region weights w_r and the style conditions painted through the region masks (TinyBeauty, section 3.2).

    Args:
        num_styles: number of styles it knows.
        style_dim: length of a style's condition vector in each region.
    """

    def __init__(self, num_styles: int, style_dim: int) -> None:
        super().__init__()
        self.weights = nn.ParameterDict({f"{region}_weight": nn.Parameter(torch.ones(())) for region in REGIONS})
        self.styles = nn.Parameter(torch.randn(num_styles, len(REGIONS), style_dim))

    def region_weights(self) -> torch.Tensor:
        """w_r (4,), in the order of the regions."""
        return torch.stack([self.weights[f"{region}_weight"] for region in REGIONS])

    def forward(self, features: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """sum_r w_r M_r f of features (N, C, H, W) and masks (N, 4, H, W)."""
        weighted = masks * self.region_weights()[:, None, None]
        return weighted.sum(1, keepdim=True) * features

    def paint(self, style_ids: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Condition map (N, style_dim, H, W): sum_r M_r e_{s_r,r}; a face may wear another style in each region.

        Args:
            style_ids: index of the style worn in each region, (N, 4) int64.
            masks: (N, 4, H, W) in [0, 1].
        """
        vectors = self.styles[style_ids, torch.arange(len(REGIONS), device=style_ids.device)]
        return torch.einsum("nrhw,nrd->ndhw", masks, vectors)
