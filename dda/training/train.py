"""The training stage: `run_train.py` from a folder of seed pairs to a checkpoint."""

import copy
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from rich.progress import track

from dda.config.run_folder import STATE_NAME, Run, resolve_run
from dda.config.settings import claim
from dda.faces.align import CANONICAL_POINTS, CROP_SIZE
from dda.faces.parser import FaceParser, open_parser
from dda.images import content_hash
from dda.machine.device import pick_device
from dda.mistakes import UserError
from dda.models.checkpoint import checkpoint_digest, known_styles, load_compact
from dda.models.compact import CompactResidualModel
from dda.styles import REGIONS
from dda.terminal import CONSOLE
from dda.tracking.tracker import open_tracker
from dda.training.augment import augmented_batch, morphed_pairs
from dda.training.card import COMPACT, write_card
from dda.training.level import levelled
from dda.training.loop import run_updates, tell_end, tell_start
from dda.training.objective import residual_loss
from dda.training.seed_pairs import AlignedPair, SeedPair, cut_pair, load_pairs
from dda.training.state import TrainingState
from dda.training.watch import Watch

MAX_GRADIENT = 1.0
"""Norm to which a gradient is cut."""

Trainer = Callable[[DictConfig, Run, list[str], list[AlignedPair], list[AlignedPair]], None]
"""Trains a model, given the configuration, the run, the styles' names, their seed pairs and the held-out ones."""


def main(cfg: DictConfig) -> None:
    """Train on the pairs of ``data.root``, or go on where a run of this name stopped.

    The compact model is trained whole (:func:`train_compact`), Stable Diffusion by LoRA
    (:func:`dda.training.lora.train.train_lora`).

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
    from dda.training.lora.train import train_lora  # takes seconds, and needs what the compact model does not

    return train_lora


def train_compact(
    cfg: DictConfig, run: Run, styles: list[str], pairs: list[AlignedPair], held: list[AlignedPair]
) -> None:
    """Train the compact model on seed pairs of ``styles``; measure it on ``held``, where there are any.

    Raises:
        UserError: a checkpoint to start from that cannot be used, or a run begun with other settings.
    """
    torch.manual_seed(cfg.seed)
    # Channels last, as the watch's amplifier wants it: the layout must not change in the middle of a training.
    model = _first_model(cfg.train.init, styles).to(pick_device(cfg.device), memory_format=torch.channels_last)
    state = TrainingState.start(model, cfg.train.updates, cfg.train.learning_rate, cfg.train.ema, cfg.seed)
    claim(run.folder, _settings(cfg, styles, pairs))
    state_file = run.folder / STATE_NAME
    if state_file.exists():
        state.load(state_file)
    tell_start(CONSOLE, len(pairs), len(styles), state.update, cfg.train.init)
    checkpoint = run.folder / "checkpoint"
    with open_tracker(cfg, run.folder, "train", run.name) as tracker:
        watch = Watch(held or pairs, "held-out" if held else "seed", cfg.model.steps, cfg.seed, tracker)
        _fit(cfg, state, [cut_pair(pair) for pair in pairs], watch, state_file)
        with state.averaged():
            figures = watch.look(state.model, state.update)
            _save(checkpoint, state.model, cfg, len(pairs), figures)
        tracker.summary(figures)
    tell_end(CONSOLE, figures, checkpoint)


def _read(cfg: DictConfig) -> tuple[list[str], list[AlignedPair], list[AlignedPair]]:
    """The styles, their seed pairs and the held-out ones; the parser's networks do not stay beside the training."""
    parser = open_parser(cfg.parser, pick_device(cfg.device))
    styles, pairs = _load(cfg, "root", parser, "Reading seed pairs")
    held = _held_out(styles, *_load(cfg, "holdout", parser, "Reading held-out pairs")) if cfg.data.holdout else []
    return styles, pairs, held


def _load(cfg: DictConfig, part: str, parser: FaceParser, doing: str) -> tuple[list[str], list[AlignedPair]]:
    styles, pairs, count = load_pairs(Path(cfg.data[part]), parser, f"data.{part}")
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


