"""Real pairs and spoiled ones: the metric that should move does, the others stay where they were."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from dda.metrics.background import Background
from dda.metrics.color import compute_color_change, srgb_to_lab
from dda.metrics.metric import PairBatch
from dda.metrics.skin_tone import SkinTone
from dda.regions import REGIONS

Values = dict[str, torch.Tensor]
Measure = Callable[[PairBatch], Values]


@pytest.fixture(scope="module")
def good(measured: dict[str, Values]) -> Values:
    return measured["good"]


def stays(values: Values, good: Values, *names: str, within: float = 0.02) -> bool:
    return all(torch.allclose(values[name], good[name], atol=within) for name in names)


def test_a_good_pair(good: Values) -> None:
    assert (good["strength"] > 1).all() and (good["strength_lips"] > 5).all()
    assert (good["structure"] > 0.968).all() and (good["detail_kept"] > 0.983).all()
    assert (good["leakage"] < 0.02).all()
    assert good["background_error"].tolist() == [0, 0]
    assert good["edit_offset"].tolist() == [0, 0]
    assert (good["eyeliner"] > 1.05).all()


def test_an_untouched_pair_has_no_strength_and_nothing_else_wrong(measured: dict[str, Values]) -> None:
    values = measured["untouched"]
    assert all(values[f"strength_{region}"].tolist() == [0, 0] for region in REGIONS)
    assert values["strength"].tolist() == [0, 0] and values["background_error"].tolist() == [0, 0]
    assert all(values[name].tolist() == pytest.approx([1, 1]) for name in ("detail_kept", "eyeliner", "structure"))
    assert all(values[name].isnan().all() for name in ("leakage", "edit_offset"))  # shares of nothing


def test_another_persons_target_shares_no_structure(measured: dict[str, Values]) -> None:
    values = measured["shuffled"]
    assert (values["structure"] < 0.2).all() and (values["detail_kept"] < 0.1).all()


def test_a_moved_picture_loses_structure_detail_and_background(measured: dict[str, Values]) -> None:
    values = measured["moved picture"]
    assert (values["structure"] < 0.8).all() and (values["structure"] > 0.3).all()
    assert (values["detail_kept"] < 0.5).all() and (values["background_error"] > 0.5).all()


def test_a_moved_edit_is_found_by_its_distance_alone(measured: dict[str, Values], good: Values) -> None:
    values = measured["moved edit"]
    assert values["edit_offset"].tolist() == pytest.approx([12, 12], abs=2)
    assert (values["strength_lips"] < 0.7 * good["strength_lips"]).all()
    assert stays(values, good, "structure", "background_error", "detail_kept")
    assert stays(values, good, "leakage", within=0.04)


def test_an_over_strong_edit_is_strong_and_in_its_place(measured: dict[str, Values], good: Values) -> None:
    values = measured["over-strong edit"]
    assert all((values[f"strength_{region}"] > 2.5 * good[f"strength_{region}"]).all() for region in REGIONS)
    assert stays(values, good, "leakage", "background_error", "edit_offset")
    assert (values["structure"] > 0.8).all() and (values["detail_kept"] > 0.8).all()


def test_a_leaking_edit_leaks_into_the_background(measured: dict[str, Values], good: Values) -> None:
    values = measured["leaking edit"]
    assert (values["leakage"] > 0.3).all() and (values["background_error"] > 0.1).all()
    assert stays(values, good, "structure", "detail_kept", "edit_offset")
    assert stays(values, good, *(f"strength_{region}" for region in REGIONS), within=0.4)


def test_without_a_face_nothing_of_the_face_is_measured(glamorous: PairBatch, measure_batch: Measure) -> None:
    nobody = replace(
        glamorous,
        masks=torch.zeros_like(glamorous.masks),
        oval=torch.zeros_like(glamorous.oval),
        has_face=torch.zeros_like(glamorous.has_face),
    )
    values = measure_batch(nobody)
    assert (values.pop("structure") > 0.9).all()
    assert all(value.isnan().all() for value in values.values())
    assert SkinTone()(nobody)["skin_tone"].isnan().all()


def test_strength_is_the_masks_mean_of_the_color_difference(glamorous: PairBatch, good: Values) -> None:
    difference = compute_color_change(glamorous).double()
    for index, region in enumerate(REGIONS):
        mask = glamorous.masks[:, index : index + 1].double()
        expected = (difference * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3))
        assert good[f"strength_{region}"].tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_one_gray_level_in_the_background_is_an_error(glamorous: PairBatch) -> None:
    target = glamorous.source.clone()
    target[0, 1, 0, 0] += 1 / 255
    found = Background()(replace(glamorous, target=target))["background_error"]
    assert float(found[0]) == pytest.approx(1 / float((~glamorous.oval[0]).sum())) and float(found[1]) == 0


def test_blurred_skin_loses_its_detail_and_keeps_its_strength(
    glamorous: PairBatch, good: Values, measure_batch: Measure
) -> None:
    from torchvision.transforms.functional import gaussian_blur

    soft = measure_batch(replace(glamorous, target=gaussian_blur(glamorous.target, [13, 13], [2.0, 2.0])))
    assert (soft["detail_kept"] < 0.9).all()
    assert stays(soft, good, "strength_lips", within=1.5)


def test_skin_tone_is_the_angle_of_the_skins_color(glamorous: PairBatch) -> None:
    found = SkinTone()(glamorous)["skin_tone"]
    lab = srgb_to_lab(glamorous.source).double()
    skin = glamorous.masks[:, 2].double()
    light, yellow = ((lab[:, c] * skin).sum((1, 2)) / skin.sum((1, 2)) for c in (0, 2))
    assert found.tolist() == pytest.approx(torch.rad2deg(torch.atan((light - 50) / yellow)).tolist(), abs=0.01)
    darker = replace(glamorous, source=glamorous.source * 0.5)
    assert (SkinTone()(darker)["skin_tone"] < found - 30).all()
    gray = replace(glamorous, source=glamorous.source.mean(1, keepdim=True).expand_as(glamorous.source))
    assert SkinTone()(gray)["skin_tone"].isnan().all()
