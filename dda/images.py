"""Pictures: reading, resizing, hashing.

Images are float32 NCHW in [0, 1] inside the project and uint8 HWC RGB at its edges. Everything that crosses
the edge does so here; `dda.png` packs it for a file.
"""

import hashlib
import io
import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageCms, TiffImagePlugin, UnidentifiedImageError

if TYPE_CHECKING:  # torch takes seconds to import, and a wrong path should be told before
    import torch

MAX_PIXELS = 64_000_000
_LIMIT = f"{MAX_PIXELS // 1_000_000} megapixels"
# An allow-list: some of Pillow's other readers start external programs (EPS starts Ghostscript).
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")

_ORIENTATION_TAG = 0x0112
_EXIF_ERRORS = (SyntaxError, ValueError, TypeError, LookupError, OSError, struct.error)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# `read_image` has its own size limit, below the one at which Pillow warns, and puts up with odd metadata.
warnings.filterwarnings("ignore", module=r"PIL\.", category=UserWarning)
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class ImageError(Exception):
    """A picture that cannot be used; `reason` says why in one short line."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ImageReadError(ImageError):
    """The file system refused to hand the file over: another try may succeed."""


def read_image(path: Path) -> np.ndarray:
    """Read a picture as uint8 (H, W, 3) RGB in sRGB, turned the way its EXIF orientation says.

    Gray, CMYK, palette and 16-bit pictures are converted (16 bits are scaled to 8), transparent ones are laid
    over white, an embedded color profile is applied, and of an animation the first frame is taken.

    Raises:
        ImageReadError: the file is missing, or the system cannot read it or lacks the memory.
        ImageError: the file is empty, cut short, damaged, larger than `MAX_PIXELS` or no picture.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageReadError(f"cannot be read: {error.strerror or error}") from error
    if not data:
        raise ImageError("empty file")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image)
            _check_layout(image)
            image.load()
            return np.array(_to_rgb(_turn_upright(image)))
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError("not a picture in a known format (" + ", ".join(FORMATS) + ")") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"larger than {_LIMIT}: shrink it first") from error
    except MemoryError as error:
        raise ImageReadError("not enough memory to decode it") from error
    except Exception as error:  # a damaged file makes Pillow's decoders raise exceptions of nearly any kind
        raise ImageError(f"damaged picture: {_one_line(error)}") from error


def to_tensor(image: np.ndarray) -> "torch.Tensor":
    """uint8 (H, W, 3) to float32 (3, H, W) in [0, 1]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32) / np.float32(255))


def to_uint8(image: "torch.Tensor") -> np.ndarray:
    """Float (3, H, W), clipped to [0, 1], to uint8 (H, W, 3); the exact inverse of `to_tensor`."""
    scaled = image.detach().float().clamp(0, 1).mul(255).round()  # torch rounds halves to even
    return np.stack(list(scaled.byte().cpu().numpy()), axis=-1)


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W, 3) to uint8 (h, w, 3) for `size` = (h, w), antialiased."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return np.array(resized)


def content_hash(image: np.ndarray) -> str:
    """SHA-256 (64 hex digits) of a uint8 picture's shape and pixels, whatever file it came from."""
    digest = hashlib.sha256("x".join(map(str, image.shape)).encode())
    digest.update(image.tobytes())
    return digest.hexdigest()


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{image.width}x{image.height} is larger than {_LIMIT}: shrink it first")


def _check_layout(image: Image.Image) -> None:
    """Refuse the 16-bit TIFFs that Pillow decodes to other pixels than they hold, without an error."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    tags = image.tag_v2
    separate_planes = tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == 2
    zero_is_white = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
    if max(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))) > 8 and (separate_planes or zero_is_white):
        raise ImageError("16-bit TIFF in a layout that cannot be read: save it as PNG")


def _turn_upright(image: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except _EXIF_ERRORS:  # broken metadata does not make the pixels unusable
        return image
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    image = _to_8_bit(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        return Image.composite(_to_srgb(image.convert("RGB"), profile), white, image.getchannel("A"))
    if image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGB")
    return _to_srgb(image, profile)


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit gray to 8 bits, which `convert` would clip. (16-bit color is scaled by the decoder.)"""
    if image.mode in ("I", "F"):
        raise ImageError("32-bit pixels have no fixed range: save the picture with 8 or 16 bits")
    if not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if not profile:
        return image.convert("RGB")
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if ImageCms.getProfileDescription(embedded).startswith("sRGB"):
            return image.convert("RGB")
        converted = ImageCms.profileToProfile(image, embedded, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (
        ImageCms.PyCMSError,
        OSError,
        ValueError,
    ):  # a broken profile, or one for another kind of picture
        return image.convert("RGB")
    assert converted is not None  # None only when converting in place
    return converted


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
