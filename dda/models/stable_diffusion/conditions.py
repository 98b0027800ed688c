"""Conditions: the embeddings that the U-Net's cross-attention attends to, for a face with a style or without one."""

from collections.abc import Sequence
from typing import Protocol

import torch


class Conditions(Protocol):
    """Encoder of the U-Net's conditions, from prompts or from pictures; deterministic.

    D is the U-Net's ``cross_attention_dim``. The number of embeddings T is the same for all styles; the bare condition
    may have another one.
    """

    def encode_faces(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return embeddings (N, P, D) of the bare faces (N, 3, H, W) in [0, 1] themselves; P may be 0."""

    def encode_bare_condition(self) -> torch.Tensor:
        """Return embeddings (1, T, D) of no makeup, which are also the unconditional ones of guidance."""

    def encode_style(self, style: str) -> torch.Tensor:
        """Return embeddings (1, T, D) of a style.

        Raises:
            OptionError: the style has no condition.
        """


def make_encoder_hidden_states(
    conditions: Conditions, face_embeds: torch.Tensor, styles: Sequence[str] | None = None
) -> torch.Tensor:
    """Make the ``encoder_hidden_states`` of diffusers' U-Net for N faces, (N, P + T, D): faces first, then styles.

    Args:
        conditions: encoder of the styles.
        face_embeds: of ``conditions.encode_faces``, (N, P, D).
        styles: N styles; None: the bare condition for all faces.
    """
    if styles is None:
        style_embeds = conditions.encode_bare_condition().expand(len(face_embeds), -1, -1)
    else:
        style_embeds = torch.cat([conditions.encode_style(style) for style in styles])
    return torch.cat([face_embeds.to(style_embeds), style_embeds], dim=1)
