"""LoRA training of Stable Diffusion: `run_train.py model=sd15`, on one device or (`accelerate launch`) on several."""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from rich.console import Console

from dda.console import CONSOLE
from dda.errors import UserError
from dda.images import hash_image
from dda.models.stable_diffusion.precision import dtype_name, pick_dtype
from dda.models.stable_diffusion.pretrained import base_identity
from dda.models.stable_diffusion.text_conditions import BARE_PROMPT, PROMPT
from dda.options import fingerprint_options
from dda.pairs.run_files import STATE, Run
from dda.pairs.settings import store_or_check_settings
from dda.system.device import pick_device
from dda.tracking.tracker import Tracker, open_tracker
from dda.training.loop import print_training_start, print_training_summary, run_updates
from dda.training.lora.base_model import Base, load_base
from dda.training.lora.batch import BatchMaker
from dda.training.lora.checkpoint import SEED_FILE, Made, save_checkpoint, save_seed_format
from dda.training.lora.objective import noise_loss
from dda.training.lora.validation import LoraValidator
from dda.training.seed_pairs import AlignedPair
from dda.training.state import TrainingState
from dda.training.validation import Validator

MAX_GRADIENT = 1.0
"""Norm to which a gradient is cut."""

MIXED_PRECISION = {torch.float32: "no", torch.bfloat16: "bf16", torch.float16: "fp16"}
"""Accelerate's names of the number formats."""


def train_lora(cfg: Any, run: Run, styles: list[str], pairs: list[AlignedPair], held: list[AlignedPair]) -> None:
    """Train LoRA matrices on seed pairs of ``styles``; measure them on ``held``, where there are any.

    Every process has the model and a part of each batch; the first one alone writes and speaks.

    Raises:
        UserError: a base model that cannot be used, a precision or batch that the machine cannot do, or a run begun
            with other settings.
    """
    accelerator = _accelerator(cfg)
    folder = Path(broadcast_object_list([str(run.folder)])[0])
    leads = accelerator.is_main_process
    console = CONSOLE if leads else Console(quiet=True)
    torch.manual_seed(cfg.seed)
    base = _load(cfg, styles, accelerator.device)
    state = TrainingState.start(base.unet, cfg.train.updates, cfg.train.learning_rate, cfg.train.ema, cfg.seed)
    unet, state.optimizer = accelerator.prepare(base.unet, state.optimizer)
    state.scaler = accelerator.scaler
    if leads:
        store_or_check_settings(folder, _settings(cfg, styles, pairs, accelerator.device))
    accelerator.wait_for_everyone()
    state_file, checkpoint = folder / STATE, folder / "checkpoint"
    if state_file.exists():
        state.load(state_file)
    print_training_start(console, len(pairs), len(styles), state.update, cfg.model.pretrained)
    with open_tracker(cfg, folder, "train", run.name) if leads else nullcontext(Tracker()) as tracker:
        watch = Validator(held or pairs, "held-out" if held else "seed", cfg.model.steps, cfg.seed, tracker)
        lora_watch = LoraValidator(watch, base, styles, cfg.model.sampling, cfg.train.resolution)
        _fit(cfg, accelerator, state, base, unet, pairs, lora_watch, console, state_file)
        if leads:
            with state.averaged():
                figures = lora_watch.look(state.update)
                save_checkpoint(checkpoint, base.unet, _made(cfg, styles), _facts(cfg, styles, pairs), figures)
            if cfg.train.seed_format:
                save_seed_format(folder / SEED_FILE, checkpoint, cfg.model.pretrained)
            tracker.summary(figures)
            settings = [f"model.pretrained={cfg.model.pretrained}", f"model.strength={cfg.model.strength:g}"]
            print_training_summary(console, figures, checkpoint, ["model=sd15", *settings])
    accelerator.wait_for_everyone()
    accelerator.end_training()


def _accelerator(cfg: Any) -> Accelerator:
    """The devices, and the number format they compute in."""
    AcceleratorState._reset_state(reset_partial_state=True)  # it outlives a job, and the next may want another device
    device = pick_device(cfg.device)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    dtype = pick_dtype(cfg.train.precision, device, "train.precision")
    accelerator = Accelerator(mixed_precision=MIXED_PRECISION[dtype], cpu=device.type == "cpu")
    if cfg.train.batch_size % accelerator.num_processes:
        raise UserError(
            f"train.batch_size={cfg.train.batch_size}: must be a multiple of the {accelerator.num_processes} "
            "processes that share it"
        )
    return accelerator


