"""The residual pipeline: what amplification asks of every model."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

import torch

from dda.faces.face import Face
from dda.models.residuals import Residuals
from dda.styles import Style

E = TypeVar("E")


class ResidualPipeline(Protocol[E]):
    """A residual diffusion model with its fine-grained makeup module.

    ``encode_faces`` runs once for a batch of faces, ``residuals`` once for each batch of (face, style) pairs among
    them, so that what does not depend on the style is done once for all styles of a face.

    Attributes:
        device: where the model runs.
        noise_shape: shape of the noise of one face.
    """

    device: torch.device
    noise_shape: tuple[int, ...]

    def check_styles(self, styles: Sequence[Style]) -> None:
        """Check that the model can paint these styles.

        Raises:
            OptionError: a prompt that is too long, or a style that has no picture.
        """

    def gains(self) -> torch.Tensor:
        """Return (alpha / alpha_ref) w_r, the learned part of k_r, (4,)."""

    def encode_faces(self, source: torch.Tensor, masks: torch.Tensor, faces: Sequence[Face], noise: torch.Tensor) -> E:
        """Compute what all styles of N faces share.

        Args:
            source: (N, 3, H, H) in [0, 1], on the device like ``masks`` and ``noise``.
            masks: M_r (N, 4, H, H) in [0, 1].
            faces: N faces in pixels of their pictures.
            noise: (N, *noise_shape).
        """

    def residuals(self, encoded: E, indices: Sequence[int], styles: Sequence[Style]) -> Residuals:
        """Return R_m and R_d of M of the encoded faces (by index, repeats allowed), one style each."""
