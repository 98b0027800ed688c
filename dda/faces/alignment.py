"""Similarity alignment: the FFHQ crop of a photo and the canonical crop of a face.

Every matrix is 2x3 and maps a point of the OUTPUT picture to the INPUT picture, as a resampler needs it, in continuous
pixel coordinates: the center of the first pixel is (0.5, 0.5).
"""

import math

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch.nn import functional as F

ALIGNED_SIZE = 512
"""Side of an aligned picture, and of every source and target, in pixels."""

CROP_SIZE = 288
"""Side of the canonical crop that the compact model sees, in pixels."""

CANONICAL_POINTS = ((0.35, 0.405), (0.65, 0.405), (0.50, 0.74))
"""Positions of the two eye centers and the mouth center in the canonical crop, as fractions of its side.

The masks of a frontal face fit in, from the hairline to the chin.
"""

MIRROR_BLUR_SIGMA = 0.02
"""Sigma of the Gaussian blur of a crop's mirrored part, in crop sides; over the same length the blur sets in."""

MIRROR_FADE_LENGTH = 0.3
"""Distance beyond a picture's edge, in crop sides, over which its mirror image fades to the crop's median color."""


def fit_similarity(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Fit the similarity transform from ``points`` (N, 2) to ``targets`` (N, 2) by least squares, as a 2x3 matrix.

    Umeyama, IEEE PAMI 1991; in the plane, rotation, scale and translation have a closed form without an SVD.
    """
    center, target_center = points.mean(0), targets.mean(0)
    p, q = points - center, targets - target_center
    norm = (p**2).sum()
    a = (p * q).sum() / norm
    b = (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum() / norm
    linear = np.array([[a, -b], [b, a]])
    return np.concatenate([linear, (target_center - linear @ center)[:, None]], axis=1)


def compute_ffhq_matrix(eye_0: np.ndarray, eye_1: np.ndarray, mouth_0: np.ndarray, mouth_1: np.ndarray) -> np.ndarray:
    """Compute the FFHQ crop (512x512 output to photo) from the centers of the eyes and the corners of the mouth, (2,).

    Karras et al., A Style-Based Generator Architecture for GANs, CVPR 2019, appendix A.
    """
    eye_to_eye = eye_1 - eye_0
    eye_center = (eye_0 + eye_1) / 2
    eye_to_mouth = (mouth_0 + mouth_1) / 2 - eye_center
    x = eye_to_eye - np.array([-eye_to_mouth[1], eye_to_mouth[0]])
    x /= np.hypot(*x)
    x *= max(np.hypot(*eye_to_eye) * 2.0, np.hypot(*eye_to_mouth) * 1.8)
    y = np.array([-x[1], x[0]])
    center = eye_center + eye_to_mouth * 0.1
    linear = np.stack([x, y], axis=1) * (2 / ALIGNED_SIZE)
    return np.concatenate([linear, (center - x - y)[:, None]], axis=1)


def invert_matrix(matrix: np.ndarray) -> np.ndarray:
    """Invert a 2x3 matrix."""
    return np.linalg.inv(np.concatenate([matrix, [[0, 0, 1]]]))[:2]


def compute_scale(matrix: np.ndarray) -> float:
    """Compute the scale of a 2x3 matrix: input pixels per output pixel."""
    return math.sqrt(abs(np.linalg.det(matrix[:, :2])))


def resample(image: np.ndarray, matrix: np.ndarray, size: int, reflect: bool = False) -> np.ndarray:
    """Cut a square of ``size`` pixels out of ``image`` (uint8 HWC), antialiased where it shrinks.

    Args:
        image: the input picture.
        matrix: 2x3, output to input.
        size: side of the output in pixels.
        reflect: fill the outside with the picture's mirror image, blurred and faded as in FFHQ; otherwise with black.
    """
    corners = matrix @ np.array([[0, size, 0, size], [0, 0, size, size], [1, 1, 1, 1]])
    margin = 2 * compute_scale(matrix) + 2
    low = np.floor(corners.min(1) - margin).astype(int)
    high = np.ceil(corners.max(1) + margin).astype(int)
    height, width = image.shape[:2]
    x0, y0 = np.maximum(low, 0)
    x1, y1 = np.minimum(high, [width, height])
    outside = None
    if reflect and ((low < 0).any() or (high > [width, height]).any()):
        window = _cut_mirrored_window(image, low, high)
        outside = _measure_outside_distance(matrix, size, (width, height))
        x0, y0 = low
    elif x1 <= x0 or y1 <= y0:
        return np.zeros((size, size, 3), np.uint8)
    else:
        window = image[y0:y1, x0:x1]
    matrix = matrix.copy()
    matrix[:, 2] -= [x0, y0]
    picture = Image.fromarray(np.ascontiguousarray(window))
    # Pillow's affine transform does not antialias: the picture is resized to the output's scale first.
    if compute_scale(matrix) > 1:
        small = [max(1, round(edge / compute_scale(matrix))) for edge in picture.size]
        matrix /= np.array([[picture.width / small[0]], [picture.height / small[1]]])
        picture = picture.resize(small, Image.Resampling.HAMMING, reducing_gap=2.0)
    crop = picture.transform((size, size), Image.Transform.AFFINE, matrix.flatten().tolist(), Image.Resampling.BICUBIC)
    return np.asarray(crop) if outside is None else _fade_mirrored_part(crop, outside)


def _measure_outside_distance(matrix: np.ndarray, size: int, edges: tuple[int, int]) -> np.ndarray:
    """Distance (S, S) of every crop pixel from a picture of ``edges`` (width, height), in crop sides; 0 inside."""
    steps = np.arange(size, dtype=np.float32) + 0.5
    x, y = (row[0] * steps + row[1] * steps[:, None] + row[2] for row in matrix.astype(np.float32))
    width, height = edges
    outside = np.maximum(np.maximum(-x, x - width), np.maximum(-y, y - height))
    return outside.clip(min=0) / (compute_scale(matrix) * size)


def _fade_mirrored_part(picture: Image.Image, outside: np.ndarray) -> np.ndarray:
    """Blur and fade the mirrored part of a crop, where ``outside`` > 0, so that it shows no second face."""
    crop = np.array(picture)
    mirrored = outside > 0
    distance, sharp = outside[mirrored][:, None], crop[mirrored].astype(np.float32)
    quarter = picture.reduce(4).filter(ImageFilter.GaussianBlur(MIRROR_BLUR_SIGMA * picture.width / 4))
    blurred = np.asarray(quarter.resize(picture.size, Image.Resampling.BICUBIC))[mirrored]
    soft = sharp + (distance / MIRROR_BLUR_SIGMA).clip(max=1) * (blurred - sharp)
    median = np.median(crop[::4, ::4], (0, 1))
    crop[mirrored] = (soft + (distance / MIRROR_FADE_LENGTH).clip(max=1) * (median - soft)).round()
    return crop


def _cut_mirrored_window(image: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Cut the window from ``low`` to ``high`` (x, y) out of the picture and its mirror images on all sides."""
    rows = _mirror_index(np.arange(low[1], high[1]), image.shape[0])
    columns = _mirror_index(np.arange(low[0], high[0]), image.shape[1])
    return image[rows][:, columns]


def _mirror_index(index: np.ndarray, length: int) -> np.ndarray:
    folded = np.mod(index, 2 * length)
    return np.where(folded < length, folded, 2 * length - 1 - folded)


def warp(images: torch.Tensor, matrices: torch.Tensor, size: int) -> torch.Tensor:
    """Warp a float batch (N, C, H, W) bilinearly by one output-to-input matrix each (N, 2, 3); 0 outside."""
    height, width = images.shape[-2:]
    to_unit = torch.tensor([[2 / width, 0, -1], [0, 2 / height, -1], [0, 0, 1]], dtype=torch.float64)
    from_unit = torch.tensor([[size / 2, 0, size / 2], [0, size / 2, size / 2], [0, 0, 1]], dtype=torch.float64)
    full = F.pad(matrices.double().cpu(), (0, 0, 0, 1))
    full[:, 2, 2] = 1
    theta = (to_unit @ full @ from_unit)[:, :2].to(images)
    grid = F.affine_grid(theta, [len(images), images.shape[1], size, size], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def warp_supersampled(images: torch.Tensor, matrices: torch.Tensor, size: int) -> torch.Tensor:
    """Warp as :func:`warp` with 2x2 supersampling: antialiased for pictures that shrink by up to 2."""
    halved = matrices.clone()
    halved[:, :, :2] /= 2
    # Half of it by bilinear interpolation is the mean of 2x2 pixels, 3 times as fast as avg_pool2d.
    return F.interpolate(warp(images, halved, 2 * size), scale_factor=0.5, mode="bilinear")
