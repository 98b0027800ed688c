import functools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dda.errors import SourceError, UserError
from dda.faces.dataset import FaceDataset, FolderOptions
from dda.faces.parsing.mesh import MeshParser
from dda.faces.preparation import PreparedFace, prepare_faces
from dda.models.compact.pipeline import CompactPipeline, EncodedFaces
from dda.models.painting import Strength, raw_leakage
from dda.models.residuals import Residuals
from dda.pairs.generator import PairGenerator, PairOutcome
from dda.pairs.plan import PlannedPair
from dda.regions import REGIONS
from dda.seeds import pair_noise
from dda.styles import Style

Amplify = Callable[..., list[PairOutcome]]
NO_FACE = "bad/coffee.png"


def style(name: str, **regions: str) -> Style:
    return Style(name, dict.fromkeys(REGIONS, name) | regions, dict.fromkeys(REGIONS, 1.0))


STYLES = [style("Natural makeup"), style("Smokey eyes"), style("Red lip makeup")]


def strengths(makeup: float = 1.0, detail: float = 1.0, **regions: float) -> Strength:
    return Strength(makeup, detail, dict.fromkeys(REGIONS, 1.0) | regions)


def plan(*pairs: tuple[str, str]) -> list[PlannedPair]:
    return [PlannedPair(place, path, name) for place, (path, name) in enumerate(pairs)]


@pytest.fixture(scope="module")
def dataset(photos: Path) -> FaceDataset:
    return FolderOptions(root=str(photos)).open()


@pytest.fixture(scope="module")
def prepared(dataset: FaceDataset, parser: MeshParser) -> Callable[[str], list[PreparedFace | SourceError]]:
    """`prepare`, which need not do the same picture again for every test."""
    return functools.cache(functools.partial(prepare_faces, dataset, parser=parser, faces="largest"))


@pytest.fixture
def amplification(
    prepared: Callable[[str], list[PreparedFace | SourceError]], tiny: CompactPipeline
) -> Callable[..., PairGenerator]:
    def make(pairs: Sequence[PlannedPair], **changed: Any) -> PairGenerator:
        settings = {
            "num_pairs": None,
            "prepare": prepared,
            "pipeline": tiny,
            "styles": {one.name: one for one in STYLES},
            "strength": strengths(),
            "batch_size": 4,
            "seed": 0,
            "workers": 2,
        }
        return PairGenerator(pairs, **settings | changed)

    return make


@pytest.fixture
def amplify(amplification: Callable[..., PairGenerator]) -> Amplify:
    return lambda pairs, **changed: list(amplification(pairs, **changed))


def targets(outcomes: list[PairOutcome]) -> np.ndarray:
    """The targets of outcomes that are all ok, as signed numbers."""
    return np.stack([outcome.target for outcome in outcomes]).astype(int)  # type: ignore[arg-type]


PAIRS = plan(
    ("hopper.jpg", "Natural makeup"), ("hopper.jpg", "Smokey eyes"), (NO_FACE, "Natural makeup"),
    ("astronaut.png", "Red lip makeup"), ("bad/letter.jpg", "Smokey eyes"), ("hopper_flipped.png", "Smokey eyes"),
    ("astronaut_flipped.png", "Natural makeup"),
)  # fmt: skip
ONE = plan(("astronaut.png", "Natural makeup"))


# --- What comes out, in which order ---------------------------------------------------------------------


def test_every_planned_pair_ends_as_an_outcome_in_plan_order(amplify: Amplify) -> None:
    outcomes = amplify(PAIRS)
    assert [outcome.row.place for outcome in outcomes] == list(range(len(PAIRS)))
    assert [(outcome.row.path, outcome.row.style) for outcome in outcomes] == [(p.path, p.style) for p in PAIRS]
    assert [outcome.row.status for outcome in outcomes] == ["ok", "ok", "rejected", "ok", "rejected", "ok", "ok"]


def test_an_outcome_holds_the_pair_and_its_row(amplify: Amplify, portraits: list[PreparedFace]) -> None:
    (outcome,) = amplify(ONE)
    row, face = outcome.row, portraits[0]
    assert (row.place, row.face, row.attempt, row.name) == (0, 0, 0, "image_0000.png")
    assert row.content_hash == face.content_hash and outcome.source_png == face.source_png
    assert outcome.source is not None and np.array_equal(outcome.source, face.source)
    change = np.abs(targets([outcome])[0] - face.source)
    assert row.measures["makeup_change"] == pytest.approx(change.mean() / 255) and change.max() > 20
    assert row.measures["mask_share"] == pytest.approx(face.regions.total_mask.mean())
    assert row.measures["background_pixels"] == 0