def _load(cfg: Any, styles: Sequence[str], device: torch.device) -> Base:
    dtype = pick_dtype(cfg.train.precision, device)
    base = load_base(cfg.model.pretrained, *_prompts(cfg.model), styles, cfg.train.rank, device, dtype)
    cfg.model.sampling.open(base.model.scheduler, device)  # refused now, not by the first look at the pictures
    if cfg.train.gradient_checkpointing:
        base.unet.enable_gradient_checkpointing()
    return base


def _prompts(model: Any) -> tuple[str, str]:
    """The prompt of a style, and of a bare face."""
    return (
        PROMPT if model.prompt is None else model.prompt,
        BARE_PROMPT if model.bare_prompt is None else model.bare_prompt,
    )


def _settings(cfg: Any, styles: Sequence[str], pairs: Sequence[AlignedPair], device: torch.device) -> dict[str, object]:
    """What decides the weights that come of a training."""
    prompt, bare_prompt = _prompts(cfg.model)
    keys = ("updates", "batch_size", "learning_rate", "rank", "condition_dropout", "ema", "resolution")
    return {
        "data.root": f"{len(pairs)} pairs of {', '.join(styles)}",
        "the pictures": [hash_image(np.stack([pair.source, pair.target]))[:16] for pair in pairs],
        "seed": cfg.seed,
        "model.pretrained": base_identity(cfg.model.pretrained),
        "model.prompt": prompt,
        "model.bare_prompt": bare_prompt,
        "model.strength": cfg.model.strength,
        "parser": fingerprint_options(cfg.parser),
        "train.precision": dtype_name(pick_dtype(cfg.train.precision, device)),
        **{f"train.{key}": getattr(cfg.train, key) for key in keys},
    }


def _fit(
    cfg: Any,
    accelerator: Accelerator,
    state: TrainingState[Any],
    base: Base,
    unet: torch.nn.Module,
    pairs: Sequence[AlignedPair],
    watch: LoraValidator,
    console: Console,
    state_file: Path,
) -> None:
    """Run the updates that are left."""
    train = cfg.train
    latent_size = train.resolution // base.model.downsampling
    maker = BatchMaker(
        pairs, train.resolution, latent_size, base.timesteps, cfg.model.strength, train.condition_dropout
    )
    share = train.batch_size // accelerator.num_processes
    rows = slice(accelerator.process_index * share, (accelerator.process_index + 1) * share)
    unet.train()

    def update() -> float:
        drawn = state.update * train.batch_size
        batch = maker.draw(train.batch_size, state.generator, rows, accelerator.device, drawn)
        return _update(accelerator, state, noise_loss(unet, base, batch).mean())

    def look() -> None:
        if accelerator.is_main_process:
            with state.averaged():
                watch.look(state.update)

    def save() -> None:
        if accelerator.is_main_process:
            state.save(state_file)

    run_updates(state, train, watch.watch.tracker, console, update, look, save)


def _update(accelerator: Accelerator, state: TrainingState[Any], loss: torch.Tensor) -> float:
    """One step of the optimizer; returns the loss, averaged over the processes."""
    state.optimizer.zero_grad()
    accelerator.backward(loss)
    accelerator.clip_grad_norm_(state.trained.values(), MAX_GRADIENT)
    state.optimizer.step()
    if not accelerator.optimizer_step_was_skipped:  # float16 skips one whose gradients overflowed
        state.schedule.step()
        state.ema.step(state.trained.values())
    state.update += 1
    return float(accelerator.reduce(loss.detach(), "mean"))


def _made(cfg: Any, styles: Sequence[str]) -> Made:
    base = cfg.model.pretrained
    if os.path.isdir(base):  # found again from any working directory
        base = str(Path(base).absolute())
    return Made(base, cfg.train.rank, list(styles), *_prompts(cfg.model), cfg.model.strength)


def _facts(cfg: Any, styles: Sequence[str], pairs: Sequence[AlignedPair]) -> dict[str, object]:
    train = cfg.train
    return {
        "pairs": f"{len(pairs)} in {len(styles)} styles",
        "updates": f"{train.updates} of {train.batch_size} pictures, {train.resolution} pixels a side",
        "started from": cfg.model.pretrained,
        "rank": train.rank,
        "learning rate": f"{train.learning_rate:g}, cosine decay",
        "made for model.strength": cfg.model.strength,
        "condition dropout": train.condition_dropout,
        "seed": cfg.seed,
    }
