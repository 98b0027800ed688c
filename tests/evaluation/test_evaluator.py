import math
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from dda.evaluation import evaluator as evaluation
from dda.evaluation.evaluator import Evaluator, Measurement, exact_arithmetic
from dda.evaluation.metric_suite import BatchNumbers, MetricSuite
from dda.evaluation.pair_loader import LoadedPair, load_pair, parse_picture
from dda.faces.face_mesh import MeshFace
from dda.faces.parsing.mesh import MeshParser
from dda.faces.parsing.parser import NO_MEMORY
from dda.faces.preparation import PreparedFace
from dda.images import to_tensor, to_uint8
from dda.metrics.metric import PairBatch
from dda.models.residuals import Residuals, compose
from dda.pairs.folder import PairFiles, find_pairs
from tests.evaluation.parts import part

CPU = torch.device("cpu")
LIPS = torch.tensor([[0.0, 1.0, 0.0, 0.0]])
Measure = Callable[..., list[Measurement]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, portraits: list[PreparedFace]) -> Path:
    """Four pairs with an oracle for two (the target, and half of it), among them a faceless one of another size."""
    folder = tmp_path_factory.mktemp("pairs")
    for side in ("source", "target", "oracle"):
        (folder / side).mkdir()
    for name, face in zip(("a", "c"), portraits, strict=True):
        source = to_tensor(face.source)[None]
        masks = torch.from_numpy(face.regions.masks)[None]
        tint = (torch.tensor([0.7, 0.1, 0.2])[:, None, None] - source) * 0.5
        save(folder / "source", name, face.source)
        save(folder / "target", name, to_uint8(compose(source, masks, Residuals(tint), LIPS)[0]))
    gray = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    save(folder / "source", "b", gray)
    save(folder / "target", "b", gray[::-1])
    save(folder / "source", "d", gray)
    (folder / "target" / "d.png").write_text("no picture")
    (folder / "oracle" / "a.png").write_bytes((folder / "target" / "a.png").read_bytes())
    (folder / "oracle" / "c.png").write_bytes((folder / "source" / "c.png").read_bytes())
    return folder


def save(folder: Path, name: str, picture: np.ndarray) -> None:
    Image.fromarray(picture).save(folder / f"{name}.png")


@pytest.fixture
def measure(root: Path, parser: MeshParser) -> Measure:
    def run(*names: str, batch_size: int = 4, oracle: bool = False) -> list[Measurement]:
        pairs = find_pairs(root, root / "oracle" if oracle else None)
        evaluation = Evaluator(pairs, MetricSuite(names, CPU), parser, batch_size, workers=2)
        measurements = list(evaluation)
        assert len(evaluation) == len(measurements)
        return measurements

    return run


def read(file: str | Path) -> np.ndarray:
    return np.asarray(Image.open(file))


def test_every_pair_is_a_row_in_its_place_with_its_own_numbers(measure: Measure) -> None:
    rows = [m.pair for m in measure("psnr", "strength", "background")]
    assert [(row.name, row.status) for row in rows] == [("a", "ok"), ("b", "ok"), ("c", "ok"), ("d", "rejected")]
    assert rows[3].reason.startswith("target: not a picture") and rows[3].numbers == {}
    for row in rows[:3]:
        source, target = read(row.source_path), read(row.target_path)
        assert row.numbers["psnr"] == pytest.approx(peak_signal_noise_ratio(source, target, data_range=255), abs=1e-4)
    assert rows[0].numbers["strength_lips"] > 5 > 1 > rows[0].numbers["strength_skin"]
    assert rows[0].numbers["background_error"] == 0
    assert math.isnan(rows[1].numbers["strength"])  # no face
    assert rows[0].face != rows[2].face


def test_the_identity_baseline_is_the_source_as_its_own_target(measure: Measure) -> None:
    row = measure("psnr", "ssim", "strength")[0].pair
    assert set(part(row.numbers, "baseline")) == set(part(row.numbers, "values"))
    assert row.numbers["baseline_psnr"] == 100
    assert row.numbers["baseline_ssim"] == pytest.approx(1, abs=1e-5)
    assert row.numbers["baseline_strength_lips"] == 0


def test_the_numbers_do_not_depend_on_the_batch(measure: Measure) -> None:
    names = ("psnr", "strength")
    together, alone = measure(*names, oracle=True), measure(*names, batch_size=1, oracle=True)
    for one, other in zip(together, alone, strict=True):
        assert one.pair.numbers == pytest.approx(other.pair.numbers, rel=1e-5, nan_ok=True)


