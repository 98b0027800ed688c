"""What several test files share; what takes long to make is made once a session."""

import logging
import os
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import wandb
from hydra.core.hydra_config import HydraConfig
from PIL import Image, ImageEnhance, ImageOps

from dda.faces.dataset import DemoOptions, FaceDataset
from dda.faces.face_mesh import FaceDetector
from dda.faces.parsing.mesh import MeshParser
from dda.faces.preparation import PreparedFace, prepare_faces
from dda.images import read_image, to_tensor, to_uint8
from dda.models.compact.checkpoint import load_compact_model
from dda.models.compact.network import CompactResidualModel
from dda.models.compact.pipeline import CompactPipeline
from dda.models.residuals import Residuals, compose
from tests.tiny_sd import make_tiny_sd

ROOT = Path(__file__).parents[1]
STYLES = ("Natural makeup", "Glamorous makeup", "Smokey eyes", "Red lip makeup", "Korean makeup")


class Malicious:
    """Unpickled, it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.trace,)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """As in the processes that `start` starts: the number of threads may change the last bit of a sum."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A job in the background of a shell ignores ctrl-C, and what it starts does too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def detector() -> FaceDetector:
    return FaceDetector()


@pytest.fixture(scope="session")
def parser() -> MeshParser:
    return MeshParser()


@pytest.fixture(scope="session")
def demo() -> FaceDataset:
    return DemoOptions().open()


@pytest.fixture(scope="session")
def astronaut(demo: FaceDataset) -> np.ndarray:
    """A woman who smiles with her mouth open, head upright, (512, 512, 3)."""
    return demo.load("astronaut.png")


@pytest.fixture(scope="session")
def hopper(demo: FaceDataset) -> np.ndarray:
    """A woman with glasses and a cap, head turned a little, (600, 512, 3)."""
    return demo.load("grace_hopper.jpg")


