from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dda.errors import OptionError
from dda.faces.parsing.mesh import MeshParser
from dda.models.compact.options import CompactOptions
from dda.tracking.tracker import Tracker
from dda.training.compact.options import CompactTrainerOptions
from dda.training.compact.trainer import CompactTrainer
from dda.training.seed_pairs import SeedPairFolder
from dda.training.training_data import TrainingData
from dda.training.validation import Validation

CPU = torch.device("cpu")


@pytest.fixture
def options(tiny_checkpoint: Path) -> CompactTrainerOptions:
    return CompactTrainerOptions(
        updates=4, batch_size=2, learning_rate=1e-3, ema=0.9, precision="fp32", log_every=20, grid_every=3,
        checkpoint_every=3, init=str(tiny_checkpoint), morphs=0, lip_normalization=0, patch_mix=0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def data(pairs_root: Path, parser: MeshParser) -> TrainingData:
    folder = SeedPairFolder(pairs_root, parser)
    return TrainingData(folder.styles, list(folder))


class WithoutMemory(CompactTrainer):
    """A trainer whose validation needs more memory than there is."""

    def run_validation(self) -> Validation:
        raise MemoryError


def test_the_state_is_saved_before_a_validation_that_fails(
    options: CompactTrainerOptions, data: TrainingData, tmp_path: Path
) -> None:
    trainer = WithoutMemory(options, CompactOptions(), seed=0, device=CPU)
    trainer.setup(data)
    trainer.resume(tmp_path / "run", {})
    with pytest.raises(MemoryError):
        trainer.fit(Tracker())
    assert torch.load(tmp_path / "run" / "state.pt", weights_only=True)["update"] == 3


def test_the_precision_asked_for_is_used(options: CompactTrainerOptions) -> None:
    has_bf16 = "avx512_bf16" in Path("/proc/cpuinfo").read_text()
    for precision, expected in (("bf16", "bf16"), ("fp32", "fp32"), ("auto", "bf16" if has_bf16 else "fp32")):
        trainer = replace(options, precision=precision).open(CompactOptions(), seed=0, device=CPU)
        assert trainer.precision == expected


def test_a_folder_that_is_no_checkpoint_is_refused_before_pairs_are_read(
    options: CompactTrainerOptions, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=r"^checkpoint=.*: no config.json in it"):
        replace(options, init=str(tmp_path)).open(CompactOptions(), seed=0, device=CPU)