def test_targets_are_compared_with_the_oracle_beside_the_untouched_source(
    measure: Measure, root: Path, parser: MeshParser
) -> None:
    perfect, without, painted, _ = (m.pair for m in measure("psnr", oracle=True))
    assert perfect.numbers["oracle_psnr"] == perfect.numbers["oracle_psnr_lips"] == 100
    assert not any("oracle" in name for name in without.numbers)
    assert painted.numbers["untouched_oracle_psnr"] == 100  # nothing should have been painted there
    assert painted.numbers["oracle_psnr"] == pytest.approx(painted.numbers["psnr"])

    source, truth = (read(root / side / "a.png") / 255 for side in ("source", "target"))
    lips = parse_picture(read(root / "source" / "a.png"), parser)[0][1] / 255
    error = (((source - truth) ** 2).mean(-1) * lips).sum() / lips.sum()
    assert perfect.numbers["untouched_oracle_psnr_lips"] == pytest.approx(-10 * math.log10(error), abs=1e-3)


def test_the_first_pairs_alone_keep_thumbnails(measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "MAX_THUMBNAILS", 1)
    first, second, *_ = measure("psnr")
    assert set(first.pair.thumbnails) == {"source", "target"} and second.pair.thumbnails == {}


def test_color_changes_are_kept_for_the_set(measure: Measure) -> None:
    changes = measure("psnr")[0].changes
    assert changes is not None and changes.shape == (4, 3)
    assert np.abs(changes[1]).sum() > 5 * np.abs(changes[2]).sum()  # lips against skin


def test_pictures_are_let_go_of(root: Path, parser: MeshParser, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[weakref.ref[LoadedPair]] = []

    def noted(*arguments: Any) -> LoadedPair:
        pair = load_pair(*arguments)
        loaded.append(weakref.ref(pair))
        return pair

    monkeypatch.setattr(evaluation, "load_pair", noted)
    one = PairFiles("b", root / "source" / "b.png", root / "target" / "b.png")
    pairs = [PairFiles(str(index), one.source, one.target) for index in range(40)]
    alive = []
    for _ in Evaluator(pairs, MetricSuite(["psnr"], CPU), parser, batch_size=4, workers=2):
        alive.append(sum(pair() is not None for pair in loaded))
    assert len(alive) == len(loaded) == 40
    assert max(alive) <= 2 * 4 + 2 + 4  # the batch, what is loaded ahead, and a margin


@pytest.mark.parametrize("allowed", [True, False])
def test_products_are_exact_inside_and_as_they_were_outside(allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(cudnn, "allow_tf32", allowed)
    parts = (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn)  # type: ignore[attr-defined]
    before = [part.fp32_precision for part in parts]
    with pytest.raises(ZeroDivisionError), exact_arithmetic():
        assert [part.fp32_precision for part in parts] == ["ieee"] * 3
        assert not cudnn.allow_tf32  # PyTorch refuses to read it where it contradicts the parts
        raise ZeroDivisionError
    assert [part.fp32_precision for part in parts] == before and cudnn.allow_tf32 == allowed


def test_a_batch_that_does_not_fit_is_measured_in_parts(root: Path, parser: MeshParser, measure: Measure) -> None:
    class Small(MetricSuite):
        """A suite on a device whose memory holds so many pairs."""

        room = 1

        def __call__(self, batch: PairBatch) -> BatchNumbers:
            if len(batch.source) > self.room:
                raise torch.OutOfMemoryError
            return super().__call__(batch)

    suite = Small(["psnr"], CPU)
    rows = [m.pair for m in Evaluator(find_pairs(root), suite, parser, batch_size=4, workers=2)]
    assert [row.numbers for row in rows] == [m.pair.numbers for m in measure("psnr")]
    suite.room = 0
    rows = [m.pair for m in Evaluator(find_pairs(root), suite, parser, batch_size=4, workers=2)]
    assert {(row.status, row.reason) for row in rows if row.status != "ok"} >= {("rejected", NO_MEMORY)}
    assert not [row for row in rows if row.status == "ok"]


def test_a_pair_that_the_parser_has_no_memory_for_is_a_row(root: Path) -> None:
    class Small(MeshParser):
        def detect(self, image: np.ndarray) -> list[MeshFace]:
            if len(image) > 100:
                raise torch.OutOfMemoryError
            return super().detect(image)

    pairs = find_pairs(root)
    rows = [m.pair for m in Evaluator(pairs, MetricSuite(["psnr"], CPU), Small(), batch_size=4, workers=2)]
    assert [row.status for row in rows] == ["rejected", "ok", "rejected", "rejected"]
    assert rows[0].reason == "the device had no memory left for the parser" and rows[0].numbers == {}
