"""Region attention: cross-attention in which each style acts only in its regions, in one pass of the U-Net."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch.nn import functional as F


@dataclass
class RegionConditions:
    """Embeddings of styles and the places where they act, for N faces with at most C styles each.

    A row with fewer styles than another is filled up with any embeddings and masks of 0, so that its result does not
    depend on its neighbors.

    Attributes:
        embeds: C tensors (N, T, D).
        masks: (N, C, H, W) in [0, 1], with a sum over C of at most 1; the grids of the U-Net must divide H x W.
    """

    embeds: Sequence[torch.Tensor]
    masks: torch.Tensor
    _masks_by_positions: dict[int, torch.Tensor] = field(default_factory=dict, repr=False)

    def downsample_masks(self, num_positions: int) -> torch.Tensor:
        """Return the masks averaged over the cells of a grid of ``num_positions``, (C, N, 1, num_positions, 1)."""
        if num_positions not in self._masks_by_positions:
            height, width = self.masks.shape[-2:]
            cell = math.isqrt(height * width // num_positions)
            masks = F.interpolate(self.masks, size=(height // cell, width // cell), mode="area")
            self._masks_by_positions[num_positions] = masks.flatten(2).transpose(0, 1)[:, :, None, :, None]
        return self._masks_by_positions[num_positions]


class RegionAttnProcessor:
    """Attention processor of diffusers with masked conditions: A(p; bare) + sum_c g_c(p) [A(p; c) - A(p; bare)].

    A(p; c) is the attention of position p to the embeddings of condition c, and g_c is the mask of c on the layer's
    grid. As in diffusers' ``IPAdapterAttnProcessor2_0`` with masks, each condition has a softmax of its own, so that
    styles do not compete. Written as differences, conditions equal to the bare one change no bit. Without ``regions``
    it is ordinary attention.
    """

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
        regions: RegionConditions | None = None,
    ) -> torch.Tensor:
        """Attend from ``hidden_states`` (N, P, F) to the bare condition (N, T, D), or to themselves; (N, P, F)."""
        query = _split_heads(attn, attn.to_q(hidden_states))
        if encoder_hidden_states is None:
            attended = _attend(attn, query, hidden_states)
        else:
            bare = attended = _attend(attn, query, encoder_hidden_states)
            if regions is not None:
                masks = regions.downsample_masks(query.shape[2])
                for embeds, mask in zip(regions.embeds, masks, strict=True):
                    attended = attended + mask.to(bare.dtype) * (_attend(attn, query, embeds) - bare)
        projection, dropout = attn.to_out
        return dropout(projection(attended.transpose(1, 2).flatten(2)))


def set_region_attention(unet: UNet2DConditionModel) -> None:
    """Make a U-Net accept ``cross_attention_kwargs={"regions": RegionConditions}``; without them nothing changes."""
    unet.set_attn_processor(RegionAttnProcessor())


def _attend(attn: Attention, query: torch.Tensor, embeds: torch.Tensor) -> torch.Tensor:
    key, value = _split_heads(attn, attn.to_k(embeds)), _split_heads(attn, attn.to_v(embeds))
    return F.scaled_dot_product_attention(query, key, value)


def _split_heads(attn: Attention, features: torch.Tensor) -> torch.Tensor:
    """Split the features of (N, P, heads * d) by head, (N, heads, P, d)."""
    return features.unflatten(2, (attn.heads, -1)).transpose(1, 2)
