from dataclasses import replace

import pytest
import torch

from dda.errors import UserError
from dda.evaluation.metric_suite import MetricSuite
from dda.metrics.metric import PairBatch
from dda.metrics.registry import NAMES

CPU = torch.device("cpu")


@pytest.fixture
def batch() -> PairBatch:
    generator = torch.Generator().manual_seed(0)
    source = torch.rand(2, 3, 176, 176, generator=generator)
    target = (source + 0.1 * torch.rand(2, 3, 176, 176, generator=generator)).clamp(0, 1)
    masks = torch.zeros(2, 4, 176, 176)
    for region in range(4):
        masks[:, region, 40 * region : 40 * region + 30, 20:150] = 1
    return PairBatch(source, target, None, masks, torch.ones(2, 1, 176, 176), torch.tensor([True, False]))


def test_a_name_that_is_no_metrics_is_refused() -> None:
    with pytest.raises(UserError, match=r"metrics: there is no metric simm; allowed: ssim, psnr, .*kid"):
        MetricSuite(["ssim", "simm"], CPU)


def test_what_cannot_be_had_is_missing_with_its_reason_and_nothing_takes_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("empty")))
    suite = MetricSuite(["fid", "kid", "psnr"], CPU)
    assert set(suite.missing) == {"fid", "kid"}
    assert "save https://" in suite.missing["fid"]
    assert set(suite.columns) == {"psnr", "baseline_psnr"}
    assert suite.measures("psnr") and not suite.measures("fid") and not suite.measures("ssim")


def test_every_number_has_a_column_and_every_column_a_number(batch: PairBatch) -> None:
    names = [name for name in NAMES if name not in ("lpips", "st_lpips", "identity", "fid", "kid")]
    suite = MetricSuite(names, CPU)
    assert not suite.missing
    batch.oracle = batch.target
    numbers = suite(batch)
    assert set(numbers.columns) == set(suite.columns) | set(suite.oracle_columns)
    assert all(values.shape == (2,) for values in numbers.columns.values())
    assert numbers.changes.shape == (2, 4, 3)
    assert all(column.full_name == name for name, column in (suite.columns | suite.oracle_columns).items())


def test_the_baseline_of_a_picture_without_one_leaves_the_others_theirs(batch: PairBatch) -> None:
    """A flat picture has no structure; pictures come one by one, as on a CPU."""
    suite = MetricSuite(["structure", "st_lpips"], CPU)
    flat = replace(batch, source=torch.ones_like(batch.source), target=torch.ones_like(batch.source))
    assert suite(flat).columns["baseline_structure"].isnan().all()
    columns = suite(batch).columns
    assert columns["baseline_structure"].tolist() == pytest.approx([1, 1])
    assert columns["baseline_st_lpips"].tolist() == [0, 0]


def test_the_same_distance_has_a_good_end_only_where_it_is_taken_to_the_oracle() -> None:
    suite = MetricSuite(["ssim", "psnr"], CPU)
    assert suite.columns["ssim"].better == "none" and suite.oracle_columns["oracle_ssim"].better == "higher"
    assert {f"oracle_psnr_{part}" for part in ("face", "eyes", "lips", "skin", "brows")} < set(suite.oracle_columns)
    assert suite.columns["ssim"].about != suite.oracle_columns["oracle_ssim"].about
