"""Trainer of LoRA matrices for Stable Diffusion, on one device or (`accelerate launch`) on several."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list
from rich.console import Console

from dda.console import CONSOLE
from dda.errors import OptionError
from dda.models.stable_diffusion.options import StableDiffusionOptions
from dda.models.stable_diffusion.precision import get_dtype_name, pick_dtype
from dda.models.stable_diffusion.pretrained import fingerprint_base_model
from dda.models.stable_diffusion.text_conditions import DEFAULT_BARE_PROMPT, DEFAULT_PROMPT
from dda.tracking.tracker import Tracker
from dda.training.lora.base_model import LoraBaseModel, load_base_model
from dda.training.lora.batch import BatchSampler
from dda.training.lora.checkpoint import SEED_FORMAT_NAME, CheckpointConfig, save_checkpoint, save_seed_format
from dda.training.lora.objective import noise_loss
from dda.training.lora.options import LoraTrainerOptions
from dda.training.lora.validation import LoraValidator
from dda.training.trainer import MAX_GRADIENT_NORM, Trainer
from dda.training.training_data import TrainingData
from dda.training.validation import Validation

MIXED_PRECISION = {torch.float32: "no", torch.bfloat16: "bf16", torch.float16: "fp16"}
"""Accelerate's names of the number formats."""


class LoraTrainer(Trainer):
    """Trains LoRA matrices in the attention of a frozen U-Net.

    With several processes, each has the model and an equal part of each batch.

    Args:
        options: of the trainer.
        model: of the model: the base, its prompts, and the passes that it is trained for.
        seed: root seed of everything random in the training.
        device: where to train.

    Raises:
        OptionError: the precision is not possible on the device, or the processes cannot share a batch.
    """

    options: LoraTrainerOptions
    base: LoraBaseModel

    def __init__(
        self, options: LoraTrainerOptions, model: StableDiffusionOptions, seed: int, device: torch.device
    ) -> None:
        self._dtype = pick_dtype(options.precision, device)
        self.accelerator = _open_accelerator(device, self._dtype)
        processes = self.accelerator.num_processes
        if options.batch_size % processes:
            raise OptionError(
                "batch_size", f"must be a multiple of the {processes} processes that share it", options.batch_size
            )
        super().__init__(options, seed, self.accelerator.device)
        self._model_options = model
        self._prompt = DEFAULT_PROMPT if model.prompt is None else model.prompt
        self._bare_prompt = DEFAULT_BARE_PROMPT if model.bare_prompt is None else model.bare_prompt
        self.is_main_process = self.accelerator.is_main_process
        self.console = CONSOLE if self.is_main_process else Console(quiet=True)

    @property
    def precision(self) -> str:
        """As :attr:`Trainer.precision`."""
        return get_dtype_name(self._dtype)

    @property
    def initial_weights(self) -> str:
        """As :attr:`Trainer.initial_weights`."""
        return self._model_options.pretrained

    def model_settings(self) -> dict[str, object]:
        """As :meth:`Trainer.model_settings`."""
        return {
            "pretrained": fingerprint_base_model(self._model_options.pretrained),
            "prompt": self._prompt,
            "bare_prompt": self._bare_prompt,
            "strength": self._model_options.strength,
        }

    def setup(self, data: TrainingData) -> None:
        """As :meth:`Trainer.setup`."""
        super().setup(data)
        self._unet, self.state.optimizer = self.accelerator.prepare(self.base.unet, self.state.optimizer)
        self.state.scaler = self.accelerator.scaler
        self._lora_validator = LoraValidator(
            self.validator, self.base, self._model_options.sampling, self.options.resolution
        )

    def build_model(self) -> Any:
        """As :meth:`Trainer.build_model`."""
        self.base = load_base_model(
            self._model_options.pretrained,
            self._prompt,
            self._bare_prompt,
            self.data.styles,
            self.options.rank,
            self.device,
            self._dtype,
        )
        # Validation would refuse an impossible sampling only after updates.
        self._model_options.sampling.open(self.base.components.scheduler_config, self.device)
        if self.options.gradient_checkpointing:
            self.base.unet.enable_gradient_checkpointing()
        return self.base.unet

    def resume(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """As :meth:`Trainer.resume`, in the folder of the main process, which goes first."""
        shared_folder = Path(broadcast_object_list([str(folder)])[0])
        with self.accelerator.main_process_first():
            super().resume(shared_folder, settings)

    def fit(self, tracker: Tracker) -> dict[str, float]:
        """As :meth:`Trainer.fit`."""
        metrics = super().fit(tracker)
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()
        return metrics

    def prepare_batches(self) -> None:
        """As :meth:`Trainer.prepare_batches`."""
        resolution = self.options.resolution
        self._sampler = BatchSampler(
            self.data.pairs,
            resolution,
            resolution // self.base.components.vae_scale_factor,
            self.base.num_train_timesteps,
            self._model_options.strength,
            self.options.condition_dropout,
        )

    def compute_loss(self) -> torch.Tensor:
        """As :meth:`Trainer.compute_loss`, of this process' rows of the batch."""
        batch_size = self.options.batch_size
        share = batch_size // self.accelerator.num_processes
        first = self.accelerator.process_index * share
        rows_before = self.state.updates_done * batch_size
        batch = self._sampler.sample(
            batch_size, self.state.generator, slice(first, first + share), self.device, rows_before
        )
        return noise_loss(self._unet, self.base, batch).mean()

    def optimizer_step(self, loss: torch.Tensor) -> bool:
        """As :meth:`Trainer.optimizer_step`; float16 skips a step with gradients that overflowed."""
        self.state.optimizer.zero_grad()
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.state.trained_parameters.values(), MAX_GRADIENT_NORM)
        self.state.optimizer.step()
        return not self.accelerator.optimizer_step_was_skipped

    def average_loss(self, loss: torch.Tensor) -> float:
        """As :meth:`Trainer.average_loss`."""
        return float(self.accelerator.reduce(loss.detach(), "mean"))

    def run_validation(self) -> Validation:
        """As :meth:`Trainer.run_validation`."""
        return self._lora_validator.validate()

    def save_checkpoint(self, folder: Path, metrics: Mapping[str, float]) -> None:
        """Write the checkpoint folder, and the seed format beside it if the options ask for it."""
        base = self._model_options.pretrained
        if os.path.isdir(base):  # an absolute path is valid in any working directory
            base = str(Path(base).absolute())
        config = CheckpointConfig(
            base, self.options.rank, self.data.styles, self._prompt, self._bare_prompt, self._model_options.strength
        )
        save_checkpoint(folder, self.base.unet, config, self.describe(), metrics)
        if self.options.seed_format:
            save_seed_format(folder.with_name(SEED_FORMAT_NAME), folder, self._model_options.pretrained)

    def describe(self) -> dict[str, object]:
        """As :meth:`Trainer.describe`."""
        options = self.options
        return super().describe() | {
            "updates": f"{options.updates} of {options.batch_size} pictures, {options.resolution} pixels a side",
            "rank": options.rank,
            "made for model.strength": self._model_options.strength,
            "condition dropout": options.condition_dropout,
        }


def _open_accelerator(device: torch.device, dtype: torch.dtype) -> Accelerator:
    AcceleratorState._reset_state(reset_partial_state=True)  # a former job of this process may have had another device
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    return Accelerator(mixed_precision=MIXED_PRECISION[dtype], cpu=device.type == "cpu")
