"""Augmentation of pairs: the same geometry and color jitter for source and target, so that a pair stays a pair."""

from dataclasses import dataclass, fields
from typing import Self

import torch

MAX_ROTATION_RAD = 0.2
"""Largest rotation: 11 degrees."""

SCALE_RANGE = (0.88, 1.12)
"""Range of the scale."""

MAX_SHIFT_RATIO = 14 / 256
"""Largest shift, in sides of the picture."""

MAX_LOG_GAMMA = 0.45
"""Largest logarithm of gamma: from 0.64 to 1.57."""

MAX_LOG_GAIN, MAX_LOG_CHANNEL_GAIN = 0.15, 0.08
"""Largest logarithms of the gain of all channels, and of each channel."""

SATURATION_RANGE = (0.75, 1.25)
"""Range of the saturation."""


def sample_similarities(count: int, size: int, margin: int, generator: torch.Generator) -> torch.Tensor:
    """Draw similarity transforms: a flip with probability 1/2, and a small rotation, scale and shift.

    Args:
        count: N.
        size: side of the picture in pixels.
        margin: padding in pixels on each side of the picture that it is taken from.
        generator: on the CPU.

    Returns:
        Matrices (N, 2, 3) from pixels of the picture to pixels of the padded one.
    """
    angle = _uniform(-MAX_ROTATION_RAD, MAX_ROTATION_RAD, (count,), generator)
    scale = _uniform(*SCALE_RANGE, (count,), generator)
    flip = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    linear = torch.stack([torch.stack([cos * flip, -sin], -1), torch.stack([sin * flip, cos], -1)], 1)
    max_shift = MAX_SHIFT_RATIO * size
    center = size / 2 + margin + _uniform(-max_shift, max_shift, (count, 2), generator)
    offset = center - (linear @ torch.full((2,), size / 2))
    return torch.cat([linear, offset[..., None]], -1)


@dataclass(frozen=True)
class ColorJitter:
    """Color jitter of N pictures; each factor broadcasts to (N, 3, 1, 1).

    Attributes:
        gamma: exponent of the pixel values.
        gain: factor of each channel.
        saturation: 0 grayscale, 1 unchanged.
    """

    gamma: torch.Tensor
    gain: torch.Tensor
    saturation: torch.Tensor

    @classmethod
    def sample(cls, count: int, generator: torch.Generator, grayscale_probability: float = 0.0) -> Self:
        """Draw the jitter of ``count`` pictures, on the CPU."""
        gamma = torch.exp(_uniform(-MAX_LOG_GAMMA, MAX_LOG_GAMMA, (count, 1, 1, 1), generator))
        gain = torch.exp(
            _uniform(-MAX_LOG_GAIN, MAX_LOG_GAIN, (count, 1, 1, 1), generator)
            + _uniform(-MAX_LOG_CHANNEL_GAIN, MAX_LOG_CHANNEL_GAIN, (count, 3, 1, 1), generator)
        )
        saturation = _uniform(*SATURATION_RANGE, (count, 1, 1, 1), generator)
        if grayscale_probability:
            saturation *= torch.rand(saturation.shape, generator=generator) >= grayscale_probability
        return cls(gamma, gain, saturation)

    def select(self, rows: slice, device: torch.device) -> Self:
        """Return the jitter of some of the pictures, on ``device``."""
        return type(self)(*(getattr(self, one.name)[rows].to(device) for one in fields(self)))

    def apply(self, image: torch.Tensor) -> torch.Tensor:
        """Return clip(gain * saturate(image^gamma)) of pictures (N, 3, H, W) in [0, 1].

        The gain comes last: a grayscale picture may have a color cast.
        """
        bright = image.clamp(min=1e-4) ** self.gamma
        gray = bright.mean(1, keepdim=True)
        return (self.gain * (gray + self.saturation * (bright - gray))).clamp(0, 1)


def _uniform(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)
