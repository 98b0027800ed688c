import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, TiffImagePlugin

from dda.images import FORMATS, ImageError, ImageReadError, hash_image, read_image, resize, to_tensor, to_uint8
from dda.png import encode_png
from tests.conftest import ROOT

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore:Image size:Warning:PIL")


def _make_picture(height: int = 24, width: int = 40) -> np.ndarray:
    """A smooth picture with four different corners."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [255 * x / (width - 1), 255 * y / (height - 1), 255 - 200 * x / (width - 1)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _encode_png(values: np.ndarray, color_type: int, bits: int = 16) -> bytes:
    """Encode a PNG by hand, for the bit depths that Pillow reads but cannot write."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2" if bits == 16 else "u1").tobytes() for row in values)

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _measure_difference(image: np.ndarray, other: np.ndarray) -> int:
    assert image.shape == other.shape
    return int(np.abs(image.astype(int) - other.astype(int)).max())


@pytest.mark.parametrize(
    ("suffix", "options", "tolerance"),
    [
        ("png", {}, 0),
        ("bmp", {}, 0),
        ("tiff", {}, 0),
        ("tiff", {"compression": "tiff_lzw"}, 0),
        ("webp", {"lossless": True}, 0),
        ("jpg", {"quality": 98, "subsampling": 0}, 4),
        ("jpg", {"quality": 98, "subsampling": 0, "progressive": True}, 4),
        ("avif", {"quality": 98, "subsampling": "4:4:4"}, 6),
    ],
)
def test_reads_every_format(tmp_path: Path, suffix: str, options: dict, tolerance: int) -> None:
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(_make_picture()).save(path, **options)
    image = read_image(path)
    assert image.dtype == np.uint8 and image.flags.writeable and image.flags.c_contiguous
    assert _measure_difference(image, _make_picture()) <= tolerance


