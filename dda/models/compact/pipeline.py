"""The pipeline of the compact model: canonical crops of faces, sampling, and residuals back in the pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dda.errors import OptionError
from dda.faces.alignment import fit_similarity, invert_matrix, warp, warp_supersampled
from dda.faces.face import Face
from dda.models.compact.network import CompactResidualModel, sample_residual
from dda.models.residuals import Residuals
from dda.regions import REGIONS
from dda.styles import Style

BORDER_FADE_WIDTH = 0.06
"""Width of the border of the canonical crop in which a residual fades to 0, as a share of the crop's side."""


@dataclass(frozen=True)
class EncodedFaces:
    """Canonical crops of N faces, which all styles of a face share.

    Attributes:
        source: (N, 3, S, S) in [0, 1].
        masks: M_r (N, 4, S, S) in [0, 1].
        noise: (N, 3, S, S).
        crop_matrices: from a point of the picture to a point of the crop, (N, 2, 3).
        picture_size: side H of the pictures in pixels.
    """

    source: torch.Tensor
    masks: torch.Tensor
    noise: torch.Tensor
    crop_matrices: torch.Tensor
    picture_size: int


class CompactPipeline:
    """The compact model as a :class:`dda.models.residual_pipeline.ResidualPipeline`.

    Args:
        model: a trained model.
        steps: DDIM steps.
        device: where the model runs.
    """

    def __init__(self, model: CompactResidualModel, steps: int, device: torch.device) -> None:
        # Channels last: a convolution on the CPU takes a fifth less time.
        self.model = model.to(device, memory_format=torch.channels_last)
        self.steps = steps
        self.device = device
        size = model.config.crop_size
        self.noise_shape: tuple[int, ...] = (3, size, size)

    @property
    def styles(self) -> list[str]:
        """Names of the styles that the model was trained on."""
        return list(self.model.config.styles)

    def check_styles(self, styles: Sequence[Style]) -> None:
        """Check that the model was trained on the styles of all regions.

        Raises:
            OptionError: a style that the model was not trained on.
        """
        for style in styles:
            for name in style.regions.values():
                if name not in self.styles:
                    raise OptionError("style", f"must be one of {', '.join(self.styles)}", name)

    def gains(self) -> torch.Tensor:
        """Return (alpha / alpha_ref) w_r, the learned factor of the gains k_r, (4,)."""
        return self.model.gains()

    def encode_faces(
        self, source: torch.Tensor, masks: torch.Tensor, faces: Sequence[Face], noise: torch.Tensor
    ) -> EncodedFaces:
        """Cut the canonical crops of N faces.

        Args:
            source: (N, 3, H, H) in [0, 1], on the device like ``masks`` and ``noise``.
            masks: M_r (N, 4, H, H) in [0, 1].
            faces: N faces in pixels of their pictures.
            noise: (N, *noise_shape).
        """
        size = self.model.config.crop_size
        points = np.array(self.model.config.crop_points) * size
        matrices = [compute_crop_matrix(face, points) for face in faces]
        picture_matrices = torch.from_numpy(np.stack(matrices))
        crop_matrices = torch.from_numpy(np.stack([invert_matrix(matrix) for matrix in matrices]))
        source_crops = warp_supersampled(source, picture_matrices, size)
        mask_crops = warp(masks, picture_matrices, size)
        return EncodedFaces(source_crops, mask_crops, noise, crop_matrices, source.shape[-1])

    def residuals(self, encoded: EncodedFaces, indices: Sequence[int], styles: Sequence[Style]) -> Residuals:
        """Sample R_m (M, 3, H, H) of M of the encoded faces in one style each, 0 outside the crops.

        Args:
            encoded: N faces.
            indices: M indices of faces, repeats allowed.
            styles: M styles that the model was trained on.
        """
        # 1. Select the rows
        rows = list(indices)
        source, masks, noise = (tensor[rows] for tensor in (encoded.source, encoded.masks, encoded.noise))
        ids = [[self.styles.index(style.regions[region]) for region in REGIONS] for style in styles]
        style_ids = torch.tensor(ids, device=self.device)
        # 2. Sample the residuals of the crops
        residual = sample_residual(self.model, source, masks, style_ids, noise, self.steps)
        # 3. Warp them back into the pictures
        residual = residual * make_fade_window(residual.shape[-1]).to(residual)
        return Residuals(warp(residual, encoded.crop_matrices[rows], encoded.picture_size))


def compute_crop_matrix(face: Face, points: np.ndarray) -> np.ndarray:
    """Compute the similarity transform from a point of the canonical crop to a point of the picture, 2x3.

    Args:
        face: in pixels of its picture.
        points: positions (3, 2) of the two eye centers and the mouth center in the crop, in pixels.
    """
    return fit_similarity(points, np.stack([*face.eye_centers, np.mean(face.mouth_corners, axis=0)]))


def make_fade_window(size: int) -> torch.Tensor:
    """Make a window (size, size) in [0, 1] that is 1 inside and falls to 0 at the border (Tukey window).

    The crop of a turned face cuts through its skin; without the window its residual would end in a visible edge.
    """
    border = (torch.arange(size) + 0.5).minimum(size - 0.5 - torch.arange(size)) / (BORDER_FADE_WIDTH * size)
    ramp = torch.sin(border.clamp(max=1) * torch.pi / 2).square()
    return ramp[:, None] * ramp
