"""The compact residual diffusion model: a small pixel-space U-Net that denoises the makeup residual itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dda.faces.alignment import fit_similarity, invert_matrix, warp, warp_supersampled
from dda.faces.face import Face
from dda.models.compact.network import CompactResidualModel, sample_residual
from dda.models.residuals import Residuals
from dda.regions import REGIONS
from dda.styles import Style

FADE = 0.06
"""Width of the border in which a residual fades, as a share of the crop's side."""


@dataclass(frozen=True)
class CanonicalFaces:
    """N faces as the compact model sees them: crops (N, C, S, S), and the way back to pictures of ``size`` pixels."""

    source: torch.Tensor
    masks: torch.Tensor
    noise: torch.Tensor
    to_crop: torch.Tensor
    size: int


class CompactPipeline:
    """The compact model as amplification uses it: pictures in, makeup residuals of the same size out.

    Args:
        model: a trained model.
        steps: DDIM steps.
        device: where it runs.
    """

    def __init__(self, model: CompactResidualModel, steps: int, device: torch.device) -> None:
        # A CPU convolves channels-last pictures a fifth faster.
        self.model = model.to(device, memory_format=torch.channels_last)
        self.steps = steps
        self.device = device
        size = model.config.crop_size
        self.noise_shape: tuple[int, ...] = (3, size, size)

    @property
    def styles(self) -> list[str]:
        """Names of the styles it knows."""
        return list(self.model.config.styles)

    def check_styles(self, styles: Sequence[Style]) -> None:
        """Do nothing: a style that the checkpoint was not trained on is refused when styles are resolved."""

    def gains(self) -> torch.Tensor:
        """The learned part of k_r, (4,)."""
        return self.model.gains()

    def encode_faces(
        self, source: torch.Tensor, masks: torch.Tensor, faces: Sequence[Face], noise: torch.Tensor
    ) -> CanonicalFaces:
        """What all styles of a face share: its canonical crop, and the noise to start from.

        Args:
            source: (N, 3, H, H) in [0, 1], on the device like ``masks`` and ``noise``.
            masks: (N, 4, H, H) in [0, 1].
            faces: N faces in pixels of their pictures.
            noise: (N, *noise_shape).
        """
        size = self.model.config.crop_size
        points = np.array(self.model.config.crop_points) * size
        matrices = [crop_matrix(face, points) for face in faces]
        to_picture = torch.from_numpy(np.stack(matrices))
        to_crop = torch.from_numpy(np.stack([invert_matrix(matrix) for matrix in matrices]))
        source_crop, mask_crop = warp_supersampled(source, to_picture, size), warp(masks, to_picture, size)
        return CanonicalFaces(source_crop, mask_crop, noise, to_crop, source.shape[-1])

    def residuals(self, shared: CanonicalFaces, members: Sequence[int], styles: Sequence[Style]) -> Residuals:
        """R_m (M, 3, H, H) of M of the shared faces, one style each, carried back to its place in the picture."""
        chosen = list(members)
        ids = [[self.styles.index(style.regions[region]) for region in REGIONS] for style in styles]
        style_ids = torch.tensor(ids, device=self.device)
        source, masks, noise = (tensor[chosen] for tensor in (shared.source, shared.masks, shared.noise))
        residual = sample_residual(self.model, source, masks, style_ids, noise, self.steps)
        residual = residual * fade(residual.shape[-1]).to(residual)
        return Residuals(warp(residual, shared.to_crop[chosen], shared.size))


def crop_matrix(face: Face, points: np.ndarray) -> np.ndarray:
    """Crop to picture: the similarity that has the eye centers and the mouth center of a face at ``points`` (3, 2)."""
    return fit_similarity(points, np.stack([*face.eye_centers, np.mean(face.mouth_corners, axis=0)]))


def fade(size: int) -> torch.Tensor:
    """Window (S, S) in [0, 1] that lets a residual end softly where the crop of a turned face cuts through it."""
    border = (torch.arange(size) + 0.5).minimum(size - 0.5 - torch.arange(size)) / (FADE * size)
    ramp = torch.sin(border.clamp(max=1) * torch.pi / 2).square()
    return ramp[:, None] * ramp