def test_the_content_decides_the_format_and_not_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "really_a_png.jpg"
    path.write_bytes(encode_png(_make_picture()))
    assert np.array_equal(read_image(path), _make_picture())


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    stored_of = {  # how a camera stores an upright picture under each orientation
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    stored = Image.fromarray(np.ascontiguousarray(stored_of[orientation](_make_picture())))
    stored.save(path, exif=exif.tobytes(), quality=98, **({"lossless": True} if suffix == "webp" else {}))
    assert _measure_difference(read_image(path), _make_picture()) <= 25


def test_broken_exif_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "broken_exif.jpg"
    for exif in (b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\x09"):
        Image.fromarray(_make_picture()).save(path, exif=exif, quality=98, subsampling=0)
        assert _measure_difference(read_image(path), _make_picture()) <= 4


@pytest.mark.parametrize("mode", ["L", "1"])
def test_gray_becomes_three_equal_channels(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "gray.png"
    gray = Image.fromarray(_make_picture()).convert(mode)
    gray.save(path)
    image = read_image(path)
    assert np.array_equal(image, np.asarray(gray.convert("RGB")))


def test_palettes_with_and_without_transparency_are_converted(tmp_path: Path) -> None:
    path = tmp_path / "palette.png"
    palette = Image.fromarray(_make_picture()).quantize(32)
    palette.save(path)
    assert np.array_equal(read_image(path), np.asarray(palette.convert("RGB")))

    transparent = palette.getpixel((0, 0))
    palette.save(path, transparency=transparent)
    image = read_image(path)
    hidden = np.asarray(palette) == transparent
    assert (image[hidden] == 255).all()
    assert np.array_equal(image[~hidden], np.asarray(palette.convert("RGB"))[~hidden])


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff"])
def test_alpha_is_composited_onto_white(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"alpha.{suffix}"
    colors = _make_picture()
    alpha = np.full(colors.shape[:2], 255, np.uint8)
    alpha[:, :10], alpha[:, 10:20] = 0, 128
    Image.fromarray(np.dstack([colors, alpha])).save(path, lossless=True)
    over_white = 255 + (colors.astype(float) - 255) * alpha[..., None] / 255
    assert _measure_difference(read_image(path), over_white.round().astype(np.uint8)) <= 1


def test_a_transparent_color_becomes_white(tmp_path: Path) -> None:
    path = tmp_path / "key.png"
    pixels = np.full((4, 4, 3), 40, np.uint8)
    pixels[0] = (10, 20, 30)
    Image.fromarray(pixels).save(path, transparency=(10, 20, 30))
    image = read_image(path)
    assert (image[0] == 255).all() and (image[1:] == 40).all()


@pytest.mark.parametrize(("color_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_a_sixteen_bit_png_is_scaled_and_not_clipped(tmp_path: Path, color_type: int, channels: int) -> None:
    gradient = np.linspace(0, 65535, 64 * 4).round().astype(np.uint16).reshape(4, 64)
    values = np.stack([gradient] * channels, axis=-1)
    if channels in (2, 4):
        values[..., -1] = 65535
    path = tmp_path / "sixteen.png"
    path.write_bytes(_encode_png(values, color_type))
    expected = np.stack([gradient / 257] * 3, axis=-1).round().astype(np.uint8)
    assert _measure_difference(read_image(path), expected) <= 1


def test_a_sixteen_bit_tiff_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    gradient = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    path = tmp_path / "sixteen.tiff"
    Image.fromarray(gradient).save(path)
    assert _measure_difference(read_image(path), np.stack([gradient / 257] * 3, axis=-1).round().astype(np.uint8)) == 0


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pixels_without_a_known_range_are_rejected(tmp_path: Path, kind: type) -> None:
    path = tmp_path / "wide.tiff"
    Image.fromarray(np.ones((8, 8), kind)).save(path)
    with pytest.raises(ImageError, match="32-bit pixels have no fixed range"):
        read_image(path)


def test_tiff_layouts_that_pillow_misreads_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "layout.tiff"
    gradient = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(gradient).save(path, tiffinfo={TiffImagePlugin.PHOTOMETRIC_INTERPRETATION: 0})
    with pytest.raises(ImageError, match="16-bit TIFF in a layout"):
        read_image(path)
    Image.fromarray(gradient).save(path, tiffinfo={TiffImagePlugin.PLANAR_CONFIGURATION: 2})
    with pytest.raises(ImageError, match="16-bit TIFF in a layout"):
        read_image(path)


@pytest.mark.parametrize("suffix", ["jpg", "tiff"])
def test_cmyk_is_not_inverted(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cmyk.{suffix}"
    Image.fromarray(_make_picture()).convert("CMYK").save(path, quality=98, subsampling=0)
    assert _measure_difference(read_image(path), _make_picture()) <= 8


def test_an_embedded_profile_is_applied(tmp_path: Path) -> None:
    """Linear light without its profile is far too dark; with the profile it becomes the sRGB picture."""
    colors = _make_picture()
    scaled = colors / 255
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    path = tmp_path / "linear.png"
    stored = Image.fromarray((linear * 255).round().astype(np.uint8))
    stored.save(path, icc_profile=_make_linear_profile())
    bright = colors.min(axis=-1) > 60  # 8 bits of linear light are too coarse for the shadows
    assert _measure_difference(read_image(path)[bright], colors[bright]) <= 4
    assert _measure_difference(np.asarray(stored)[bright], colors[bright]) > 40


def test_the_srgb_profile_changes_nothing_and_a_broken_one_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "profile.png"
    standard = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (standard, b"no profile at all", standard[:200], _make_linear_profile()[:300]):
        Image.fromarray(_make_picture()).save(path, icc_profile=profile)
        assert np.array_equal(read_image(path), _make_picture())


def test_a_profile_of_another_color_space_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "gray_with_rgb_profile.png"
    gray = Image.fromarray(_make_picture()).convert("L")
    gray.save(path, icc_profile=_make_linear_profile())
    assert np.array_equal(read_image(path), np.asarray(gray.convert("RGB")))


def test_the_first_frame_of_an_animation_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "blue", "lime")]
    for suffix in ("gif", "webp", "png", "tiff"):
        path = tmp_path / f"moving.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        assert _measure_difference(read_image(path), np.asarray(frames[0])) <= 4


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "bmp", "gif", "avif"])
def test_files_cut_short_are_rejected(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    for share in (0.001, 0.01, 0.1, 0.5, 0.9):
        path.write_bytes(content[: max(1, int(len(content) * share))])
        with pytest.raises(ImageError) as caught:
            read_image(path)
        assert caught.value.reason and "\n" not in caught.value.reason


def test_damaged_bytes_give_a_picture_or_a_reason(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    for suffix in ("jpg", "png", "webp", "tiff", "bmp", "gif"):
        path = tmp_path / f"damaged.{suffix}"
        Image.fromarray(_make_picture()).save(path)
        content = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(40):
            damaged = content.copy()
            damaged[random.integers(0, len(content), 4)] = random.integers(0, 256, 4)
            path.write_bytes(damaged.tobytes())
            try:
                image = read_image(path)
            except ImageError as error:
                assert error.reason and "\n" not in error.reason
            else:
                assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the memory of the process is read from /proc")
def test_out_of_memory_is_a_read_error(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("RGB", (7900, 8000)).save(path)
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from dda.images import ImageReadError, read_image\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 64_000_000,) * 2)\n"
        "try:\n"
        "    read_image(Path(sys.argv[1]))\n"
        "except ImageReadError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, path], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "not enough memory to decode it\n"


def test_a_file_that_is_not_a_picture_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "text.jpg"
    path.write_text("not a picture")
    with pytest.raises(ImageError, match="not a picture"):
        read_image(path)
    path.write_bytes(b"")
    with pytest.raises(ImageError, match="empty file"):
        read_image(path)
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    with pytest.raises(ImageError, match="not a picture"):
        read_image(path)
    assert "EPS" not in FORMATS


def test_a_file_that_cannot_be_read_is_a_read_error(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match="No such file"):
        read_image(tmp_path / "missing.jpg")
    with pytest.raises(ImageReadError, match="directory"):
        read_image(tmp_path)


@pytest.mark.parametrize("side", [8_100, 12_000, 60_000])
def test_decompression_bombs_are_rejected_before_decoding(tmp_path: Path, side: int) -> None:
    row = np.zeros((1, 1, 1), np.uint8)
    header = bytearray(_encode_png(row, color_type=0, bits=8))
    header[16:24] = struct.pack(">II", side, side)
    header[29:33] = struct.pack(">I", zlib.crc32(bytes(header[12:29])))
    path = tmp_path / "bomb.png"
    path.write_bytes(bytes(header))
    with pytest.raises(ImageError, match="megapixels"):
        read_image(path)


def test_converting_to_a_tensor_and_back_is_exact() -> None:
    all_values = np.arange(256 * 3, dtype=np.uint32).astype(np.uint8).reshape(16, 16, 3)
    tensor = to_tensor(all_values)
    assert tensor.shape == (3, 16, 16) and tensor.dtype == torch.float32
    assert tensor.min() == 0 and tensor.max() == 1
    assert np.array_equal(to_uint8(tensor), all_values)


def test_to_uint8_clips_and_rounds_halves_to_even() -> None:
    values = torch.tensor([-1.0, 2.0, 0.5, 2.5 / 255]).reshape(1, 1, 4).expand(3, 1, 4)
    assert to_uint8(values)[0, :, 0].tolist() == [0, 255, 128, 2]


def test_resize_takes_height_first_and_is_antialiased() -> None:
    assert resize(_make_picture(24, 40), (12, 20)).shape == (12, 20, 3)
    assert resize(_make_picture(24, 40), (24, 40)).shape == (24, 40, 3)
    checkers = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    small = resize(np.stack([checkers] * 3, axis=-1), (8, 8))
    assert small.min() > 120 and small.max() < 136


def test_the_hash_depends_on_pixels_and_shape_only(tmp_path: Path) -> None:
    colors = _make_picture()
    path = tmp_path / "picture.webp"
    Image.fromarray(colors).save(path, lossless=True)
    assert hash_image(read_image(path)) == hash_image(colors)
    assert hash_image(colors[:, ::-1]) == hash_image(np.ascontiguousarray(colors[:, ::-1]))
    assert hash_image(colors.reshape(40, 24, 3)) != hash_image(colors)
    changed = colors.copy()
    changed[0, 0, 0] ^= 1
    assert hash_image(changed) != hash_image(colors)
    assert len(hash_image(colors)) == 64


def _make_linear_profile() -> bytes:
    """An ICC profile of linear light with the primaries of sRGB."""

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def xyz(x: float, y: float, z: float) -> bytes:
        return b"XYZ \0\0\0\0" + fixed(x) + fixed(y) + fixed(z)

    name = b"linear light\0"
    curve = b"curv\0\0\0\0" + struct.pack(">I", 0)
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(78),
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.4361, 0.2225, 0.0139),
        b"gXYZ": xyz(0.3851, 0.7169, 0.0971),
        b"bXYZ": xyz(0.1431, 0.0606, 0.7139),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, body, offset = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for tag, content in tags.items():
        content += bytes(-len(content) % 4)
        table += tag + struct.pack(">II", offset + len(body), len(content))
        body += content
    header = bytearray(128)
    header[8:12] = bytes([2, 0x40, 0, 0])
    header[12:24] = b"mntrRGB XYZ "
    header[36:40] = b"acsp"
    header[68:80] = fixed(0.9642) + fixed(1.0) + fixed(0.8249)
    header[0:4] = struct.pack(">I", 128 + len(table) + len(body))
    return bytes(header) + table + body
