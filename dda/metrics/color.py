"""CIELAB and CIEDE2000 (Sharma, Wu and Dalal 2005) of batches of pictures: how different two colors look."""

import math

import torch

from dda.metrics.metric import PairBatch, weighted_mean

SRGB_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
"""Matrix from linear sRGB to CIE XYZ (ITU-R BT.709 primaries, D65)."""

D65_WHITE = (0.95047, 1.0, 1.08883)
"""XYZ of the white point D65, 2 degree observer."""

REC601_WEIGHTS = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in luma (ITU-R BT.601)."""


def compute_luma(image: torch.Tensor) -> torch.Tensor:
    """Return the Rec. 601 luma (N, 1, H, W) of pictures (N, 3, H, W)."""
    return (image * image.new_tensor(REC601_WEIGHTS)[:, None, None]).sum(1, keepdim=True)


def srgb_to_lab(image: torch.Tensor) -> torch.Tensor:
    """Convert sRGB (N, 3, H, W) in [0, 1] to CIELAB (N, 3, H, W): L in [0, 100], a and b in about [-128, 128].

    Example:
        >>> red = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
        >>> [round(value) for value in srgb_to_lab(red).flatten().tolist()]
        [53, 80, 67]
    """
    linear = torch.where(image > 0.04045, ((image + 0.055) / 1.055).pow(2.4), image / 12.92)
    white = image.new_tensor(D65_WHITE)[:, None, None]
    xyz = torch.einsum("dc,nchw->ndhw", image.new_tensor(SRGB_TO_XYZ), linear) / white
    x, y, z = torch.where(xyz > 0.008856, xyz.clamp_min(0.008856).pow(1 / 3), 7.787 * xyz + 16 / 116).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def ciede2000(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the color difference (N, 1, H, W) of two CIELAB pictures (N, 3, H, W); about 1 is just noticeable.

    Variables have the names of the paper: a prime is ``_prime``, a mean of both colors is ``mean_``.

    Example:
        >>> a, b = torch.tensor([[50.0, 2.6772, -79.7751], [50.0, 0.0, -82.7485]]).reshape(2, 1, 3, 1, 1)
        >>> round(float(ciede2000(a, b)), 4)  # the first pair of the paper's Table 1
        2.0425
    """
    (l1, a1, b1), (l2, a2, b2) = a.unbind(1), b.unbind(1)
    mean_chroma = (torch.hypot(a1, b1) + torch.hypot(a2, b2)) / 2
    one_plus_g = 1.5 - 0.5 * _chroma_ratio(mean_chroma)
    a1_prime, a2_prime = a1 * one_plus_g, a2 * one_plus_g
    c1, c2 = torch.hypot(a1_prime, b1), torch.hypot(a2_prime, b2)
    h1, h2 = torch.atan2(b1, a1_prime) % (2 * math.pi), torch.atan2(b2, a2_prime) % (2 * math.pi)
    is_gray = c1 * c2 == 0  # gray has no hue
    hue_step = torch.where(is_gray, 0, (h2 - h1 + math.pi) % (2 * math.pi) - math.pi)
    # The mean hue lies on the shorter of the two arcs between the hues.
    mean_hue = torch.where(is_gray, h1 + h2, (h1 + hue_step / 2) % (2 * math.pi))

    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    t = (
        1
        - 0.17 * torch.cos(mean_hue - math.radians(30))
        + 0.24 * torch.cos(2 * mean_hue)
        + 0.32 * torch.cos(3 * mean_hue + math.radians(6))
        - 0.20 * torch.cos(4 * mean_hue - math.radians(63))
    )
    s_l = 1 + 0.015 * (mean_l - 50).square() / torch.sqrt(20 + (mean_l - 50).square())
    delta_l = (l2 - l1) / s_l
    delta_c = (c2 - c1) / (1 + 0.045 * mean_c)
    delta_h = 2 * torch.sqrt(c1 * c2) * torch.sin(hue_step / 2) / (1 + 0.015 * mean_c * t)
    delta_theta = math.radians(60) * torch.exp(-((mean_hue - math.radians(275)) / math.radians(25)).square())
    r_t = -2 * _chroma_ratio(mean_c) * torch.sin(delta_theta)
    squared = delta_l.square() + delta_c.square() + delta_h.square() + r_t * delta_c * delta_h
    return torch.sqrt(squared.clamp_min(0))[:, None]


def _chroma_ratio(chroma: torch.Tensor) -> torch.Tensor:
    """sqrt(C^7 / (C^7 + 25^7)), which G and R_C of the paper share."""
    power = chroma.pow(7)
    return torch.sqrt(power / (power + 25.0**7))


def compute_color_change(batch: PairBatch) -> torch.Tensor:
    """Return CIEDE2000 (N, 1, H, W) between each target and its source."""
    return ciede2000(srgb_to_lab(batch.source), srgb_to_lab(batch.target))


def compute_region_change(batch: PairBatch) -> torch.Tensor:
    """Return the mean CIELAB change (N, 4, 3) of each region from source to target; NaN without the region."""
    difference = srgb_to_lab(batch.target) - srgb_to_lab(batch.source)
    return torch.stack(
        [
            torch.stack([weighted_mean(difference[:, c : c + 1], batch.masks[:, r : r + 1]) for c in range(3)], 1)
            for r in range(batch.masks.shape[1])
        ],
        1,
    )
