"""Pictures: reading, converting, resizing and hashing.

Images are float32 NCHW in [0, 1] inside the project and uint8 HWC RGB at its edges. Both conversions are here;
`dda.png` encodes the result for a file.
"""

import hashlib
import io
import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageCms, TiffImagePlugin, UnidentifiedImageError

if TYPE_CHECKING:  # torch takes seconds to import; a wrong path is reported before
    import torch

MAX_PIXELS = 64_000_000
"""Largest number of pixels of a picture; decoded, they take 192 MB."""

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
"""Formats that are read. An allow-list: some of Pillow's other readers start external programs (EPS: Ghostscript)."""

_EXIF_ORIENTATION_TAG = 0x0112
_EXIF_ERRORS = (SyntaxError, ValueError, TypeError, LookupError, OSError, struct.error)
_EXIF_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# `read_image` has its own size limit, below the one at which Pillow warns, and ignores invalid metadata.
warnings.filterwarnings("ignore", module=r"PIL\.", category=UserWarning)
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class ImageError(Exception):
    """A picture that cannot be used.

    Attributes:
        reason: why, in one short line. The text before a colon names the kind of reason, without numbers.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ImageReadError(ImageError):
    """A picture that the system cannot read or has no memory for: another try may succeed."""


def read_image(path: Path) -> np.ndarray:
    """Read a picture file as uint8 (H, W, 3) RGB in sRGB, in its EXIF orientation.

    Gray, CMYK, palette and 16-bit pictures are converted (16 bits are scaled to 8), transparent pictures are composited
    onto white, an embedded color profile is applied, and the first frame of an animation is read.

    Raises:
        ImageReadError: the file is missing, the system cannot read it, or the memory is too small.
        ImageError: the file is empty, cut short, damaged, larger than `MAX_PIXELS` or not a picture.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageReadError(f"cannot be read: {error.strerror or error}") from error
    if not data:
        raise ImageError("empty file")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return to_rgb_array(image)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"not a picture: the known formats are {', '.join(FORMATS)}") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"too large: more than {_format_megapixels(MAX_PIXELS)}; shrink it first") from error
    except MemoryError as error:
        raise ImageReadError("not enough memory to decode it") from error
    except Exception as error:  # a damaged file makes Pillow's decoders raise exceptions of nearly any kind
        raise ImageError(f"damaged picture: {_describe(error)}") from error


def to_rgb_array(image: Image.Image) -> np.ndarray:
    """Convert a PIL image to uint8 (H, W, 3) RGB in sRGB, as `read_image` does.

    Raises:
        ImageError: it is larger than `MAX_PIXELS`, or in a layout that Pillow cannot read.
    """
    _check_size(image)
    _check_layout(image)
    image.load()
    return np.array(_convert_to_rgb(_apply_orientation(image)))


def to_tensor(image: np.ndarray) -> "torch.Tensor":
    """Convert uint8 (H, W, 3) to float32 (3, H, W) in [0, 1]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32) / np.float32(255))


def to_uint8(image: "torch.Tensor") -> np.ndarray:
    """Convert float (3, H, W), clipped to [0, 1], to uint8 (H, W, 3); the exact inverse of `to_tensor`."""
    scaled = image.detach().float().clamp(0, 1).mul(255).round()  # torch rounds halves to even
    return np.stack(list(scaled.byte().cpu().numpy()), axis=-1)


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize uint8 (H, W, 3) to uint8 (h, w, 3), antialiased (Lanczos).

    Args:
        image: the picture.
        size: (h, w).
    """
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return np.array(resized)


def hash_image(image: np.ndarray) -> str:
    """Hash a uint8 picture: SHA-256 (64 hex digits) of its shape and pixels, whatever file it came from."""
    digest = hashlib.sha256("x".join(map(str, image.shape)).encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(
            f"too large: {image.width}x{image.height} pixels, at most {_format_megapixels(MAX_PIXELS)} are allowed; "
            "shrink it first"
        )


def _format_megapixels(pixels: int) -> str:
    return f"{pixels // 1_000_000} megapixels"


def _check_layout(image: Image.Image) -> None:
    """Reject the 16-bit TIFFs that Pillow decodes to wrong pixels without an error."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    tags = image.tag_v2
    separate_planes = tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == 2
    zero_is_white = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    if max(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))) > 8 and (separate_planes or zero_is_white):
        raise ImageError("unsupported pixel format: 16-bit TIFF in a layout that cannot be read; save it as PNG")


def _apply_orientation(image: Image.Image) -> Image.Image:
    try:
        transpose = _EXIF_TRANSPOSES.get(image.getexif().get(_EXIF_ORIENTATION_TAG, 1))
    except _EXIF_ERRORS:  # the pixels are usable all the same
        return image
    return image if transpose is None else image.transpose(transpose)


def _convert_to_rgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    image = _convert_to_8_bit(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        return Image.composite(_convert_to_srgb(image.convert("RGB"), profile), white, image.getchannel("A"))
    if image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGB")
    return _convert_to_srgb(image, profile)


def _convert_to_8_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit gray to 8 bits: Pillow's `convert` would clip it. The decoders scale 16-bit color themselves."""
    if image.mode in ("I", "F"):
        raise ImageError(
            "unsupported pixel format: 32-bit pixels have no fixed range; save the picture with 8 or 16 bits"
        )
    if not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _convert_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if not profile:
        return image.convert("RGB")
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if ImageCms.getProfileDescription(embedded).startswith("sRGB"):
            return image.convert("RGB")
        converted = ImageCms.profileToProfile(image, embedded, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):  # a broken profile, or one for another kind of picture
        return image.convert("RGB")
    assert converted is not None  # None only when converting in place
    return converted


def _describe(error: Exception) -> str:
    """Return an error's message on one line, or its class if it has no message."""
    return " ".join(str(error).split()) or type(error).__name__
