"""The training stage: `run_train.py` from a folder of seed pairs to a checkpoint."""

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn, track

from dda.amplify import CONSOLE, pick_device
from dda.config import resolve_run
from dda.images import content_hash
from dda.mistakes import UserError
from dda.models.checkpoint import checkpoint_digest, load_compact
from dda.models.compact import CompactResidualModel
from dda.settings import claim
from dda.styles import REGIONS
from dda.tracking import open_tracker
from dda.training.augment import augmented_batch, morphed_pairs
from dda.training.card import write_card
from dda.training.objective import residual_loss
from dda.training.seed_pairs import AlignedPair, SeedPair, cut_pair, load_pairs
from dda.training.state import TrainingState
from dda.training.watch import Watch

MAX_GRADIENT = 1.0
"""Norm to which a gradient is cut."""


def main(cfg: DictConfig) -> None:
    """Train the compact model on the pairs of ``data.root``, or go on where a run of this name stopped.

    Raises:
        UserError: a mistake in the configuration or the data, or a run begun with other settings.
    """
    run = resolve_run(cfg, "train")
    styles, pairs = _load(Path(cfg.data.root), "Reading seed pairs")
    held = _held_out(styles, *_load(Path(cfg.data.holdout), "Reading held-out pairs")) if cfg.data.holdout else []
    torch.manual_seed(cfg.seed)
    model = _first_model(cfg.train.init, styles).to(pick_device(cfg.device))
    state = TrainingState.start(model, cfg.train.updates, cfg.train.learning_rate, cfg.train.ema, cfg.seed)
    claim(run.folder, _settings(cfg, styles, pairs))
    state_file = run.folder / "state.pt"
    if state_file.exists():
        state.load(state_file)
    begun = f"going on after update {state.update}" if state.update else f"starting from {cfg.train.init}"
    CONSOLE.print(f"{len(pairs)} seed pairs in {len(styles)} styles; {begun}", highlight=False)
    checkpoint = run.folder / "checkpoint"
    with open_tracker(cfg, run.folder, "train", run.name) as tracker:
        watch = Watch(held or pairs, "held-out" if held else "seed", cfg.model.steps, cfg.seed, tracker)
        _fit(cfg, state, [cut_pair(pair) for pair in pairs], watch, state_file)
        with state.averaged():
            figures = watch.look(state.model, state.update)
            _save(checkpoint, state.model, cfg, len(pairs), figures)
        tracker.summary(figures)
    for name, value in figures.items():
        CONSOLE.print(f"{name}: {value:.2f}", highlight=False)
    CONSOLE.print(f"The checkpoint is in {checkpoint}; amplify with it:", highlight=False, soft_wrap=True)
    command = f"python run_amplify.py model.checkpoint={checkpoint} style_set=checkpoint"
    CONSOLE.print(f"  {command}", highlight=False, soft_wrap=True)


def _load(root: Path, doing: str) -> tuple[list[str], list[AlignedPair]]:
    styles, pairs, count = load_pairs(root)
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
    trained = load_compact(None if init == "shipped" else init)
    model = CompactResidualModel(**{**trained.config, "styles": tuple(styles)})
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
    keys = ("updates", "batch_size", "learning_rate", "ema", "precision", "morphs")
    init = cfg.train.init
    return {
        "data.root": f"{len(pairs)} pairs of {', '.join(styles)}",
        "the pictures": [content_hash(np.stack([pair.source, pair.target]))[:16] for pair in pairs],
        "seed": cfg.seed,
        "train.init": init if init == "scratch" else checkpoint_digest(None if init == "shipped" else init),
        **{f"train.{key}": cfg.train[key] for key in keys},
    }


def _fit(cfg: DictConfig, state: TrainingState, pairs: list[SeedPair], watch: Watch, state_file: Path) -> None:
    """Run the updates that are left."""
    train = cfg.train
    bf16 = _in_bf16(train.precision, state.model.device)
    morphs = morphed_pairs(pairs, train.morphs, cfg.seed)
    state.model.train().requires_grad_(True)
    with _progress() as progress:
        task = progress.add_task("train", total=train.updates, completed=state.update, loss="")
        while state.update < train.updates:
            loss = _update(state, pairs, morphs, train.batch_size, bf16)
            progress.update(task, advance=1, loss=f"loss {loss:.4f}")
            if state.update % train.log_every == 0:
                rate = float(state.schedule.get_last_lr()[0])
                watch.tracker.log({"loss": loss, "learning_rate": rate}, step=state.update)
            if state.update % train.grid_every == 0:
                with state.averaged():
                    watch.look(state.model, state.update)
            if state.update % train.checkpoint_every == 0:
                state.save(state_file)


def _update(state: TrainingState, pairs: list[SeedPair], morphs: list[SeedPair], batch_size: int, bf16: bool) -> float:
    """One step of the optimizer; returns the loss. Half of a batch are morphs, where there are any."""
    batch = [
        _draw(pool or pairs, state.generator) for pool in itertools.islice(itertools.cycle((pairs, morphs)), batch_size)
    ]
    crops = augmented_batch(batch, state.generator)
    source, target, masks, styles = (tensor.to(state.model.device) for tensor in crops)
    style_ids = styles[:, None].expand(-1, len(REGIONS))
    loss = residual_loss(state.model, source, target, masks, style_ids, state.generator, bf16)
    state.optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(state.model.parameters(), MAX_GRADIENT)
    state.optimizer.step()
    state.schedule.step()
    state.ema.step(state.model.parameters())
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
        "morphed pairs": train.morphs,
        "seed": cfg.seed,
    }
    write_card(folder, model.config.styles, facts, figures)


def _progress() -> Progress:
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
        console=CONSOLE,
    )
