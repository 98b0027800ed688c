"""Training of the compact model on seed pairs."""

import copy
import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dda.console import CONSOLE
from dda.faces.alignment import CANONICAL_POINTS, CROP_SIZE
from dda.images import hash_image
from dda.models.compact.checkpoint import checkpoint_digest, load_compact
from dda.models.compact.network import CompactResidualModel
from dda.pairs.run_files import STATE, Run
from dda.pairs.settings import store_or_check_settings
from dda.regions import REGIONS
from dda.system.device import pick_device
from dda.tracking.tracker import open_tracker
from dda.training.compact.augmentation import augmented_batch, morph_pairs
from dda.training.compact.lip_normalization import normalize_lip_strength
from dda.training.compact.objective import residual_loss
from dda.training.loop import print_training_start, print_training_summary, run_updates
from dda.training.model_card import COMPACT, write_card
from dda.training.seed_pairs import AlignedPair, SeedPair, cut_pair
from dda.training.state import TrainingState
from dda.training.validation import Validator

MAX_GRADIENT = 1.0
"""Norm to which a gradient is cut."""


def train_compact(cfg: Any, run: Run, styles: list[str], pairs: list[AlignedPair], held: list[AlignedPair]) -> None:
    """Train the compact model on seed pairs of ``styles``; measure it on ``held``, where there are any.

    Raises:
        UserError: a checkpoint to start from that cannot be used, or a run begun with other settings.
    """
    torch.manual_seed(cfg.seed)
    # Channels last, as the watch's amplifier wants it: the layout must not change in the middle of a training.
    model = _first_model(cfg.train.init, styles).to(pick_device(cfg.device), memory_format=torch.channels_last)
    state = TrainingState.start(model, cfg.train.updates, cfg.train.learning_rate, cfg.train.ema, cfg.seed)
    store_or_check_settings(run.folder, _settings(cfg, styles, pairs))
    state_file = run.folder / STATE
    if state_file.exists():
        state.load(state_file)
    print_training_start(CONSOLE, len(pairs), len(styles), state.update, cfg.train.init)
    checkpoint = run.folder / "checkpoint"
    with open_tracker(cfg, run.folder, "train", run.name) as tracker:
        watch = Validator(held or pairs, "held-out" if held else "seed", cfg.model.steps, cfg.seed, tracker)
        _fit(cfg, state, [cut_pair(pair) for pair in pairs], watch, state_file)
        with state.averaged():
            figures = watch.look(state.model, state.update)
            _save(checkpoint, state.model, cfg, len(pairs), figures)
        tracker.summary(figures)
    print_training_summary(CONSOLE, figures, checkpoint)


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


def _settings(cfg: Any, styles: Sequence[str], pairs: Sequence[AlignedPair]) -> dict[str, object]:
    """What decides the weights that come of a training."""
    keys = ("updates", "batch_size", "learning_rate", "ema", "morphs", "lip_normalization", "patch_mix")
    init = cfg.train.init
    bf16 = _in_bf16(cfg.train.precision, pick_device(cfg.device))
    return {
        "data.root": f"{len(pairs)} pairs of {', '.join(styles)}",
        "the pictures": [hash_image(np.stack([pair.source, pair.target]))[:16] for pair in pairs],
        "seed": cfg.seed,
        "train.init": init if init == "scratch" else checkpoint_digest(None if init == "shipped" else init),
        "train.precision": "bf16" if bf16 else "fp32",
        **{f"train.{key}": getattr(cfg.train, key) for key in keys},
    }


def _fit(cfg: Any, state: TrainingState, pairs: list[SeedPair], watch: Validator, state_file: Path) -> None:
    """Run the updates that are left."""
    train = cfg.train
    bf16 = _in_bf16(train.precision, state.model.device)
    pairs = normalize_lip_strength(pairs, train.lip_normalization)
    morphs = morph_pairs(pairs, train.morphs, cfg.seed)
    faces = Counter(pair.style for pair in pairs)
    laid = [style for style, count in faces.items() if count <= train.patch_mix]
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


def _save(folder: Path, model: CompactResidualModel, cfg: Any, pairs: int, figures: Mapping[str, float]) -> None:
    """The checkpoint: weights in float16, config and model card."""
    copy.deepcopy(model).half().save_pretrained(folder)
    train = cfg.train
    facts = {
        "pairs": f"{pairs} in {len(model.config.styles)} styles",
        "updates": f"{train.updates} of {train.batch_size} pairs",
        "started from": train.init,
        "learning rate": f"{train.learning_rate:g}, cosine decay",
        "morphed pairs": f"up to {train.morphs}",
        "levelled": f"styles of up to {train.lip_normalization} faces" if train.lip_normalization else "no style",
        "in collages": f"styles of up to {train.patch_mix} faces" if train.patch_mix else "no style",
        "seed": cfg.seed,
    }
    write_card(folder, COMPACT, model.config.styles, facts, figures)
