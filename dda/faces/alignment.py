"""Similarity alignment: the FFHQ crop of a photo and the canonical crop of a face.

Every matrix here is 2x3 and takes a point of the OUTPUT picture to the INPUT picture (what a resampler needs),
in continuous pixel coordinates: the center of the first pixel is (0.5, 0.5).
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
"""Where the canonical crop puts the two eye centers and the mouth center, as fractions of its side: the masks of a face
that looks ahead fit in, from the hairline to the chin."""

BLUR = 0.02
"""How much the mirrored part of a crop is blurred, and over which length that begins, as a share of the crop's side."""

FADE = 0.3
"""Over which length beyond a picture's edge its mirror image fades to the crop's median color, likewise."""


def fit_similarity(points: np.ndarray, onto: np.ndarray) -> np.ndarray:
    """Least-squares similarity (turn, scale, shift) taking ``points`` (N, 2) to ``onto`` (N, 2), as a 2x3 matrix.

    Umeyama, IEEE PAMI 1991, in its closed form for the plane.
    """
    center, onto_center = points.mean(0), onto.mean(0)
    p, q = points - center, onto - onto_center
    norm = (p**2).sum()
    a = (p * q).sum() / norm
    b = (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum() / norm
    linear = np.array([[a, -b], [b, a]])
    return np.concatenate([linear, (onto_center - linear @ center)[:, None]], axis=1)


def ffhq_matrix(eye_0: np.ndarray, eye_1: np.ndarray, mouth_0: np.ndarray, mouth_1: np.ndarray) -> np.ndarray:
    """The crop of FFHQ (Karras et al. 2019, appendix A): 512x512 output to photo, from eye and mouth points (2,)."""
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


def invert(matrix: np.ndarray) -> np.ndarray:
    """The 2x3 matrix of the opposite direction."""
    return np.linalg.inv(np.concatenate([matrix, [[0, 0, 1]]]))[:2]


def scale_of(matrix: np.ndarray) -> float:
    """Input pixels per output pixel."""
    return math.sqrt(abs(np.linalg.det(matrix[:, :2])))


def resample(image: np.ndarray, matrix: np.ndarray, size: int, reflect: bool = False) -> np.ndarray:
    """Cut a square of ``size`` pixels out of ``image`` (uint8 HWC), filtered where it shrinks.

    Outside the picture lies black or, with ``reflect``, its mirror image, blurred and fading out (as in FFHQ).
    """
    corners = matrix @ np.array([[0, size, 0, size], [0, 0, size, size], [1, 1, 1, 1]])
    margin = 2 * scale_of(matrix) + 2
    low = np.floor(corners.min(1) - margin).astype(int)
    high = np.ceil(corners.max(1) + margin).astype(int)
    height, width = image.shape[:2]
    x0, y0 = np.maximum(low, 0)
    x1, y1 = np.minimum(high, [width, height])
    beyond = None
    if reflect and ((low < 0).any() or (high > [width, height]).any()):
        window = _reflected(image, low, high)
        beyond = _beyond(matrix, size, (width, height))
        x0, y0 = low
    elif x1 <= x0 or y1 <= y0:
        return np.zeros((size, size, 3), np.uint8)
    else:
        window = image[y0:y1, x0:x1]
    matrix = matrix.copy()
    matrix[:, 2] -= [x0, y0]
    picture = Image.fromarray(np.ascontiguousarray(window))
    # An affine resampler does not filter when it shrinks: bring the picture to the output's scale first.
    if scale_of(matrix) > 1:
        small = [max(1, round(edge / scale_of(matrix))) for edge in picture.size]
        matrix /= np.array([[picture.width / small[0]], [picture.height / small[1]]])
        picture = picture.resize(small, Image.Resampling.HAMMING, reducing_gap=2.0)
    cut = picture.transform((size, size), Image.Transform.AFFINE, matrix.flatten().tolist(), Image.Resampling.BICUBIC)
    return np.asarray(cut) if beyond is None else _faded(cut, beyond)


def _beyond(matrix: np.ndarray, size: int, edges: tuple[int, int]) -> np.ndarray:
    """How far outside a picture of ``edges`` (width, height) each pixel of its crop lies, (S, S) in crop sides."""
    steps = np.arange(size, dtype=np.float32) + 0.5
    x, y = (row[0] * steps + row[1] * steps[:, None] + row[2] for row in matrix.astype(np.float32))
    width, height = edges
    outside = np.maximum(np.maximum(-x, x - width), np.maximum(-y, y - height))
    return outside.clip(min=0) / (scale_of(matrix) * size)


def _faded(picture: Image.Image, beyond: np.ndarray) -> np.ndarray:
    """The crop (S, S, 3) with its mirrored part, ``beyond`` > 0, blurred and fading out, so it shows no second face."""
    cut = np.array(picture)
    mirrored = beyond > 0
    away, sharp = beyond[mirrored][:, None], cut[mirrored].astype(np.float32)
    quarter = picture.reduce(4).filter(ImageFilter.GaussianBlur(BLUR * picture.width / 4))
    blurred = np.asarray(quarter.resize(picture.size, Image.Resampling.BICUBIC))[mirrored]
    soft = sharp + (away / BLUR).clip(max=1) * (blurred - sharp)
    median = np.median(cut[::4, ::4], (0, 1))
    cut[mirrored] = (soft + (away / FADE).clip(max=1) * (median - soft)).round()
    return cut


def _reflected(image: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The window from ``low`` to ``high`` (x, y) of the picture and its mirror images on all sides."""
    rows = _mirror(np.arange(low[1], high[1]), image.shape[0])
    columns = _mirror(np.arange(low[0], high[0]), image.shape[1])
    return image[rows][:, columns]


def _mirror(index: np.ndarray, length: int) -> np.ndarray:
    folded = np.mod(index, 2 * length)
    return np.where(folded < length, folded, 2 * length - 1 - folded)


def warp(images: torch.Tensor, matrices: torch.Tensor, size: int) -> torch.Tensor:
    """Bilinear warp of a float batch (N, C, H, W) by one output-to-input matrix each (N, 2, 3); 0 outside."""
    height, width = images.shape[-2:]
    to_unit = torch.tensor([[2 / width, 0, -1], [0, 2 / height, -1], [0, 0, 1]], dtype=torch.float64)
    from_unit = torch.tensor([[size / 2, 0, size / 2], [0, size / 2, size / 2], [0, 0, 1]], dtype=torch.float64)
    full = F.pad(matrices.double().cpu(), (0, 0, 0, 1))
    full[:, 2, 2] = 1
    theta = (to_unit @ full @ from_unit)[:, :2].to(images)
    grid = F.affine_grid(theta, [len(images), images.shape[1], size, size], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def warp_down(images: torch.Tensor, matrices: torch.Tensor, size: int) -> torch.Tensor:
    """As :func:`warp`, for a picture up to twice as fine: sampled at twice the size, then the mean of 2x2."""
    halved = matrices.clone()
    halved[:, :, :2] /= 2
    return F.interpolate(warp(images, halved, 2 * size), scale_factor=0.5, mode="bilinear")  # thrice avg_pool2d's speed
