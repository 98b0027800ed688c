"""The training stage: `run_train.py` from a folder of seed pairs to a checkpoint."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from rich.progress import track

from dda.config.run_folder import resolve_run
from dda.config.schema import TrainConfig
from dda.console import CONSOLE
from dda.errors import UserError
from dda.faces.parsing.parser import FaceParser
from dda.models.compact.checkpoint import known_styles
from dda.pairs.run_files import Run
from dda.system.device import pick_device
from dda.training.compact.trainer import train_compact
from dda.training.seed_pairs import AlignedPair, load_pairs

Trainer = Callable[[TrainConfig, Run, list[str], list[AlignedPair], list[AlignedPair]], None]
"""Trains a model, given the configuration, the run, the styles' names, their seed pairs and the held-out ones."""


def main(cfg: TrainConfig) -> None:
    """Train on the pairs of ``data.root``, or go on where a run of this name stopped.

    The compact model is trained whole (:func:`train_compact`), Stable Diffusion by LoRA
    (:func:`dda.training.lora.trainer.train_lora`).

    Raises:
        UserError: a mistake in the configuration or the data, or a run begun with other settings.
    """
    run = resolve_run(cfg, "train")
    if cfg.model.name == "compact" and cfg.parser.name != "mesh":
        raise UserError(
            f"parser={cfg.parser.name}: model=compact is trained on the landmarks of a mesh; use parser=mesh"
        )
    if cfg.model.name == "compact" and cfg.train.init not in ("shipped", "scratch"):
        known_styles(cfg.train.init, "train.init")  # is it a checkpoint? Before the pairs are read
    _trainer(cfg.model.name)(cfg, run, *_read(cfg))


def _trainer(model: str) -> Trainer:
    if model == "compact":
        return train_compact
    if missing := [name for name in ("accelerate", "peft") if find_spec(name) is None]:
        raise UserError(f"model={model}: training it needs {missing[0]}; install it with pip install -e '.[sd15]'")
    from dda.training.lora.trainer import train_lora  # takes seconds, and needs what the compact model does not

    return train_lora


def _read(cfg: TrainConfig) -> tuple[list[str], list[AlignedPair], list[AlignedPair]]:
    """The styles, their seed pairs and the held-out ones; the parser's networks do not stay beside the training."""
    parser = cfg.parser.open(pick_device(cfg.device))
    styles, pairs = _load(cfg, "root", parser, "Reading seed pairs")
    held = _held_out(styles, *_load(cfg, "holdout", parser, "Reading held-out pairs")) if cfg.data.holdout else []
    return styles, pairs, held


def _load(cfg: TrainConfig, part: str, parser: FaceParser, doing: str) -> tuple[list[str], list[AlignedPair]]:
    styles, pairs, count = load_pairs(Path(getattr(cfg.data, part)), parser, f"data.{part}")
    return styles, list(track(pairs, doing, total=count, console=CONSOLE, transient=True))


def _held_out(
    styles: Sequence[str], held_styles: Sequence[str], held_pairs: Sequence[AlignedPair]
) -> list[AlignedPair]:
    """The held-out pairs of the trained styles, numbered as those are; a single style is held out under any name."""
    if len(styles) == len(held_styles) == 1:
        return list(held_pairs)
    if unknown := [style for style in held_styles if style not in styles]:
        raise UserError(
            f"data.holdout: its style {unknown[0]} is not in data.root, whose styles are {', '.join(styles)}"
        )
    return [replace(pair, style=styles.index(held_styles[pair.style])) for pair in held_pairs]
