"""Augmentation of pairs: geometry and light that change in source and target together, so that a pair stays a pair."""

import torch

SHIFT = 14 / 256
"""How far a picture is shifted at most, as a share of its side."""


def _uniform(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def random_similarities(count: int, size: int, margin: int, generator: torch.Generator) -> torch.Tensor:
    """Picture to padded picture (N, 2, 3): mirrored or not, turned up to 12 degrees, scaled and shifted a little.

    The picture has ``size`` pixels a side, the padded one ``margin`` more on each side.
    """
    angle = _uniform(-0.2, 0.2, (count,), generator)
    scale = _uniform(0.88, 1.12, (count,), generator)
    mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    linear = torch.stack([torch.stack([cos * mirror, -sin], -1), torch.stack([sin * mirror, cos], -1)], 1)
    shift = SHIFT * size
    center = size / 2 + margin + _uniform(-shift, shift, (count, 2), generator)
    offset = center - (linear @ torch.full((2,), size / 2))
    return torch.cat([linear, offset[..., None]], -1)


def random_light(
    count: int, generator: torch.Generator, gray: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """For :func:`relight`: gamma, gain a channel and saturation (each broadcasting to (N, 3, 1, 1)).

    A share ``gray`` of the pictures loses its color.
    """
    gamma = torch.exp(_uniform(-0.45, 0.45, (count, 1, 1, 1), generator))
    gain = torch.exp(
        _uniform(-0.15, 0.15, (count, 1, 1, 1), generator) + _uniform(-0.08, 0.08, (count, 3, 1, 1), generator)
    )
    saturation = _uniform(0.75, 1.25, (count, 1, 1, 1), generator)
    if gray:
        saturation *= torch.rand(saturation.shape, generator=generator) >= gray
    return gamma, gain, saturation


def relight(image: torch.Tensor, light: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """The picture (N, 3, H, W) under another light: clip(gain * saturate(x^gamma)).

    The light's color comes last, so that a picture without color may have a cast.
    """
    gamma, gain, saturation = light
    lit = image.clamp(min=1e-4) ** gamma
    gray = lit.mean(1, keepdim=True)
    return (gain * (gray + saturation * (lit - gray))).clamp(0, 1)
