import os
from pathlib import Path

import pytest

from dda.config import UserError, check, last_written, resolve_run
from tests.test_conf import load


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
        check(load("amplify", override))
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
        check(load("train", f"data.root={tmp_path}", override))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["shard.index=4", "shard.count=4"], "shard.index=4: must be below shard.count=4"),
        (["faces=all", "dataset.align=none"], "faces=all: needs dataset.align=ffhq"),
        (["faces=all", "dataset=ffhq"], "faces=all: needs dataset.align=ffhq"),
        (["model.guidance=2"], "model.guidance=2.0: model=compact has no such setting"),
        (["model=sd15", "model.scheduler=null"], "model.scheduler: must be given for model=sd15"),
        (["dataset=folder"], "dataset.root: must be given"),
        (["+speed=3"], "speed: there is no such setting"),
        (["+strength.nose=1"], "strength.nose: there is no such setting"),
        (["~seed"], "seed: must be given"),
        (["tags=['${nothing}']"], "nothing"),
    ],
)
def test_what_does_not_go_together_is_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        check(load("amplify", *overrides))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_the_compact_model_does_not_train_in_half_precision(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.precision=fp16: model=compact"):
        check(load("train", f"data.root={tmp_path}", "train.precision=fp16"))
    check(load("train", f"data.root={tmp_path}", "train.precision=fp16", "model=sd15"))


def test_a_missing_folder_of_pairs_is_asked_for() -> None:
    with pytest.raises(UserError, match=r"data\.root: must be given"):
        check(load("train"))


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="device=cuda:99: not on this machine; use one of auto, cpu"):
        check(load("amplify", "device=cuda:99"))


def test_a_run_lies_under_outputs_by_task_and_name(tmp_path: Path) -> None:
    cfg = load("amplify", f"paths.outputs={tmp_path}", "run_name='밤 (1)'")
    run = resolve_run(cfg, "amplify")
    assert run.name == "밤 (1)"
    assert run.folder == tmp_path / "amplify" / "밤 (1)"


@pytest.mark.parametrize("name", ["''", "a/b", "..", ".hidden", "'a\\b'", "x" * 256, "사" * 90])
def test_a_run_name_is_one_folder(name: str, tmp_path: Path) -> None:
    cfg = load("amplify", f"paths.outputs={tmp_path}")
    cfg.run_name = name.strip("'")
    with pytest.raises(UserError, match="must be the name of one folder"):
        resolve_run(cfg, "amplify")


def write(path: Path, seconds: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (seconds, seconds))


def test_latest_is_the_run_last_written_to(tmp_path: Path) -> None:
    runs = tmp_path / "amplify"
    write(runs / "b" / "journal-0of1.jsonl", 3000)
    write(runs / "c" / "journal-0of1.jsonl", 1000)
    write(runs / "sweep" / "0_natural" / "journal-0of1.jsonl", 2000)
    write(runs / "refused" / ".hydra" / "time" / "config.yaml", 9000)
    write(runs / "dry" / "multirun.yaml", 9000)
    cfg = load("amplify", f"paths.outputs={tmp_path}", "run_name=latest")
    assert resolve_run(cfg, "amplify").name == "b"
    write(runs / "sweep" / "1_red_lip" / "journal-0of1.jsonl", 4000)
    assert resolve_run(cfg, "amplify").name == "sweep"
    assert last_written(runs / "refused") == last_written(runs / "dry") == 0


def test_latest_needs_a_run(tmp_path: Path) -> None:
    cfg = load("amplify", f"paths.outputs={tmp_path}", "run_name=latest")
    with pytest.raises(UserError, match="there is no run in"):
        resolve_run(cfg, "amplify")
