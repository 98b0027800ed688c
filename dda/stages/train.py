"""The training stage: from a folder of seed pairs to a checkpoint."""

import shlex
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from rich.progress import track

from dda.config.run_folder import resolve_run
from dda.config.schema import TrainConfig
from dda.config.settings import train_settings
from dda.console import CONSOLE, print_line
from dda.errors import UserError, keys_of
from dda.models.compact.options import CompactOptions
from dda.models.stable_diffusion.options import StableDiffusionOptions
from dda.pairs.run_files import CHECKPOINT, Run
from dda.system.device import pick_device
from dda.tracking.tracker import Tracker, open_tracker
from dda.training.model_card import format_metric
from dda.training.seed_pairs import SeedPair, SeedPairFolder
from dda.training.trainer import Trainer
from dda.training.training_data import TrainingData, match_styles


def main(cfg: TrainConfig) -> None:
    """Train on the pairs of ``data.root``, or resume the run of this name.

    Raises:
        UserError: a configuration or pairs that cannot be used, or a run begun with other settings.
    """
    run = resolve_run(cfg, "train")
    is_compact = isinstance(cfg.model, CompactOptions)
    if is_compact and cfg.parser.name != "mesh":
        raise UserError(
            f"parser={cfg.parser.name}: model=compact is trained on the landmarks of a mesh; use parser=mesh"
        )
    # 1. Check the options of the trainer.
    with keys_of("train", checkpoint="init"):
        trainer = cfg.train.open(cfg.model, cfg.seed, pick_device(cfg.device))
    # 2. Read the pairs.
    data = _read_pairs(cfg)
    # 3. Load the model.
    with keys_of("train", checkpoint="init") if is_compact else keys_of("model"):
        trainer.setup(data)
    # 4. Begin the run, or resume it.
    settings = train_settings(cfg, data.styles, data.content_hashes, trainer.precision, trainer.model_settings())
    trainer.resume(run.folder, settings)
    # 5. Train.
    with _open_tracker(cfg, run, trainer) as tracker, keys_of("train"):
        metrics = trainer.fit(tracker)
    if trainer.is_main_process:
        _print_summary(cfg, run, metrics)


def _read_pairs(cfg: TrainConfig) -> TrainingData:
    """Read the pairs of all styles; the networks of the parser are freed before the training."""
    parser = cfg.parser.open(pick_device(cfg.device))
    with keys_of("data"):
        folder = SeedPairFolder(Path(cfg.data.root), parser)
        pairs = _read_folder(folder, "Reading seed pairs")
    if cfg.data.holdout is None:
        return TrainingData(folder.styles, pairs)
    with keys_of("data", root="holdout"):
        held_out_folder = SeedPairFolder(Path(cfg.data.holdout), parser)
        held_out = _read_folder(held_out_folder, "Reading held-out pairs")
        return TrainingData(folder.styles, pairs, match_styles(folder.styles, held_out_folder.styles, held_out))


def _read_folder(folder: SeedPairFolder, description: str) -> list[SeedPair]:
    return list(track(folder, description, console=CONSOLE, transient=True))


def _open_tracker(cfg: TrainConfig, run: Run, trainer: Trainer) -> AbstractContextManager[Tracker]:
    """Open the tracker in the main process; other processes track nothing."""
    return open_tracker(cfg, run.folder, "train", run.name) if trainer.is_main_process else nullcontext(Tracker())


def _print_summary(cfg: TrainConfig, run: Run, metrics: Mapping[str, float]) -> None:
    """Print the metrics, the checkpoint's folder and the command that amplifies with it."""
    for name, value in metrics.items():
        print_line(f"{name}: {format_metric(value)}")
    checkpoint = run.folder / CHECKPOINT
    print_line(f"The checkpoint is in {checkpoint}; amplify with it:")
    base = []
    if isinstance(cfg.model, StableDiffusionOptions):
        strength = f"model.strength={cfg.model.strength:g}"
        base = ["model=sd15", f"model.pretrained={cfg.model.pretrained}", strength]
    command = ["python", "run_amplify.py", *base, f"model.checkpoint={checkpoint}", "style_set=checkpoint"]
    print_line(f"  {shlex.join(command)}")
