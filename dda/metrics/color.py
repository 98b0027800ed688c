"""CIELAB (D65) and CIEDE2000 (Sharma et al. 2005), batched: how different two colors look."""

import math

import torch

from dda.metrics.metric import PairBatch, weighted_mean

_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_D65_WHITE = (0.95047, 1.0, 1.08883)
_REC601_WEIGHTS = (0.299, 0.587, 0.114)


def compute_luma(image: torch.Tensor) -> torch.Tensor:
    """Return the Rec. 601 luma (N, 1, H, W) of pictures (N, 3, H, W)."""
    return (image * image.new_tensor(_REC601_WEIGHTS)[:, None, None]).sum(1, keepdim=True)


def srgb_to_lab(image: torch.Tensor) -> torch.Tensor:
    """Convert sRGB (N, 3, H, W) in [0, 1] to CIELAB (N, 3, H, W): L in [0, 100], a and b about in [-128, 128]."""
    linear = torch.where(image > 0.04045, ((image + 0.055) / 1.055).pow(2.4), image / 12.92)
    xyz = torch.einsum("dc,nchw->ndhw", image.new_tensor(_TO_XYZ), linear) / image.new_tensor(_D65_WHITE)[:, None, None]
    x, y, z = torch.where(xyz > 0.008856, xyz.clamp_min(0.008856).pow(1 / 3), 7.787 * xyz + 16 / 116).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def ciede2000(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the color difference (N, 1, H, W) of two CIELAB pictures (N, 3, H, W); about 1 is just noticeable.

    CIE 142-2001; Sharma, Wu and Dalal, "The CIEDE2000 color-difference formula", 2005.

        >>> a, b = torch.tensor([[50.0, 2.6772, -79.7751], [50.0, 0.0, -82.7485]])[:, None, :, None, None]
        >>> round(ciede2000(a, b).item(), 4)  # the first pair of the paper's table 1
        2.0425
    """
    (l1, a1, b1), (l2, a2, b2) = a.unbind(1), b.unbind(1)
    chroma = (torch.hypot(a1, b1) + torch.hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * _chroma_weight(chroma)
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = torch.hypot(a1, b1), torch.hypot(a2, b2)
    h1, h2 = torch.atan2(b1, a1) % (2 * math.pi), torch.atan2(b2, a2) % (2 * math.pi)
    turn = h2 - h1
    colorless = c1 * c2 == 0  # a gray has no hue
    turn = torch.where(colorless, 0, (turn + math.pi) % (2 * math.pi) - math.pi)
    # The mean hue lies on the shorter of the two arcs between them.
    hue = torch.where(colorless, h1 + h2, (h1 + turn / 2) % (2 * math.pi))

    light, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    weight = (
        1
        - 0.17 * torch.cos(hue - math.radians(30))
        + 0.24 * torch.cos(2 * hue)
        + 0.32 * torch.cos(3 * hue + math.radians(6))
        - 0.20 * torch.cos(4 * hue - math.radians(63))
    )
    scale_l = 1 + 0.015 * (light - 50).square() / torch.sqrt(20 + (light - 50).square())
    d_light = (l2 - l1) / scale_l
    d_chroma = (c2 - c1) / (1 + 0.045 * chroma)
    d_hue = 2 * torch.sqrt(c1 * c2) * torch.sin(turn / 2) / (1 + 0.015 * chroma * weight)
    bend = math.radians(60) * torch.exp(-((hue - math.radians(275)) / math.radians(25)).square())
    rotation = -2 * _chroma_weight(chroma) * torch.sin(bend)
    square = d_light.square() + d_chroma.square() + d_hue.square() + rotation * d_chroma * d_hue
    return torch.sqrt(square.clamp_min(0))[:, None]


def _chroma_weight(chroma: torch.Tensor) -> torch.Tensor:
    power = chroma.pow(7)
    return torch.sqrt(power / (power + 25.0**7))


def compute_color_change(batch: PairBatch) -> torch.Tensor:
    """Return the CIEDE2000 difference (N, 1, H, W) of each target to its source."""
    return ciede2000(srgb_to_lab(batch.source), srgb_to_lab(batch.target))


def compute_region_change(batch: PairBatch) -> torch.Tensor:
    """Return the mean CIELAB change (N, 4, 3) of each region from source to target; NaN where there is none."""
    difference = srgb_to_lab(batch.target) - srgb_to_lab(batch.source)
    return torch.stack(
        [
            torch.stack([weighted_mean(difference[:, c : c + 1], batch.masks[:, r : r + 1]) for c in range(3)], 1)
            for r in range(batch.masks.shape[1])
        ],
        1,
    )
