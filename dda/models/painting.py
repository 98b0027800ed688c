"""Painting: faces and styles in, targets out. Every stage, the validation of a training and the Python API use it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, Self, TypeVar

import torch

from dda.faces.face import Face
from dda.faces.preparation import PreparedFace
from dda.images import to_tensor
from dda.models.residual_pipeline import ResidualPipeline
from dda.models.residuals import Residuals, compose
from dda.regions import REGIONS
from dda.seeds import pair_noise
from dda.styles import Style

E = TypeVar("E")


@dataclass(frozen=True)
class Strength:
    """How strongly a run paints.

    Attributes:
        makeup: lambda_m.
        detail: d in [0, 1], the share of the source's own detail that is kept.
        regions: a factor for each region of `REGIONS`.
    """

    makeup: float
    detail: float
    regions: Mapping[str, float]

    def gains(self, style: Style) -> torch.Tensor:
        """Return lambda_m * s_{style,r} of one style, times the run's factor of the region, (4,)."""
        return torch.tensor([self.makeup * self.regions[r] * style.strength[r] for r in REGIONS])


@dataclass(frozen=True)
class PaintedFaces:
    """Targets of N (face, style) pairs, and what they were composed of.

    Attributes:
        target: (N, 3, H, W) in [0, 1], on the CPU.
        residuals: R_m and R_d, on the pipeline's device like the following.
        masks: M_r (N, 4, H, W).
        gains: k_r (N, 4).
    """

    target: torch.Tensor
    residuals: Residuals
    masks: torch.Tensor
    gains: torch.Tensor

    @cached_property
    def is_finite(self) -> torch.Tensor:
        """Whether the residuals of each pair are finite, (N,) bool on the CPU."""
        return self.residuals.is_finite().cpu()

    @cached_property
    def raw_leakage(self) -> torch.Tensor:
        """Leakage of each pair before the masks stop it (`raw_leakage`), (N,) on the CPU."""
        return raw_leakage(self.residuals.makeup, self.masks, self.gains).cpu()


class FaceBatch(Generic[E]):
    """A batch of faces, encoded once for all the styles they are painted in.

    Args:
        pipeline: the model.
        source: x (N, 3, H, H) in [0, 1].
        masks: M_r (N, 4, H, H) in [0, 1].
        faces: N faces in pixels of their pictures.
        noise: (N, *pipeline.noise_shape).
    """

    @torch.no_grad()
    def __init__(
        self,
        pipeline: ResidualPipeline[E],
        source: torch.Tensor,
        masks: torch.Tensor,
        faces: Sequence[Face],
        noise: torch.Tensor,
    ) -> None:
        self.pipeline = pipeline
        self.source, self.masks = source.to(pipeline.device), masks.to(pipeline.device)
        self._encoded = pipeline.encode_faces(self.source, self.masks, faces, noise.to(pipeline.device))

    @classmethod
    def from_prepared(cls, pipeline: ResidualPipeline[E], faces: Sequence[PreparedFace], seed: int) -> Self:
        """Encode prepared faces, each with the noise of its own content under the root ``seed``."""
        noise = [pair_noise(pipeline.noise_shape, seed, face.content_hash, attempt=0) for face in faces]
        return cls(
            pipeline,
            torch.stack([to_tensor(face.source) for face in faces]),
            torch.stack([torch.from_numpy(face.regions.masks) for face in faces]),
            [face.regions.face for face in faces],
            torch.stack(noise),
        )

    @torch.no_grad()
    def paint(self, indices: Sequence[int], styles: Sequence[Style], strength: Strength) -> PaintedFaces:
        """Paint some of the faces, by index with repeats, in one style each."""
        indices = list(indices)
        residuals = self.pipeline.residuals(self._encoded, indices, styles)
        gains = torch.stack([strength.gains(style) for style in styles]).to(self.pipeline.device)
        gains = gains * self.pipeline.gains()
        masks = self.masks[indices]
        target = compose(self.source[indices], masks, residuals, gains, strength.detail).cpu()
        return PaintedFaces(target, residuals, masks, gains)


def raw_leakage(makeup: torch.Tensor, masks: torch.Tensor, gains: torch.Tensor) -> torch.Tensor:
    """Return the share of a makeup residual outside all regions that it is meant for, in [0, 1], (N,).

    It is taken before the masks stop it: what the model would paint where no makeup belongs; 0 where it paints nothing.

    Args:
        makeup: R_m (N, 3, H, W).
        masks: M_r (N, 4, H, W).
        gains: k_r (N, 4); a region with gain 0 is not one of the style's.
    """
    is_painted = gains > 0
    change = makeup.abs().sum(1) * is_painted.any(1)[:, None, None]
    is_inside = (masks * is_painted[..., None, None]).sum(1) > 0
    return (change * ~is_inside).sum((1, 2)) / change.sum((1, 2)).clamp_min(torch.finfo(change.dtype).tiny)
