"""Every file under conf/ composes, satisfies the schema and passes the checks."""

from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from dda.config.limits import LIMITS
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from dda.cli.arguments import GROUPS, TEXTS
from dda.config.check import check
from dda.config.schema import PATHS, AmplifyConfig, EvalConfig, TrainConfig
from dda.config.store import register_configs

CONF = Path(__file__).parents[2] / "conf"
OPTIONS = sorted((file.parent.name, file.stem) for file in CONF.glob("*/*.yaml"))
TRAIN_GROUPS = ("model", "parser", "logger", "paths")


def load(config: str, *overrides: str) -> DictConfig:
    register_configs()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(config, list(overrides))


def passes(cfg: DictConfig) -> bool:
    check(cfg)
    return bool(OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_of_every_group_composes(group: str, option: str, tmp_path: Path) -> None:
    if option == "slurm":
        pytest.importorskip(
            "hydra_plugins.hydra_submitit_launcher", reason='launch=slurm needs pip install -e ".[slurm]"'
        )
    needed = [f"dataset.root={tmp_path}"] if option == "folder" else []
    if group != "trainer":
        assert passes(load("amplify", f"{group}={option}", *needed))
    if group in TRAIN_GROUPS:
        assert passes(load("train", f"{group}={option}", f"data.root={tmp_path}"))


def test_the_defaults_are_the_contracts() -> None:
    cfg = load("amplify")
    assert cfg.batch_size == 8
    assert cfg.num_pairs is None
    assert (cfg.model.name, cfg.style_set.name, cfg.dataset.name) == ("compact", "all", "demo")
    assert (cfg.parser.name, cfg.logger.name, cfg.logger.mode) == ("mesh", "wandb", "auto")
    assert (cfg.strength.makeup, cfg.strength.detail) == (1.0, 1.0)


def test_the_demo_is_painted_in_every_style_and_other_datasets_at_random() -> None:
    assert load("amplify").style_assignment == "all"
    assert load("amplify", "dataset=ffhq").style_assignment == "random"
    assert load("amplify", "style_assignment=balanced").style_assignment == "balanced"


def test_the_command_line_wins_over_a_batch_and_an_experiment() -> None:
    assert load("amplify", "batch=large").batch_size == 64
    assert load("amplify", "batch_size=16", "batch=large").batch_size == 16
    assert load("amplify", "experiment=sheer", "strength.makeup=0.7").strength.makeup == 0.7


def test_the_trainer_is_that_of_the_model() -> None:
    assert (load("train").train.learning_rate, load("train").train.rank) == (1e-3, None)
    latent = load("train", "model=sd15", "train.rank=8").train
    assert (latent.learning_rate, latent.rank, latent.morphs) == (1e-4, 8, None)


def test_training_must_be_told_its_pairs() -> None:
    assert OmegaConf.missing_keys(load("train")) == {"data.root"}


def test_the_command_line_knows_the_groups_and_texts_of_the_configuration() -> None:
    assert {group for group, _ in OPTIONS} == GROUPS
    assert {key for key, kind in LEAVES.items() if kind in (str, str | None)} >= PATHS | TEXTS


def test_every_limit_is_that_of_a_key() -> None:
    assert LEAVES.keys() >= LIMITS.keys()


def leaves(schema: Any, prefix: str = "") -> dict[str, Any]:
    """The type of every key of a schema, with dots."""
    found = {}
    for key, kind in get_type_hints(schema).items():
        found |= leaves(kind, f"{prefix}{key}.") if is_dataclass(kind) else {f"{prefix}{key}": kind}
    return found


LEAVES = leaves(AmplifyConfig) | leaves(TrainConfig) | leaves(EvalConfig)