def test_a_refused_source_says_why_and_has_no_pictures(amplify: Amplify) -> None:
    (outcome,) = amplify(plan((NO_FACE, "Natural makeup")))
    row = outcome.row
    assert (row.status, row.stage, row.reason, row.name) == ("rejected", "detect", "no face found", "")
    assert outcome.source is None and outcome.target is None and not row.measures


def test_it_stops_after_the_place_that_brings_the_pairs_wanted(
    amplify: Amplify, amplification: Callable[..., PairGenerator]
) -> None:
    outcomes = amplify(PAIRS, num_pairs=3)
    assert [outcome.row.place for outcome in outcomes] == [0, 1, 2, 3]
    assert len(amplification(PAIRS, num_pairs=3)) == 3 and len(amplification(PAIRS)) == len(PAIRS)


def test_more_pairs_than_there_are_is_all_of_them(amplify: Amplify) -> None:
    assert len(amplify(PAIRS[:4], num_pairs=100)) == 4
    assert amplify([]) == []


def test_several_faces_of_a_picture_have_names_of_their_own(
    amplify: Amplify, dataset: FaceDataset, parser: MeshParser
) -> None:
    def both(path: str) -> list[PreparedFace | SourceError]:
        (first,), (second,) = (prepare_faces(dataset, name, parser, "largest") for name in (path, "hopper.jpg"))
        assert isinstance(second, PreparedFace)
        second.index = 1
        return [first, second, SourceError("rejected", "align", "too small")]

    outcomes = amplify(ONE, prepare=both)
    assert [(o.row.face, o.row.status, o.row.name) for o in outcomes] == [
        (0, "ok", "image_0000.png"), (1, "ok", "image_0000_1.png"), (2, "rejected", ""),
    ]  # fmt: skip
    assert [o.row.face for o in amplify(ONE, prepare=both, num_pairs=1)] == [0, 1, 2]  # a place is never torn


def test_the_styles_of_a_face_share_its_preparation(amplify: Amplify, dataset: FaceDataset, parser: MeshParser) -> None:
    paths = []

    def counted(path: str) -> list[PreparedFace | SourceError]:
        paths.append(path)
        return prepare_faces(dataset, path, parser, "largest")

    outcomes = amplify(plan(*(("astronaut.png", one.name) for one in STYLES)), prepare=counted)
    assert paths == ["astronaut.png"]
    assert outcomes[0].source_png is outcomes[2].source_png


def test_a_bug_is_not_taken_for_a_bad_picture(amplify: Amplify) -> None:
    def broken(path: str) -> list[PreparedFace | SourceError]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        amplify(PAIRS, prepare=broken)


def test_whoever_stops_listening_leaves_no_threads_behind(amplification: Callable[..., PairGenerator]) -> None:
    outcomes = iter(amplification(PAIRS))
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prepare")]


# --- A pair depends on its key alone --------------------------------------------------------------------


def test_other_neighbors_change_no_byte(amplify: Amplify) -> None:
    among = {outcome.row.place: outcome.target for outcome in amplify(PAIRS)}
    for pair in (PAIRS[0], PAIRS[3], PAIRS[6]):
        (alone,) = amplify([pair])
        assert alone.target is not None and np.array_equal(alone.target, among[pair.place])
    for outcome in amplify(list(reversed(PAIRS))):
        assert (outcome.target is None) == (among[outcome.place] is None)
        assert outcome.target is None or np.array_equal(outcome.target, among[outcome.place])


@pytest.mark.parametrize("workers", [1, 7])
def test_other_numbers_of_workers_change_no_byte(workers: int, amplify: Amplify) -> None:
    pairs = [PAIRS[0], PAIRS[3], PAIRS[5]]
    assert np.array_equal(targets(amplify(pairs, workers=workers)), targets(amplify(pairs, workers=2)))


@pytest.mark.parametrize("batch_size", [1, 8])
def test_other_batch_sizes_change_a_gray_level_in_a_thousandth_of_the_values(batch_size: int, amplify: Amplify) -> None:
    pairs = [PAIRS[0], PAIRS[3], PAIRS[5]]
    difference = np.abs(targets(amplify(pairs, batch_size=batch_size)) - targets(amplify(pairs, batch_size=4)))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001


def test_the_seed_makes_other_pairs_and_the_same_seed_the_same(amplify: Amplify) -> None:
    first = targets(amplify(ONE))
    assert np.array_equal(targets(amplify(ONE)), first)
    assert not np.array_equal(targets(amplify(ONE, seed=1)), first)


