"""Image conditions: styles shown by pictures, as the official release takes them."""

from collections.abc import Mapping

import torch

from dda.errors import UserError
from dda.models.stable_diffusion.image_tokens import ImageEncoder, ImageTokens


class ImageConditions:
    """Tokens of the face itself, then those of a picture of its style; no makeup is a style whose embedding is 0.

    Args:
        image_tokens: the checkpoint's.
        encoder: the CLIP image encoder it was trained with.
        style_pictures: by name of the style, each (1, 3, H, W) in [0, 1].
    """

    @torch.no_grad()
    def __init__(
        self, image_tokens: ImageTokens, encoder: ImageEncoder, style_pictures: Mapping[str, torch.Tensor]
    ) -> None:
        self._encoder = encoder
        self._image_tokens = image_tokens.to(encoder.model.device)
        self._styles = {name: self.face_tokens(picture) for name, picture in style_pictures.items()}
        self._bare = self._image_tokens(image_tokens.proj.weight.new_zeros(1, image_tokens.proj.in_features))

    @torch.no_grad()
    def face_tokens(self, pictures: torch.Tensor) -> torch.Tensor:
        """Tokens (N, P, D) of pictures (N, 3, H, W) in [0, 1]."""
        return self._image_tokens(self._encoder(pictures))

    def bare(self) -> torch.Tensor:
        """Tokens (1, P, D) of no style."""
        return self._bare

    def tokens(self, style: str) -> torch.Tensor:
        """Tokens (1, P, D) of the style's picture.

        Raises:
            UserError: no picture shows it.
        """
        if style not in self._styles:
            raise UserError(
                f"model.style_images: no picture shows {style}, and this checkpoint is conditioned on pictures; give "
                f"one: 'model.style_images={{{style}: PICTURE}}'"
            )
        return self._styles[style]
