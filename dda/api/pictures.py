"""Pictures as the Python API takes them: paths, PIL images, arrays and tensors."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeGuard, cast

import numpy as np
import torch
from PIL import Image

from dda.errors import OptionError
from dda.images import read_image, to_rgb_array, to_uint8

PictureLike = str | Path | Image.Image | np.ndarray | torch.Tensor
"""A path, a PIL image, a uint8 array (H, W, 3) RGB, or a tensor (3, H, W) of uint8 or of floats in [0, 1]."""


def is_single(images: PictureLike | Sequence[PictureLike]) -> TypeGuard[PictureLike]:
    """Return whether this is one picture, not several; arrays and tensors of several have four dimensions."""
    if isinstance(images, np.ndarray | torch.Tensor):
        return images.ndim == 3
    return isinstance(images, str | Path | Image.Image)


def as_list(images: PictureLike | Sequence[PictureLike]) -> list[PictureLike]:
    """Return the pictures one by one."""
    return [images] if is_single(images) else list(cast(Sequence[PictureLike], images))


class PictureList:
    """Pictures by number, decoded when they are asked for.

    Args:
        images: the pictures.
        aligned: whether they are used as they are, resized; otherwise faces are cropped out of them.
    """

    def __init__(self, images: Sequence[PictureLike], aligned: bool) -> None:
        self._images = images
        self.aligned = aligned

    def __len__(self) -> int:
        return len(self._images)

    @property
    def paths(self) -> list[str]:
        """Their numbers, as text."""
        return [str(number) for number in range(len(self._images))]

    def load(self, path: str) -> np.ndarray:
        """Return picture ``path`` as uint8 (H, W, 3) RGB.

        Raises:
            ImageError: it cannot be read.
            OptionError: an array or tensor of another shape or type.
        """
        return to_array(self._images[int(path)])


def to_array(image: PictureLike) -> np.ndarray:
    """Return a picture as uint8 (H, W, 3) RGB.

    Raises:
        ImageError: a file that cannot be read, or a picture that is too large.
        OptionError: an array or tensor of another shape or type.
    """
    if isinstance(image, str | Path):
        return read_image(Path(image).expanduser())
    if isinstance(image, Image.Image):
        return to_rgb_array(image)
    if isinstance(image, torch.Tensor):
        if image.ndim != 3 or image.shape[0] != 3 or not (image.is_floating_point() or image.dtype == torch.uint8):
            raise OptionError(
                "images",
                f"a tensor must be (3, H, W) of uint8 or of floats in [0, 1], not {tuple(image.shape)} {image.dtype}",
            )
        if image.dtype == torch.uint8:
            return np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
        if not bool(((image >= 0) & (image <= 1)).all()):
            raise OptionError("images", "a tensor of floats must have values in [0, 1]")
        return to_uint8(image)
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        found = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        raise OptionError("images", f"an array must be (H, W, 3) of uint8, not {found}")
    return np.ascontiguousarray(image)
