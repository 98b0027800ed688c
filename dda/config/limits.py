"""What the values of settings may be, beyond their types."""

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dda.errors import UserError


@dataclass(frozen=True)
class Limit:
    """What a value may be, in words and as a test."""

    allowed: str
    holds: Callable[[Any], bool]


def at_least(least: int) -> Limit:
    return Limit(f"at least {least}", lambda value: value >= least)


def between(low: float, high: float) -> Limit:
    return Limit(f"between {low:g} and {high:g}", lambda value: low <= value <= high)


def one_of(*choices: str) -> Limit:
    return Limit(f"one of {', '.join(choices)}", lambda value: value in choices)


STRENGTH = Limit("a finite number, 0 or more", lambda value: math.isfinite(value) and value >= 0)
FILE = Limit("a file that exists", lambda value: os.path.isfile(value))
FOLDER = Limit("a folder that exists", lambda value: os.path.isdir(value))
FOLDER_NAME = Limit(
    "the name of one folder (no slashes, no dot in front, at most 255 bytes)",
    lambda value: re.fullmatch(r"[^./\\\0][^/\\\0]*", value) is not None and len(value.encode()) <= 255,
)

# A null needs no check: the schema says where it is allowed. A key that a config does not have is skipped.
LIMITS = {
    "batch_size": between(1, 1024),
    "seed": Limit("between 0 and 2**63 - 1", lambda value: 0 <= value < 2**63),
    "num_pairs": at_least(1),
    "style_assignment": one_of("random", "balanced", "all"),
    "faces": one_of("largest", "all", "reject"),
    "failure_budget": between(0, 1),
    "device": Limit(
        "one of auto, cpu, cuda, cuda:N, mps",
        lambda value: re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value) is not None,
    ),
    "tags": Limit("words of 1 to 64 characters", lambda value: all(0 < len(tag) <= 64 for tag in value)),
    "strength.makeup": STRENGTH,
    "strength.detail": between(0, 1),
    "strength.eyes": STRENGTH,
    "strength.lips": STRENGTH,
    "strength.skin": STRENGTH,
    "strength.brows": STRENGTH,
    "shard.count": at_least(1),
    "shard.index": at_least(0),
    "batch.workers": at_least(1),
    "model.name": one_of("compact", "sd15"),
    "model.checkpoint": Limit("a path that exists", lambda value: os.path.exists(value)),
    "model.steps": between(1, 1000),
    "model.start": one_of("noise", "inversion"),
    "model.strength": Limit("above 0 and at most 1", lambda value: 0 < value <= 1),
    "model.guidance": Limit("a finite number, 1 (none) or more", lambda value: math.isfinite(value) and value >= 1),
    "model.conditioning": one_of("attention", "sum"),
    "model.precision": one_of("auto", "fp32", "bf16", "fp16"),
    "model.prompt": Limit("a text that holds {style}, which the style's name takes", lambda value: "{style}" in value),
    "style_set.name": FOLDER_NAME,
    "dataset.name": one_of("demo", "folder", "ffhq"),
    "dataset.root": Limit("the path of a folder", lambda value: value != ""),
    "dataset.align": one_of("ffhq", "none"),
    "parser.name": one_of("mesh", "farl"),
    "parser.labels": one_of("lapa", "celebm"),
    "parser.weights": FILE,
    "parser.detector_weights": FILE,
    "engine.name": one_of("local", "ray"),
    "engine.workers": at_least(1),
    "engine.threads": at_least(1),
    "engine.address": Limit(
        "local, auto or HOST:PORT", lambda value: re.fullmatch(r"local|auto|[^/\s]+:\d+", value) is not None
    ),
    "launch.name": one_of("none", "local", "slurm"),
    "launch.processes": at_least(1),
    "logger.name": one_of("wandb", "none"),
    "logger.mode": one_of("auto", "online", "offline", "disabled"),
    "logger.grid_every": at_least(0),
    "paths.outputs": Limit("the path of a folder", lambda value: value != ""),
    "run": Limit(
        "latest, or the folder of a run (outputs/amplify/NAME)", lambda value: value == "latest" or os.path.isdir(value)
    ),
    "pairs": FOLDER,
    "oracle": FOLDER,
    "num_samples": at_least(1),
    "metrics": Limit("null for all, or a list of at least one, such as [ssim,strength]", lambda value: len(value) > 0),
    "data.root": FOLDER,
    "data.holdout": FOLDER,
    "train.updates": at_least(1),
    "train.batch_size": between(1, 1024),
    "train.learning_rate": Limit("a finite number above 0", lambda value: math.isfinite(value) and value > 0),
    "train.morphs": at_least(0),
    "train.level": at_least(0),
    "train.collage": at_least(0),
    "train.ema": Limit("at least 0 and below 1", lambda value: 0 <= value < 1),
    "train.precision": one_of("auto", "fp32", "bf16", "fp16"),
    "train.rank": at_least(1),
    "train.condition_dropout": Limit("at least 0 and below 1", lambda value: 0 <= value < 1),
    "train.resolution": Limit("a multiple of 64 from 64 to 1024", lambda value: value in range(64, 1025, 64)),
    "train.init": Limit(
        "shipped, scratch or a checkpoint folder that exists",
        lambda value: value in ("shipped", "scratch") or os.path.isdir(value),
    ),
    "train.log_every": at_least(1),
    "train.grid_every": at_least(1),
    "train.checkpoint_every": at_least(1),
}


def refuse(key: str, value: Any, limit: Limit) -> None:
    """Refuse a value outside its limit.

    Raises:
        UserError: saying what `key` may be.
    """
    if not limit.holds(value):
        raise UserError(f"{key}={value}: must be {limit.allowed}")