def _first_model(init: str, styles: Sequence[str]) -> CompactResidualModel:
    """An untrained model, or a trained one whose styles are replaced.

    A style that the trained model knows by name keeps its condition; a new one starts from the mean of all.
    """
    if init == "scratch":
        return CompactResidualModel(styles=tuple(styles))
    trained = load_compact(None if init == "shipped" else init, "train.init")
    crop = {"crop_size": CROP_SIZE, "crop_points": CANONICAL_POINTS}  # as seed pairs are cut
    model = CompactResidualModel(**{**trained.config, "styles": tuple(styles), **crop})
    weights = trained.state_dict()
    known = list(trained.config.styles)
    conditions = weights["fgmm.styles"]
    weights["fgmm.styles"] = torch.stack(
        [conditions[known.index(style)] if style in known else conditions.mean(0) for style in styles]
    )
    model.load_state_dict(weights)
    return model


def _settings(cfg: DictConfig, styles: Sequence[str], pairs: Sequence[AlignedPair]) -> dict[str, object]:
    """What decides the weights that come of a training."""
    keys = ("updates", "batch_size", "learning_rate", "ema", "morphs", "level", "collage")
    init = cfg.train.init
    bf16 = _in_bf16(cfg.train.precision, pick_device(cfg.device))
    return {
        "data.root": f"{len(pairs)} pairs of {', '.join(styles)}",
        "the pictures": [content_hash(np.stack([pair.source, pair.target]))[:16] for pair in pairs],
        "seed": cfg.seed,
        "train.init": init if init == "scratch" else checkpoint_digest(None if init == "shipped" else init),
        "train.precision": "bf16" if bf16 else "fp32",
        **{f"train.{key}": cfg.train[key] for key in keys},
    }


def _fit(cfg: DictConfig, state: TrainingState, pairs: list[SeedPair], watch: Watch, state_file: Path) -> None:
    """Run the updates that are left."""
    train = cfg.train
    bf16 = _in_bf16(train.precision, state.model.device)
    pairs = levelled(pairs, train.level)
    morphs = morphed_pairs(pairs, train.morphs, cfg.seed)
    faces = Counter(pair.style for pair in pairs)
    laid = [style for style, count in faces.items() if count <= train.collage]
    state.model.train().requires_grad_(True)

    def look() -> None:
        with state.averaged():
            watch.look(state.model, state.update)

    run_updates(
        state,
        train,
        watch.tracker,
        CONSOLE,
        update=lambda: _update(state, pairs, morphs, laid, train.batch_size, bf16),
        look=look,
        save=lambda: state.save(state_file),
    )


def _update(
    state: TrainingState,
    pairs: list[SeedPair],
    morphs: list[SeedPair],
    laid: Collection[int],
    batch_size: int,
    bf16: bool,
) -> float:
    """One step of the optimizer; returns the loss.

    Half of a batch are morphs, where there are any; pairs of the styles ``laid`` are laid together in collages.
    """
    turns = itertools.cycle((pairs, morphs))
    odd = state.update * batch_size % 2  # goes on where the last batch ended
    batch = [_draw(pool or pairs, state.generator) for pool in itertools.islice(turns, odd, odd + batch_size)]
    crops = augmented_batch(batch, state.generator, laid)
    source, target, masks, styles = (tensor.to(state.model.device) for tensor in crops)
    style_ids = styles[:, None].expand(-1, len(REGIONS))
    loss = residual_loss(state.model, source, target, masks, style_ids, state.generator, bf16)
    state.optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(state.model.parameters(), MAX_GRADIENT)
    state.optimizer.step()
    state.schedule.step()
    state.ema.step(state.trained.values())
    state.update += 1
    return loss.item()


def _draw(pool: list[SeedPair], generator: torch.Generator) -> SeedPair:
    return pool[int(torch.randint(len(pool), (), generator=generator))]


def _in_bf16(precision: str, device: torch.device) -> bool:
    """Whether to train in bfloat16; ``auto``: where the device computes in it natively."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def _save(folder: Path, model: CompactResidualModel, cfg: DictConfig, pairs: int, figures: Mapping[str, float]) -> None:
    """The checkpoint: weights in float16, config and model card."""
    copy.deepcopy(model).half().save_pretrained(folder)
    train = cfg.train
    facts = {
        "pairs": f"{pairs} in {len(model.config.styles)} styles",
        "updates": f"{train.updates} of {train.batch_size} pairs",
        "started from": train.init,
        "learning rate": f"{train.learning_rate:g}, cosine decay",
        "morphed pairs": f"up to {train.morphs}",
        "levelled": f"styles of up to {train.level} faces" if train.level else "no style",
        "in collages": f"styles of up to {train.collage} faces" if train.collage else "no style",
        "seed": cfg.seed,
    }
    write_card(folder, COMPACT, model.config.styles, facts, figures)
