"""Text conditions: prompts of styles, encoded by CLIP."""

from typing import Any

import torch

from dda.errors import OptionError

DEFAULT_PROMPT = "a photo of a face with {style}"
"""Prompt of a style if neither the user nor the checkpoint gives one."""

DEFAULT_BARE_PROMPT = ""
"""Prompt of a bare face if neither the user nor the checkpoint gives one."""


class TextConditions:
    """Prompt embeddings as :class:`dda.models.stable_diffusion.conditions.Conditions`; each prompt is encoded once.

    The embeddings are those of ``StableDiffusionPipeline.encode_prompt`` of diffusers.

    Args:
        tokenizer: a CLIPTokenizer.
        text_encoder: a CLIPTextModel; the embeddings have its device and dtype.
        prompt: prompt of a style; ``{style}`` stands for the style's name.
        bare_prompt: prompt of a bare face.
    """

    def __init__(self, tokenizer: Any, text_encoder: Any, prompt: str, bare_prompt: str) -> None:
        self._tokenizer = tokenizer
        self._text_encoder = text_encoder
        self._prompt = prompt
        self._bare_prompt = bare_prompt
        self._embeds_by_prompt: dict[str, torch.Tensor] = {}

    def encode_faces(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return no embeddings, (N, 0, D): prompts do not depend on the face."""
        return pictures.new_empty(len(pictures), 0, self._text_encoder.config.hidden_size)

    def encode_bare_condition(self) -> torch.Tensor:
        """Return embeddings (1, 77, D) of the bare prompt.

        Raises:
            OptionError: the prompt has more tokens than CLIP reads.
        """
        return self._encode_prompt(self._bare_prompt, "bare_prompt")

    def encode_style(self, style: str) -> torch.Tensor:
        """Return embeddings (1, 77, D) of a style's prompt.

        Raises:
            OptionError: the prompt has more tokens than CLIP reads.
        """
        return self._encode_prompt(self._prompt.replace("{style}", style), "prompt")

    @torch.no_grad()
    def _encode_prompt(self, prompt: str, option: str) -> torch.Tensor:
        if prompt not in self._embeds_by_prompt:
            max_length = self._tokenizer.model_max_length
            ids = self._tokenizer(prompt, padding="max_length", max_length=max_length, return_tensors="pt").input_ids
            if ids.shape[1] > max_length:  # two of the tokens mark start and end
                raise OptionError(
                    option, f"{prompt!r} has {ids.shape[1] - 2} tokens, CLIP reads {max_length - 2}; shorten it"
                )
            self._embeds_by_prompt[prompt] = self._text_encoder(ids.to(self._text_encoder.device))[0]
        return self._embeds_by_prompt[prompt]