class _Watched:
    """A real amplifier that remembers what it was given, with memory for ``rows`` rows only."""

    def __init__(self, amplifier: CompactPipeline, rows: int = 1000) -> None:
        self.device, self.noise_shape, self.gains = amplifier.device, amplifier.noise_shape, amplifier.gains
        self._amplifier, self._rows = amplifier, rows
        self.noise: list[torch.Tensor] = []
        self.encoded: list[int] = []
        self.painted: list[int] = []

    def encode_faces(self, source: torch.Tensor, masks: torch.Tensor, faces: Any, noise: torch.Tensor) -> EncodedFaces:
        if len(source) > self._rows:
            raise torch.OutOfMemoryError
        self.noise += list(noise)
        self.encoded.append(len(source))
        return self._amplifier.encode_faces(source, masks, faces, noise)

    def residuals(self, encoded: EncodedFaces, indices: Sequence[int], styles: Sequence[Style]) -> Residuals:
        self.painted.append(len(indices))
        return self._amplifier.residuals(encoded, indices, styles)


def test_noise_is_that_of_seed_and_content(amplify: Amplify, tiny: CompactPipeline) -> None:
    watched = _Watched(tiny)
    outcomes = amplify([PAIRS[0], PAIRS[3]], pipeline=watched, seed=3)
    assert len(watched.noise) == 4  # padded to the batch size
    for outcome, noise in zip(outcomes, watched.noise, strict=False):
        assert torch.equal(noise, pair_noise(tiny.noise_shape, 3, outcome.row.content_hash, 0))
    assert not torch.equal(watched.noise[0], watched.noise[1])


def test_a_parser_without_memory_fails_its_pair_and_not_the_run(
    amplify: Amplify, prepared: Callable[[str], list[PreparedFace | SourceError]]
) -> None:
    def prepare_some(path: str) -> list[PreparedFace | SourceError]:
        if path == "hopper.jpg":
            raise torch.OutOfMemoryError
        return prepared(path)

    rows = [outcome.row for outcome in amplify(PAIRS, prepare=prepare_some)]
    assert [row.status for row in rows] == ["failed", "failed", "rejected", "ok", "rejected", "ok", "ok"]
    assert (rows[0].stage, rows[0].reason) == ("parse", "the device had no memory left for the parser")


def test_a_residual_that_is_not_finite_fails_its_pair_and_not_its_neighbors(
    amplify: Amplify, tiny: CompactPipeline
) -> None:
    class Overflowing(_Watched):
        def residuals(self, encoded: EncodedFaces, indices: Sequence[int], styles: Sequence[Style]) -> Residuals:
            makeup = super().residuals(encoded, indices, styles).makeup.clone()
            makeup[0, 0, 200, 300] = float("inf")
            return Residuals(makeup)

    outcomes = amplify(PAIRS, pipeline=Overflowing(tiny), batch_size=8)
    whole = amplify(PAIRS, batch_size=8)
    assert [outcome.row.status for outcome in outcomes][:2] == ["failed", "ok"]
    assert outcomes[0].row.stage == "model" and "not finite" in outcomes[0].row.reason
    assert outcomes[0].target is None and np.array_equal(targets(outcomes[1:2]), targets(whole[1:2]))


def test_the_styles_of_a_face_share_its_noise_and_its_preparation(amplify: Amplify, tiny: CompactPipeline) -> None:
    watched = _Watched(tiny)
    names = [one.name for one in STYLES]
    pairs = plan(*((path, name) for path in ("astronaut.png", NO_FACE, "hopper.jpg") for name in names))
    outcomes = amplify(pairs, pipeline=watched, batch_size=2)
    assert [outcome.place for outcome in outcomes] == list(range(len(pairs)))
    assert watched.encoded == [2] and watched.painted == [2] * len(names)  # 2 faces, each in every style
    alone = amplify(pairs[:1], batch_size=2)
    assert np.array_equal(targets(alone), targets(outcomes[:1]))


