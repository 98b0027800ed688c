"""Region attention: styles that act only in their regions, in one pass of the U-Net."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch.nn import functional as F


@dataclass
class RegionConditions:
    """Conditions beside the bare one, and where each acts.

    Rows of a batch may wear different numbers of styles: what a row lacks it fills up with any tokens and a gate of 0,
    so that the row's result does not depend on its neighbors.

    Attributes:
        tokens: of each condition, (N, T, D).
        gates: of each condition, (N, C, H, W) in [0, 1], summing to at most 1 over C; of any resolution that the
            grids of the U-Net divide.
    """

    tokens: Sequence[torch.Tensor]
    gates: torch.Tensor
    _by_positions: dict[int, torch.Tensor] = field(default_factory=dict, repr=False)

    def gates_at(self, positions: int) -> torch.Tensor:
        """The gates averaged over the cells of a grid of so many positions, (C, N, 1, positions, 1)."""
        if positions not in self._by_positions:
            height, width = self.gates.shape[-2:]
            cell = math.isqrt(height * width // positions)
            gates = F.interpolate(self.gates, size=(height // cell, width // cell), mode="area")
            self._by_positions[positions] = gates.flatten(2).transpose(0, 1)[:, :, None, :, None]
        return self._by_positions[positions]


class RegionAttention:
    """Attention processor: out(p) = (1 - M(p)) A(p; bare) + sum_c g_c(p) A(p; c), with M = sum_c g_c.

    Each condition has a softmax of its own: a style's tokens never compete with another's. Without ``regions`` it is
    ordinary attention. The sum is taken as A(bare) + sum_c g_c [A(c) - A(bare)], so that conditions equal to the bare
    one change no bit. Attention itself is torch's, which picks the fastest kernel that the device has.
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
        """Attend from (N, P, F) to the bare tokens (N, T, D), or to itself; (N, P, F)."""
        query = _heads(attn, attn.to_q(hidden_states))
        if encoder_hidden_states is None:
            mixed = _attend(attn, query, hidden_states)
        else:
            bare = mixed = _attend(attn, query, encoder_hidden_states)
            if regions is not None:
                for tokens, gate in zip(regions.tokens, regions.gates_at(query.shape[2]), strict=True):
                    mixed = mixed + gate.to(bare.dtype) * (_attend(attn, query, tokens) - bare)
        projection, dropout = attn.to_out
        return dropout(projection(mixed.transpose(1, 2).flatten(2)))


def gate_by_region(unet: UNet2DConditionModel) -> None:
    """Make a U-Net take ``cross_attention_kwargs={"regions": RegionConditions}``; without them nothing changes."""
    unet.set_attn_processor(RegionAttention())


def _attend(attn: Attention, query: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    key, value = _heads(attn, attn.to_k(tokens)), _heads(attn, attn.to_v(tokens))
    return F.scaled_dot_product_attention(query, key, value)


def _heads(attn: Attention, features: torch.Tensor) -> torch.Tensor:
    """(N, P, heads * d) to (N, heads, P, d)."""
    return features.unflatten(2, (attn.heads, -1)).transpose(1, 2)