@pytest.fixture(scope="session")
def portraits(demo: FaceDataset, parser: MeshParser) -> list[PreparedFace]:
    """The two demo faces, ready to paint."""
    faces = [face for path in demo.paths for face in prepare_faces(demo, path, parser, "largest")]
    return [face for face in faces if isinstance(face, PreparedFace)]


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of five styles, small enough to run in milliseconds; each style paints something else."""
    torch.manual_seed(0)
    model = CompactResidualModel(styles=STYLES, channels=(16, 16), style_dim=4)
    with torch.no_grad():  # untrained, styles hardly differ: paint them apart, and thick
        model.fgmm.styles.mul_(3)
        model.alpha.mul_(4)
    folder = tmp_path_factory.mktemp("tiny") / "checkpoint"
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_checkpoint: Path) -> CompactPipeline:
    return CompactPipeline(load_compact_model(tiny_checkpoint), 1, torch.device("cpu"))


@pytest.fixture(scope="session")
def tiny_sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of Stable Diffusion 1 with random weights, in diffusers' form. Not to be changed."""
    return make_tiny_sd(tmp_path_factory.mktemp("tiny_sd"))


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory, astronaut: np.ndarray, hopper: np.ndarray) -> Path:
    """A tree of nine usable photos and three that are not: no face, cut short, no picture at all."""
    root = tmp_path_factory.mktemp("photos")
    (root / "사진 (1)").mkdir()
    (root / "bad").mkdir()
    woman, admiral = Image.fromarray(astronaut), Image.fromarray(hopper)
    pictures = {
        "astronaut.png": woman,
        "astronaut_flipped.png": ImageOps.mirror(woman),
        "astronaut_bright.jpg": ImageEnhance.Brightness(woman).enhance(1.3),
        "사진 (1)/astronaut_crop.png": woman.crop((60, 0, 420, 360)),
        "사진 (1)/astronaut_dark.png": ImageEnhance.Brightness(woman).enhance(0.6),
        "hopper.jpg": admiral,
        "hopper_flipped.png": ImageOps.mirror(admiral),
        "hopper_crop.png": admiral.crop((60, 0, 480, 480)),
        "hopper_gray.png": ImageOps.grayscale(admiral),
        "bad/coffee.png": Image.fromarray(_skimage("coffee.png")),
    }
    for name, picture in pictures.items():
        picture.save(root / name)
    whole = (root / "hopper.jpg").read_bytes()
    (root / "bad" / "cut_short.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "bad" / "letter.jpg").write_text("Dear reader, this is no picture.")
    return root


def _skimage(name: str) -> np.ndarray:
    from skimage import data

    return read_image(Path(data.__file__).parent / name)


@pytest.fixture(scope="session")
def pairs_root(tmp_path_factory: pytest.TempPathFactory, portraits: list[PreparedFace]) -> Path:
    """Two seed pairs of one style: the astronaut, and she in the mirror, with red lips."""
    root = tmp_path_factory.mktemp("pairs")
    for side in ("source", "target"):
        (root / "Tinted lips" / side).mkdir(parents=True)
    face = portraits[0]
    source = to_tensor(face.source)[None]
    masks = torch.from_numpy(face.regions.masks)[None]
    tint = (torch.tensor([0.75, 0.1, 0.2])[:, None, None] - source) * 0.5
    target = to_uint8(compose(source, masks, Residuals(tint), torch.tensor([[0.0, 1.0, 0.0, 0.0]]))[0])
    for side, picture in (("source", face.source), ("target", target)):
        image = Image.fromarray(picture)
        image.save(root / "Tinted lips" / side / "plain.png")
        ImageOps.mirror(image).save(root / "Tinted lips" / side / "mirrored.png")
    return root


@pytest.fixture
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """W&B as on a machine where nobody has logged in, started afresh."""
    for variable in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    wandb.teardown()
    yield
    wandb.teardown()


# --- Running the project --------------------------------------------------------------------------------


def _command(script: str, arguments: tuple[str, ...]) -> list[str]:
    return [sys.executable, str(ROOT / script), *arguments, "logger=none"]


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1", "COLUMNS": "200"}


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.Popen[str]]:
    """``start("run_amplify.py", "batch_size=4", ...)``: a process of its own, not waited for."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")  # not the repository: only the arguments say where to write

    def begin(script: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            _command(script, arguments), cwd=elsewhere, env=_environment(), text=True, encoding="utf-8",
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    return begin


@pytest.fixture(scope="session")
def finish(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """As ``start``, waited for."""

    def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = start(script, *arguments)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run


@pytest.fixture(scope="session")
def run_here() -> Callable[..., None]:
    """As ``finish``, inside this process, which has loaded its libraries already; raises what the script raises."""
    root = logging.getLogger()

    def run(script: str, *arguments: str) -> None:
        level, handlers = root.level, list(root.handlers)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HYDRA_FULL_ERROR", "1")
            patch.setattr(sys, "argv", _command(script, arguments)[1:])
            try:
                runpy.run_path(str(ROOT / script), run_name="__main__")
            finally:
                HydraConfig.instance().cfg = None
                root.handlers[:] = handlers
                root.setLevel(level)

    return run


@pytest.fixture(scope="session")
def snapshot() -> Callable[[Path], dict[str, bytes | None]]:
    """All that a folder holds: file contents by relative path, None for a folder."""

    def take(folder: Path) -> dict[str, bytes | None]:
        found = sorted(folder.rglob("*"))
        return {path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in found}

    return take


# --- One amplification that several files look at --------------------------------------------------------


@pytest.fixture(scope="session")
def job(photos: Path, tiny_checkpoint: Path) -> list[str]:
    """The settings of most runs here: nine usable photos and three others, five styles."""
    return [
        "dataset=folder", f"dataset.root={photos}", "style_assignment=balanced", "batch_size=2",
        f"model.checkpoint={tiny_checkpoint}", "model.steps=2", "device=cpu",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def undisturbed(job: list[str], tmp_path_factory: pytest.TempPathFactory, run_here: Callable[..., None]) -> Path:
    """The folder of a run of ten pairs that nothing happened to. Not to be changed."""
    outputs = tmp_path_factory.mktemp("undisturbed")
    run_here("run_amplify.py", *job, "num_pairs=10", f"paths.outputs={outputs}", "run_name=run")
    return outputs / "amplify" / "run"


@pytest.fixture
def copied(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of the undisturbed run, for those who do something to it; `paths.outputs` is tmp_path."""
    return Path(shutil.copytree(undisturbed, tmp_path / "amplify" / "run"))