def test_out_of_memory_the_batch_halves_and_the_run_goes_on(
    amplify: Amplify, tiny: CompactPipeline, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes = amplify(PAIRS, pipeline=_Watched(tiny, rows=2), batch_size=8)
    made = [outcome for outcome in outcomes if outcome.row.status == "ok"]
    assert [outcome.place for outcome in outcomes] == list(range(len(PAIRS)))
    assert {outcome.row.measures["batch_size"] for outcome in made} == {2}
    assert "batches of 4" in caplog.text and "batches of 2" in caplog.text
    whole = [outcome for outcome in amplify(PAIRS, batch_size=8) if outcome.row.status == "ok"]
    assert np.abs(targets(made) - targets(whole)).max() <= 1


def test_memory_too_small_for_one_pair_is_said(amplify: Amplify, tiny: CompactPipeline) -> None:
    with pytest.raises(UserError, match=r"device=cpu: out of memory for a single pair"):
        amplify(PAIRS, pipeline=_Watched(tiny, rows=0))


# --- Leakage --------------------------------------------------------------------------------------------


def test_leakage_is_the_share_of_the_residual_outside_the_regions_of_the_style() -> None:
    makeup = torch.zeros(1, 3, 4, 4)
    makeup[..., 0] = 75 / 255  # skin
    makeup[..., 1] = -25 / 255  # lips
    makeup[..., 3] = 25 / 255  # background
    masks = torch.zeros(1, 4, 4, 4)
    masks[:, REGIONS.index("skin"), :, 0] = 0.01
    masks[:, REGIONS.index("lips"), :, 1] = 1
    assert raw_leakage(makeup, masks, torch.ones(1, 4)).item() == pytest.approx(0.2)
    without_lips = torch.tensor([[1.0, 0.0, 1.0, 1.0]])
    assert raw_leakage(makeup, masks, without_lips).item() == pytest.approx(0.4)
    assert raw_leakage(torch.zeros_like(makeup), masks, torch.ones(1, 4)).item() == 0
    assert raw_leakage(makeup, masks, torch.zeros(1, 4)).item() == 0


def test_a_row_tells_the_leakage_of_its_pair(amplify: Amplify) -> None:
    lips_only = dict.fromkeys(REGIONS, 0.0) | {"lips": 1.0}
    (whole,), (lips,) = amplify(ONE), amplify(ONE, strength=strengths(**lips_only))
    assert 0 < whole.row.measures["raw_leakage"] < lips.row.measures["raw_leakage"] < 1


# --- Composition ----------------------------------------------------------------------------------------


def test_where_no_mask_is_the_bytes_are_the_sources(
    amplify: Amplify, prepared: Callable[[str], list[PreparedFace | SourceError]]
) -> None:
    for outcome in amplify([PAIRS[0], PAIRS[3], PAIRS[6]], strength=strengths(makeup=5)):
        (face,) = prepared(outcome.row.path)
        assert isinstance(face, PreparedFace)
        background = face.regions.total_mask == 0
        changed = (targets([outcome])[0] != face.source).any(-1)
        assert background.mean() > 0.3 and not changed[background].any()
        assert changed[~background].mean() > 0.5
        assert outcome.row.measures["background_pixels"] == 0


@pytest.mark.parametrize("strength", [strengths(makeup=0), strengths(eyes=0, lips=0, skin=0, brows=0)])
def test_zero_strength_gives_the_source(strength: Strength, amplify: Amplify) -> None:
    (outcome,) = amplify(ONE, strength=strength)
    assert outcome.source is not None and np.array_equal(outcome.target, outcome.source)
    assert outcome.row.measures["makeup_change"] == 0


def test_zero_strength_of_a_style_gives_the_source(amplify: Amplify) -> None:
    off = Style("Natural makeup", dict.fromkeys(REGIONS, "Natural makeup"), dict.fromkeys(REGIONS, 0.0))
    (outcome,) = amplify(ONE, styles={"Natural makeup": off})
    assert outcome.source is not None and np.array_equal(outcome.target, outcome.source)


@pytest.mark.parametrize("region", REGIONS)
def test_the_target_is_affine_in_the_strength_of_a_region(
    region: str, amplify: Amplify, portraits: list[PreparedFace]
) -> None:
    off = dict.fromkeys(REGIONS, 0.0)
    none, half, full = (targets(amplify(ONE, strength=strengths(**off | {region: k})))[0] for k in (0.0, 0.1, 0.2))
    inside = (full > 0) & (full < 255) & (half > 0) & (half < 255)  # elsewhere the clip may have taken part
    assert np.abs(full - none).max() > 4
    assert np.abs((full - none) - 2 * (half - none))[inside].max() <= 2  # three roundings to a gray level
    elsewhere = portraits[0].regions[region] == 0
    assert np.array_equal(full[elsewhere], none[elsewhere])


def test_strengths_multiply(amplify: Amplify) -> None:
    strong = Style(
        "Natural makeup", dict.fromkeys(REGIONS, "Natural makeup"), {**dict.fromkeys(REGIONS, 1.0), "lips": 2.0}
    )
    by_style = amplify(ONE, styles={"Natural makeup": strong}, strength=strengths(makeup=0.25))
    by_run = amplify(ONE, strength=strengths(makeup=0.25, lips=2.0))
    assert np.array_equal(targets(by_style), targets(by_run))
    assert torch.equal(strengths(makeup=0.5, lips=3.0).gains(strong), torch.tensor([0.5, 3.0, 0.5, 0.5]))


@pytest.mark.parametrize("region", REGIONS)
def test_mixing_styles_by_region_changes_that_region(
    region: str, amplify: Amplify, portraits: list[PreparedFace]
) -> None:
    mixed = style("Natural makeup", **{region: "Red lip makeup"})
    difference = np.abs(targets(amplify(ONE))[0] - targets(amplify(ONE, styles={"Natural makeup": mixed}))[0]).sum(-1)
    within, away = portraits[0].regions[region] > 0.5, portraits[0].regions[region] == 0
    assert difference[within].mean() > 2
    assert difference[within].mean() > 8 * difference[away].mean()
