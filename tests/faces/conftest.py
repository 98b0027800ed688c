"""Weight files for facer whose results are known: a detector of markers and a parser of colors.

The detector finds a face at every marker: a pixel of pure green (a face that fills an FFHQ crop of 512 pixels) or pure
red (of 256 pixels) whose coordinates are multiples of 32. The parser assigns classes by color.
"""

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from dda.faces.preparation import PreparedFace

if TYPE_CHECKING:
    from dda.faces.parsing.farl import FaRLParser

MARKER_SPACING_PX = 32
LIKENESS_SCALE = 80
TEMPLATE = np.array([[192, 244], [320, 244], [252, 320], [190, 366], [322, 366]], float)
"""Key points in an FFHQ crop that a green marker at (256, 256) gives; its anchor is centered at (272, 272)."""

SHADES = {  # most pixels of portraits are near "face"; the other colors are rare in photos
    "background": (0.75, 0.75, 0.75), "face": (0.8, 0.6, 0.5), "rb": (0.0, 0.5, 0.0), "lb": (0.5, 0.5, 0.0),
    "re": (0.0, 0.0, 1.0), "le": (0.0, 1.0, 1.0), "nose": (1.0, 0.5, 0.0), "ulip": (1.0, 0.0, 0.5),
    "imouth": (1.0, 1.0, 1.0), "llip": (0.5, 0.0, 0.5), "hair": (0.4, 0.2, 0.0), "neck": (0.5, 1.0, 0.5),
    "cloth": (0.0, 0.0, 0.5), "rr": (1.0, 1.0, 0.0), "lr": (0.5, 1.0, 0.0), "eyeg": (0.0, 0.5, 0.5),
    "hat": (0.5, 0.0, 1.0), "earr": (0.5, 0.5, 1.0), "neck_l": (0.0, 1.0, 0.5),
}  # fmt: skip
LAPA = ["background", "face", "rb", "lb", "re", "le", "nose", "ulip", "imouth", "llip", "hair"]
CELEBM = [
    "background", "neck", "face", "cloth", "rr", "lr", "rb", "lb", "re", "le", "nose", "imouth", "llip", "ulip", "hair",
    "eyeg", "hat", "earr", "neck_l",
]  # fmt: skip


class Palette(nn.Module):
    """A network with the interface of FaRL's: pictures (N, 3, 448, 448) in [0, 1] to logits and a second output."""

    def __init__(self, classes: list[str]) -> None:
        super().__init__()
        shades = torch.tensor([SHADES[name] for name in classes])
        self.likeness = nn.Conv2d(3, len(classes), 1)  # -|x - shade|^2 without |x|^2, which is the same for all classes
        self.likeness.weight.data = 2 * LIKENESS_SCALE * shades[..., None, None]
        self.likeness.bias.data = -LIKENESS_SCALE * shades.square().sum(1)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if float(images.max()) > 1:
            raise ValueError("pictures must be in [0, 1]")
        return self.likeness(images), images


def detector_state() -> dict[str, torch.Tensor]:
    """Make a RetinaFace that passes two channels, redness and greenness, of every 32nd pixel to its coarsest heads."""
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        from facer.face_detection.retinaface import RetinaFace, cfg_mnet
    net = RetinaFace(cfg=cfg_mnet, phase="test")
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.zeros_(module.weight)
            middle = module.kernel_size[0] // 2
            for channel in (0, 1):
                module.weight.data[channel, channel if module.groups == 1 else 0, middle, middle] = 1
    first = net.body["stage1"][0][0].weight.data
    first.zero_()
    first[:2, :, 1, 1] = torch.tensor([[1.0, -1, -1], [-1, 1, -1]])
    for head in (*net.ClassHead, *net.BboxHead, *net.LandmarkHead):
        nn.init.zeros_(head.conv1x1.weight)
        nn.init.zeros_(head.conv1x1.bias)
    for head in net.ClassHead:
        head.conv1x1.bias.data[1::2] = -50.0  # the class "face" of both anchors
    coarse = net.ClassHead[2].conv1x1
    coarse.weight.data[1, 0] = coarse.weight.data[3, 1] = 0.3
    # After facer subtracts the mean color, pure red is 391 and pure green is 365.
    coarse.bias.data[1], coarse.bias.data[3] = -0.3 * 370, -0.3 * 344
    offsets = (
        torch.from_numpy((TEMPLATE - 272) / (0.1 * 512)).float().flatten()
    )  # in anchor sizes, RetinaFace's encoding
    net.LandmarkHead[2].conv1x1.bias.data = offsets.repeat(2)
    net.BboxHead[2].conv1x1.bias.data = torch.tensor([0, 0, math.log(0.62) / 0.2, math.log(0.62) / 0.2]).repeat(2)
    return {f"module.{name}": value for name, value in net.state_dict().items()}


@pytest.fixture(scope="session")
def detector_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("retinaface") / "mobilenet.pth"
    torch.save(detector_state(), file)
    return file


@pytest.fixture(scope="session")
def parser_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """TorchScript files by label set."""
    folder = tmp_path_factory.mktemp("farl")
    files = {}
    for labels, classes in (("lapa", LAPA), ("celebm", CELEBM)):
        files[labels] = folder / f"{labels}.pt"
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # TorchScript is deprecated
            torch.jit.save(torch.jit.script(Palette(classes)), str(files[labels]))
    return files


@pytest.fixture(scope="session")
def open_farl(parser_files: dict[str, Path], detector_file: Path) -> "Callable[[str], FaRLParser]":
    from dda.faces.parsing.farl import FaRLParser

    def open_parser(labels: str) -> FaRLParser:
        return FaRLParser(labels, str(parser_files[labels]), str(detector_file), torch.device("cpu"))

    return open_parser


@pytest.fixture(scope="session")
def lapa(open_farl: "Callable[[str], FaRLParser]") -> "FaRLParser":
    return open_farl("lapa")


@pytest.fixture(scope="session")
def celebm(open_farl: "Callable[[str], FaRLParser]") -> "FaRLParser":
    return open_farl("celebm")


@pytest.fixture(scope="session")
def mark() -> Callable[..., np.ndarray]:
    """``mark(picture, row, column, small)``: the picture with a marker of a large or a small face in a grid cell."""

    def add_marker(picture: np.ndarray, row: int = 8, column: int = 8, small: bool = False) -> np.ndarray:
        picture = picture.copy()
        picture[row * MARKER_SPACING_PX, column * MARKER_SPACING_PX] = (255, 0, 0) if small else (0, 255, 0)
        return picture

    return add_marker


@pytest.fixture(scope="session")
def shades() -> dict[str, np.ndarray]:
    """Color of each class, uint8 (3,)."""
    return {name: np.round(np.array(shade) * 255).astype(np.uint8) for name, shade in SHADES.items()}


@pytest.fixture(scope="session")
def template() -> np.ndarray:
    return TEMPLATE


@pytest.fixture(scope="session")
def marked_portraits(portraits: list[PreparedFace], mark: Callable[..., np.ndarray]) -> list[np.ndarray]:
    """The two demo faces in their FFHQ crops, each with a marker."""
    return [mark(portrait.source) for portrait in portraits]
