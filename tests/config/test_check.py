from pathlib import Path

import pytest
from hydra.errors import ConfigCompositionException

from dda.config.choices import owners
from dda.config.hydra_errors import describe_command_error
from dda.config.schema import AmplifyConfig, TrainConfig
from dda.errors import UserError
from tests.config.test_conf import load_checked


def choice_of(key: str) -> list[str]:
    """The choice that a key belongs to, where the default one does not have it."""
    found = owners(key)
    return [] if not found or {"model=compact", "parser=mesh", "dataset=demo"} & set(found) else found[:1]


@pytest.mark.parametrize(
    "override",
    [
        "batch_size=0",
        "batch_size=-1",
        "num_pairs=0",
        "num_pairs=-4",
        "seed=-1",
        "seed=9223372036854775808",
        "style_assignment=some",
        "faces=both",
        "failure_budget=1.1",
        "failure_budget=nan",
        "device=gpu",
        "device=cuda:x",
        "strength.makeup=nan",
        "strength.lips=inf",
        "strength.eyes=-0.1",
        "strength.detail=1.5",
        "shard.count=0",
        "shard.index=-1",
        "batch.workers=0",
        "model.steps=0",
        "model.name=big",
        "model.strength=0",
        "model.strength=1.1",
        "model.start=middle",
        "model.guidance=0.5",
        "model.guidance=inf",
        "model.conditioning=both",
        "model.precision=fp8",
        "model.prompt=makeup",
        "parser.labels=other",
        "parser.weights=/no/such/file",
        "model.checkpoint=/no/such/checkpoint",
        "dataset.name=other",
        "dataset.align=both",
        "dataset.root=''",
        "logger.mode=maybe",
        "style_set.name=../up",
        "style_set.name=a/b",
        "style_set.styles.natural.strength.lips=-1",
        "style_set.styles.natural.strength.lips=nan",
    ],
)
def test_a_value_out_of_range_is_named_with_what_is_allowed(override: str) -> None:
    key, _, _ = override.partition("=")
    with pytest.raises(UserError, match=rf"^{key}=.*: must be ") as error:
        load_checked(AmplifyConfig, *choice_of(key), override)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "override",
    [
        "data.root=/no/such/folder",
        "data.holdout=/no/such/folder",
        "train.updates=0",
        "train.batch_size=0",
        "train.learning_rate=0",
        "train.learning_rate=inf",
        "train.ema=1",
        "train.precision=fp8",
        "train.rank=0",
        "train.condition_dropout=1",
        "train.resolution=500",
        "train.init=/no/such/checkpoint",
        f"train.init={'x' * 300}",
        "train.log_every=0",
        "train.grid_every=0",
        "train.checkpoint_every=0",
    ],
)
def test_training_is_checked_too(override: str, tmp_path: Path) -> None:
    key, _, _ = override.partition("=")
    with pytest.raises(UserError, match=rf"^{key}=.*: must be "):
        load_checked(TrainConfig, f"data.root={tmp_path}", *choice_of(key), override)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["shard.index=4", "shard.count=4"], "shard.index=4: must be below shard.count=4"),
        (["faces=all", "dataset.align=none"], "faces=all: needs dataset.align=ffhq"),
        (["faces=all", "dataset=ffhq"], "faces=all: needs dataset.align=ffhq"),
        (["model.guidance=2"], "model.guidance: belongs to model=sd15"),
        (["model=sd15", "model.scheduler=null"], "model.scheduler=None: must be text"),
        (["dataset=folder"], "dataset.root: must be given"),
        (["+speed=3"], "speed: there is no such setting"),
        (["+strength.nose=1"], "strength.nose: there is no such setting"),
        (["~seed"], "seed: must be given"),
        (["tags=['${nothing}']"], "nothing"),
    ],
)
def test_what_does_not_go_together_is_refused(overrides: list[str], said: str) -> None:
    with pytest.raises((UserError, ConfigCompositionException)) as error:
        load_checked(AmplifyConfig, *overrides)
    line = describe_command_error(error.value)
    assert line is not None and said in line and "\n" not in line


def test_the_compact_model_does_not_train_in_half_precision(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.precision=fp16: model=compact"):
        load_checked(TrainConfig, f"data.root={tmp_path}", "train.precision=fp16")
    load_checked(TrainConfig, f"data.root={tmp_path}", "train.precision=fp16", "model=sd15")


def test_a_missing_folder_of_pairs_is_asked_for() -> None:
    with pytest.raises(UserError, match=r"data\.root: must be given"):
        load_checked(TrainConfig)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="device=cuda:99: not on this machine; use one of auto, cpu"):
        load_checked(AmplifyConfig, "device=cuda:99")
