"""The type of every configuration key. Values live once, in `conf/`; here are only names and types.

A field without a default must be given by `conf/` or by the user. `str | None` means that `null` is allowed.
Ranges and choices are checked by `dda.config.check`.
"""

from dataclasses import dataclass, field

PATHS = frozenset(
    (
        *("dataset.root", "data.root", "data.holdout", "run", "pairs", "oracle", "paths.outputs"),
        *("model.checkpoint", "model.pretrained", "model.image_encoder", "train.init"),
        *("parser.weights", "parser.detector_weights"),
    )
)
"""Keys whose values are files or folders."""


@dataclass
class BatchConfig:
    workers: int


@dataclass
class ModelConfig:
    name: str
    checkpoint: str | None
    steps: int
    # Latent models only:
    pretrained: str | None = None
    start: str | None = None
    strength: float | None = None
    scheduler: str | None = None
    guidance: float | None = None
    conditioning: str | None = None
    precision: str | None = None
    prompt: str | None = None
    bare_prompt: str | None = None
    style_images: dict[str, str] | None = None
    image_encoder: str | None = None


@dataclass
class RegionNames:
    """The checkpoint's style painted in each region; null: the style's base."""

    eyes: str | None = None
    lips: str | None = None
    skin: str | None = None
    brows: str | None = None


@dataclass
class RegionStrengths:
    eyes: float = 1.0
    lips: float = 1.0
    skin: float = 1.0
    brows: float = 1.0


@dataclass
class StyleConfig:
    """One look: `base` is the checkpoint's style it is made of, null: the one called `name`."""

    name: str
    base: str | None = None
    regions: RegionNames = field(default_factory=RegionNames)
    strength: RegionStrengths = field(default_factory=RegionStrengths)


@dataclass
class StyleSetConfig:
    name: str
    styles: dict[str, StyleConfig]


@dataclass
class DatasetConfig:
    name: str
    root: str | None
    align: str


@dataclass
class ParserConfig:
    name: str
    # Learned parsers only:
    labels: str | None = None
    weights: str | None = None
    detector_weights: str | None = None


@dataclass
class LoggerConfig:
    name: str
    project: str
    entity: str | None
    mode: str
    grid_every: int


@dataclass
class PathsConfig:
    outputs: str


@dataclass
class StrengthConfig:
    makeup: float
    detail: float
    eyes: float
    lips: float
    skin: float
    brows: float


@dataclass
class ShardConfig:
    index: int
    count: int


@dataclass
class EngineConfig:
    name: str
    # A pool of processes only:
    workers: int | None = None
    threads: int | None = None
    address: str | None = None


@dataclass
class LaunchConfig:
    name: str
    # launch=local only:
    processes: int | None = None


@dataclass
class AmplifyConfig:
    """The configuration of `run_amplify.py`."""

    batch_size: int
    seed: int
    num_pairs: int | None
    run_name: str
    style_assignment: str
    faces: str
    failure_budget: float
    device: str
    dry_run: bool
    tags: list[str]
    strength: StrengthConfig
    shard: ShardConfig
    batch: BatchConfig
    model: ModelConfig
    style_set: StyleSetConfig
    dataset: DatasetConfig
    parser: ParserConfig
    engine: EngineConfig
    launch: LaunchConfig
    logger: LoggerConfig
    paths: PathsConfig


@dataclass
class SeedPairsConfig:
    root: str
    holdout: str | None


@dataclass
class TrainingConfig:
    updates: int
    batch_size: int
    learning_rate: float
    ema: float
    precision: str
    log_every: int
    grid_every: int
    checkpoint_every: int
    # The compact model only:
    init: str | None = None
    morphs: int | None = None
    level: int | None = None
    collage: int | None = None
    # LoRA of a latent model only:
    rank: int | None = None
    condition_dropout: float | None = None
    gradient_checkpointing: bool | None = None
    resolution: int | None = None
    seed_format: bool | None = None


@dataclass
class TrainConfig:
    """The configuration of `run_train.py`."""

    seed: int
    run_name: str
    device: str
    tags: list[str]
    data: SeedPairsConfig
    train: TrainingConfig
    model: ModelConfig
    parser: ParserConfig
    logger: LoggerConfig
    paths: PathsConfig


@dataclass
class EvalConfig:
    """The configuration of `run_eval.py`."""

    run: str | None
    pairs: str | None
    oracle: str | None
    num_samples: int | None
    metrics: list[str] | None
    batch_size: int
    seed: int
    run_name: str
    device: str
    tags: list[str]
    batch: BatchConfig
    parser: ParserConfig
    logger: LoggerConfig
    paths: PathsConfig
