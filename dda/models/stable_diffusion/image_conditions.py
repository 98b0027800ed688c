"""Image conditions: pictures of the face and of its style, encoded by CLIP, as the official release takes them."""

from collections.abc import Mapping

import torch

from dda.errors import OptionError
from dda.models.stable_diffusion.image_encoder import ImageEncoder
from dda.models.stable_diffusion.image_projection import ImageProjection


class ImageConditions:
    """Image embeddings as :class:`dda.models.stable_diffusion.conditions.Conditions`.

    The bare condition is the projection of a CLIP embedding of zeros, as in the official release
    (github.com/TinyBeauty/TinyBeauty, SD_inference.py).

    Args:
        projection: the checkpoint's.
        encoder: the CLIP image encoder that the checkpoint was trained with.
        style_pictures: picture (1, 3, H, W) in [0, 1] of each style, by the style's name.
    """

    @torch.no_grad()
    def __init__(
        self, projection: ImageProjection, encoder: ImageEncoder, style_pictures: Mapping[str, torch.Tensor]
    ) -> None:
        self._encoder = encoder
        self._projection = projection.to(encoder.model.device)
        self._style_embeds = {style: self.encode_faces(picture) for style, picture in style_pictures.items()}
        self._bare_embeds = self._projection(projection.proj.weight.new_zeros(1, projection.proj.in_features))

    @torch.no_grad()
    def encode_faces(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return embeddings (N, P, D) of pictures (N, 3, H, W) in [0, 1]."""
        return self._projection(self._encoder(pictures))

    def encode_bare_condition(self) -> torch.Tensor:
        """Return embeddings (1, P, D) of no makeup."""
        return self._bare_embeds

    def encode_style(self, style: str) -> torch.Tensor:
        """Return embeddings (1, P, D) of the style's picture.

        Raises:
            OptionError: the style has no picture.
        """
        if style not in self._style_embeds:
            raise OptionError(
                "style_images",
                f"no picture shows {style}, and this checkpoint is conditioned on pictures; give one: "
                f"{{{style}: PICTURE}}",
            )
        return self._style_embeds[style]
