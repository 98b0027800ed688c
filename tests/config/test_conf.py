"""Every file under conf/ composes, satisfies the schema and passes the checks."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import get_type_hints

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from dda.cli.arguments import GROUPS
from dda.config.check import Config, check
from dda.config.choices import GROUPS as GROUPS_BY_KEY
from dda.config.choices import all_options, choices, path_keys, text_keys
from dda.config.documentation import FILE, configuration_markdown
from dda.config.schema import CONFIGS, AmplifyConfig, TrainConfig
from dda.config.store import register_configs
from dda.options import walk_options

CONF = Path(__file__).parents[2] / "conf"
OPTIONS = sorted((file.parent.name, file.stem) for file in CONF.glob("*/*.yaml"))
TRAIN_GROUPS = ("model", "parser", "logger", "paths")


def load(config: str, *overrides: str) -> DictConfig:
    register_configs()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(config, list(overrides))


def load_checked(schema: type[Config], *overrides: str) -> Config:
    """The configuration of a command, checked and typed."""
    command = next(name for name, known in CONFIGS.items() if known is schema)
    return check(load(command, *overrides), schema)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_of_every_group_composes(group: str, option: str, tmp_path: Path) -> None:
    if option == "slurm":
        pytest.importorskip(
            "hydra_plugins.hydra_submitit_launcher", reason='launch=slurm needs pip install -e ".[slurm]"'
        )
    needed = [f"dataset.root={tmp_path}"] if option == "folder" else []
    if group != "trainer":
        load_checked(AmplifyConfig, f"{group}={option}", *needed)
    if group in TRAIN_GROUPS:
        load_checked(TrainConfig, f"{group}={option}", f"data.root={tmp_path}")


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
    assert load("train").train.learning_rate == 1e-3 and "rank" not in load("train").train
    latent = load("train", "model=sd15", "train.rank=8").train
    assert (latent.learning_rate, latent.rank) == (1e-4, 8) and "morphs" not in latent


def test_training_must_be_told_its_pairs() -> None:
    assert OmegaConf.missing_keys(load("train")) == {"data.root"}


def test_the_command_line_knows_the_groups_of_the_configuration() -> None:
    assert {group for group, _ in OPTIONS} == GROUPS


def test_paths_and_texts_are_text() -> None:
    for name, option in all_options():
        if name in path_keys() | text_keys():
            assert option.type in (str, str | None, "str", "str | None"), name
    assert {"dataset.root", "model.checkpoint", "train.init", "parser.weights", "run"} <= path_keys() <= text_keys()


def test_every_key_says_what_it_means() -> None:
    for name, option in all_options():
        assert str(option.metadata.get("help", "")).endswith("."), name


@pytest.mark.parametrize("key", ["model", "parser", "dataset"])
def test_a_choice_has_the_same_values_in_the_configuration_and_in_python(key: str) -> None:
    for name, options in choices(key, get_type_hints(AmplifyConfig)[key]).items():
        given = OmegaConf.to_container(load("amplify", f"{key}={name}")[key])
        assert isinstance(given, dict)
        del given["_target_"]
        assert asdict(options()) == {str(one): value for one, value in given.items()}


@pytest.mark.parametrize("key", ["model", "parser", "dataset", "engine", "launch", "train"])
def test_the_comments_of_a_choice_say_what_its_options_mean(key: str) -> None:
    kind = {**get_type_hints(TrainConfig), **get_type_hints(AmplifyConfig)}[key]
    for name, options in choices(key, kind).items():
        text = (CONF / GROUPS_BY_KEY.get(key, key) / f"{name}.yaml").read_text(encoding="utf-8")
        comments = " ".join(text.replace("#", " ").split())
        for option_name, option in walk_options(options):
            assert option_name == "name" or " ".join(option.metadata["help"].split()) in comments, option_name


@pytest.mark.parametrize("command", CONFIGS)
def test_the_comments_of_a_command_say_what_its_keys_mean(command: str) -> None:
    comments = " ".join((CONF / f"{command}.yaml").read_text(encoding="utf-8").replace("#", " ").split())
    for option in fields(CONFIGS[command]):
        if "help" in option.metadata and option.name != "batch_size":  # conf/batch/ has it
            assert " ".join(option.metadata["help"].split()) in comments, option.name


def test_the_documentation_of_the_configuration_is_up_to_date() -> None:
    assert FILE.read_text(encoding="utf-8") == configuration_markdown(), "python -m dda.config.documentation"
