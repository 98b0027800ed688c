"""Text conditions: prompts of styles as the tokens that a U-Net attends to."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from dda.errors import UserError

PROMPT = "a photo of a face with {style}"
"""The prompt of a style where neither the user nor the checkpoint has one."""

BARE_PROMPT = ""
"""That of a bare face."""


class Conditions(Protocol):
    """What a diffusion model is conditioned on, words or pictures: the face's tokens, if any, then the style's.

    Tokens are the same every time. T is the same for all styles; the bare condition may have another.
    """

    def face_tokens(self, pictures: torch.Tensor) -> torch.Tensor:
        """Tokens (N, P, D) of bare faces (N, 3, H, W) in [0, 1] themselves; P may be 0."""

    def bare(self) -> torch.Tensor:
        """Tokens (1, T, D) of no makeup: also the unconditional ones of guidance."""

    def tokens(self, style: str) -> torch.Tensor:
        """Tokens (1, T, D) of one of the checkpoint's styles."""


class TextConditions:
    """Styles in words, encoded by CLIP once each.

    Args:
        tokenizer: a CLIPTokenizer.
        text_encoder: a CLIPTextModel; the tokens are on its device, in its precision.
        prompt: the style's prompt, with ``{style}`` where its name goes.
        bare_prompt: the prompt of a bare face.
    """

    def __init__(self, tokenizer: Any, text_encoder: Any, prompt: str, bare_prompt: str) -> None:
        self._tokenizer = tokenizer
        self._text_encoder = text_encoder
        self._prompt = prompt
        self._bare_prompt = bare_prompt
        self._known: dict[str, torch.Tensor] = {}

    def face_tokens(self, pictures: torch.Tensor) -> torch.Tensor:
        """None, (N, 0, D): words do not depend on the face."""
        return pictures.new_empty(len(pictures), 0, self._text_encoder.config.hidden_size)

    def bare(self) -> torch.Tensor:
        """Tokens (1, 77, D) of the bare prompt.

        Raises:
            UserError: the prompt is longer than CLIP reads.
        """
        return self._encode(self._bare_prompt, "model.bare_prompt")

    def tokens(self, style: str) -> torch.Tensor:
        """Tokens (1, 77, D) of a style's prompt.

        Raises:
            UserError: the prompt is longer than CLIP reads.
        """
        return self._encode(self._prompt.replace("{style}", style), "model.prompt")

    @torch.no_grad()
    def _encode(self, prompt: str, key: str) -> torch.Tensor:
        if prompt not in self._known:
            longest = self._tokenizer.model_max_length
            ids = self._tokenizer(prompt, padding="max_length", max_length=longest, return_tensors="pt").input_ids
            if ids.shape[1] > longest:
                raise UserError(
                    f"{key}: {prompt!r} has {ids.shape[1] - 2} tokens, CLIP reads {longest - 2}; shorten it"
                )
            self._known[prompt] = self._text_encoder(ids.to(self._text_encoder.device))[0]
        return self._known[prompt]


def condition(conditions: Conditions, face_tokens: torch.Tensor, styles: Sequence[str] | None = None) -> torch.Tensor:
    """What the U-Net attends to, (N, P + T, D), for faces of those tokens (N, P, D), one style each or none at all."""
    if styles is None:
        worn = conditions.bare().expand(len(face_tokens), -1, -1)
    else:
        worn = torch.cat([conditions.tokens(style) for style in styles])
    return torch.cat([face_tokens.to(worn), worn], dim=1)
