"""The configurations of the three commands: the type, meaning and limit of every key. The values are in `conf/`.

A field without a default must be given by `conf/` or by the user. A choice (a model, a parser, a dataset, a trainer, an
engine) has its options beside its class; `conf/<group>/<choice>.yaml` names that dataclass as `_target_`.
"""

import re
from dataclasses import dataclass

from dda.engines.options import EngineOptions, LaunchOptions
from dda.faces.dataset import DatasetOptions
from dda.faces.parsing.options import ParserOptions
from dda.models.options import ModelOptions
from dda.options import (
    FOLDER,
    FOLDER_NAME,
    FOLDER_PATH,
    STRENGTH,
    Limit,
    at_least,
    between,
    one_of,
    option,
)
from dda.styles import StyleOptions
from dda.tracking.options import LoggerOptions
from dda.training.options import TrainerOptions

SEED = Limit("between 0 and 2**63 - 1", lambda value: 0 <= value < 2**63)
BATCH_SIZE = between(1, 1024)
DEVICE = Limit(
    "one of auto, cpu, cuda, cuda:N, mps", lambda value: re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value) is not None
)
TAGS = Limit("words of 1 to 64 characters", lambda value: all(0 < len(tag) <= 64 for tag in value))
METRICS = Limit("null for all, or a list of at least one, such as [ssim,strength]", lambda value: len(value) > 0)

DEVICE_HELP = "Where the model runs: auto (a GPU where there is one) | cpu | cuda | cuda:N | mps."
RUN_NAME_HELP = "Name of the run's folder; the same name resumes it, latest is the newest run."
TAGS_HELP = "Words to find the run by in W&B."


@dataclass(kw_only=True)
class BatchConfig:
    """Threads beside the model."""

    workers: int = option(
        "Threads that decode and parse, and as many that encode and write.", limit=at_least(1), changes_output=False
    )


@dataclass(kw_only=True)
class StyleSetConfig:
    """The looks to paint."""

    name: str = option("Name of the style set.", limit=FOLDER_NAME, changes_output=False)
    styles: dict[str, StyleOptions] = option("The looks, by a short name; none: every style of the checkpoint.")


@dataclass(kw_only=True)
class PathsConfig:
    """Where results go."""

    outputs: str = option(
        "Folder of all runs, as outputs/{amplify,train,eval}/<run_name>/.",
        limit=FOLDER_PATH,
        is_path=True,
        changes_output=False,
    )


@dataclass(kw_only=True)
class StrengthConfig:
    """How strongly to paint: y = x + sum_r M_r [makeup * r * R_m - (1 - detail) R_d]."""

    makeup: float = option("All regions together: 0 nothing, 1 as trained.", limit=STRENGTH)
    detail: float = option("Share of the source's own detail that is kept (latent models).", limit=between(0, 1))
    eyes: float = option("Factor of the eyes.", limit=STRENGTH)
    lips: float = option("Factor of the lips.", limit=STRENGTH)
    skin: float = option("Factor of the skin.", limit=STRENGTH)
    brows: float = option("Factor of the brows.", limit=STRENGTH)


@dataclass(kw_only=True)
class ShardConfig:
    """This process' part of the plan; all shards share run_name."""

    index: int = option("Number of this shard, from 0.", limit=at_least(0), changes_output=False)
    count: int = option("Number of shards.", limit=at_least(1))


@dataclass(kw_only=True)
class AmplifyConfig:
    """The configuration of `run_amplify.py`."""

    batch_size: int = option("Pairs in one pass of the model: memory and speed.", limit=BATCH_SIZE)
    seed: int = option("Root seed: the same seed makes the same pairs, byte for byte.", limit=SEED)
    num_pairs: int | None = option(
        "Finished pairs to make; null: all. A larger number extends the same run.",
        limit=at_least(1),
        changes_output=False,
    )
    run_name: str = option(RUN_NAME_HELP, is_text=True, changes_output=False)
    style_assignment: str = option(
        "Which styles a face gets: random (one) | balanced (one, equal counts) | all.",
        limit=one_of("random", "balanced", "all"),
    )
    faces: str = option(
        "Which of several faces in a picture: largest | all | reject (the picture).",
        limit=one_of("largest", "all", "reject"),
    )
    failure_budget: float = option(
        "Largest tolerated share of tried pairs that failed; beyond it the exit code is not 0.",
        limit=between(0, 1),
        changes_output=False,
    )
    device: str = option(DEVICE_HELP, limit=DEVICE)
    dry_run: bool = option("Print the plan and stop.", changes_output=False)
    tags: list[str] = option(TAGS_HELP, limit=TAGS, changes_output=False)
    strength: StrengthConfig
    shard: ShardConfig
    batch: BatchConfig
    model: ModelOptions
    style_set: StyleSetConfig
    dataset: DatasetOptions
    parser: ParserOptions
    engine: EngineOptions
    launch: LaunchOptions
    logger: LoggerOptions
    paths: PathsConfig


@dataclass(kw_only=True)
class DataConfig:
    """The pairs to train on."""

    root: str = option(
        "Seed pairs: DIR/<style>/{source,target}/*, or DIR/{source,target} for one style.",
        limit=FOLDER,
        is_path=True,
        changes_output=False,  # the content of the pairs must match
    )
    holdout: str | None = option(
        "A folder of the same form to measure on; null: the seed pairs.",
        limit=FOLDER,
        is_path=True,
        changes_output=False,
    )


@dataclass(kw_only=True)
class TrainConfig:
    """The configuration of `run_train.py`."""

    seed: int = option("Root seed of all that is random in the training.", limit=SEED)
    run_name: str = option(RUN_NAME_HELP, is_text=True, changes_output=False)
    device: str = option(DEVICE_HELP, limit=DEVICE, changes_output=False)
    tags: list[str] = option(TAGS_HELP, limit=TAGS, changes_output=False)
    data: DataConfig
    train: TrainerOptions
    model: ModelOptions
    parser: ParserOptions
    logger: LoggerOptions
    paths: PathsConfig


@dataclass(kw_only=True)
class EvalConfig:
    """The configuration of `run_eval.py`."""

    run: str | None = option("A run of run_amplify.py: its name or folder, or latest.", is_path=True)
    pairs: str | None = option(
        "Or any folder with source/ and target/ pictures of equal names.", limit=FOLDER, is_path=True
    )
    oracle: str | None = option("A folder of true targets of the same names.", limit=FOLDER, is_path=True)
    num_samples: int | None = option("Pairs to measure, drawn by the seed; null: all.", limit=at_least(1))
    metrics: list[str] | None = option("Metrics to measure, such as [ssim,strength]; null: all.", limit=METRICS)
    batch_size: int = option("Pairs in one pass of the metrics (on a GPU).", limit=BATCH_SIZE)
    seed: int = option("Seed of the sample and of the intervals.", limit=SEED)
    run_name: str = option("Name of the evaluation's folder; an older evaluation in it is replaced.", is_text=True)
    device: str = option("Where the metrics run: auto | cpu | cuda | cuda:N | mps.", limit=DEVICE)
    tags: list[str] = option(TAGS_HELP, limit=TAGS)
    batch: BatchConfig
    parser: ParserOptions
    logger: LoggerOptions
    paths: PathsConfig


CONFIGS: dict[str, type[AmplifyConfig] | type[TrainConfig] | type[EvalConfig]] = {
    "amplify": AmplifyConfig,
    "train": TrainConfig,
    "eval": EvalConfig,
}
"""The configurations by the name of their command and of their file in `conf/`."""
