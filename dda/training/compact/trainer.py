"""Trainer of the compact model."""

import copy
from collections.abc import Mapping
from pathlib import Path

import torch

from dda.models.compact.checkpoint import read_style_names
from dda.models.compact.network import CompactResidualModel
from dda.models.compact.options import CompactOptions
from dda.models.compact.pipeline import CompactPipeline
from dda.training.compact.batch import BatchSampler
from dda.training.compact.initial_model import checkpoint_folder, make_initial_model
from dda.training.compact.objective import residual_loss
from dda.training.compact.options import CompactTrainerOptions
from dda.training.model_card import ModelCard
from dda.training.trainer import Trainer
from dda.training.validation import Validation

MODEL_CARD = ModelCard(
    ("library_name: diffusers", "tags: [makeup, paired-data, residual-diffusion]"),
    "Compact residual diffusion model for makeup",
    (
        "Paints a makeup residual onto the canonical crop of a face, given region masks and a style for each region.",
        "Load it with `dda.models.compact.network.CompactResidualModel.from_pretrained(FOLDER)`, or amplify with",
        "`python run_amplify.py model.checkpoint=FOLDER style_set=checkpoint`.",
    ),
)


class CompactTrainer(Trainer):
    """Trains all weights of the compact model.

    Args:
        options: of the trainer.
        model: of the model; ``steps`` are those of validation.
        seed: root seed of everything random in the training.
        device: where to train.

    Raises:
        OptionError: the checkpoint to start from is not one of the compact model.
    """

    options: CompactTrainerOptions

    def __init__(self, options: CompactTrainerOptions, model: CompactOptions, seed: int, device: torch.device) -> None:
        super().__init__(options, seed, device)
        self._steps = model.steps
        self._bf16 = _uses_bf16(options.precision, device)
        if options.init != "scratch":
            read_style_names(checkpoint_folder(options.init))  # checks the folder before pairs are read

    @property
    def precision(self) -> str:
        """As :attr:`Trainer.precision`."""
        return "bf16" if self._bf16 else "fp32"

    @property
    def initial_weights(self) -> str:
        """As :attr:`Trainer.initial_weights`."""
        return self.options.init

    def model_settings(self) -> dict[str, object]:
        """As :meth:`Trainer.model_settings`: none, since the weights start from the trainer's ``init``."""
        return {}

    def build_model(self) -> CompactResidualModel:
        """As :meth:`Trainer.build_model`."""
        model = make_initial_model(self.options.init, self.data.styles)
        # Validation's pipeline sets this memory format: it must not change in the middle of a training.
        return model.to(self.device, memory_format=torch.channels_last)

    def prepare_batches(self) -> None:
        """As :meth:`Trainer.prepare_batches`."""
        self._sampler = BatchSampler(self.data.pairs, self.options, self.seed)

    def compute_loss(self) -> torch.Tensor:
        """As :meth:`Trainer.compute_loss`."""
        batch = self._sampler.sample(self.state.updates_done, self.state.generator).to(self.device)
        return residual_loss(self.state.model, batch, self.state.generator, self._bf16)

    def run_validation(self) -> Validation:
        """As :meth:`Trainer.run_validation`."""
        return self.validator.validate(CompactPipeline(self.state.model, self._steps, self.device))

    def save_checkpoint(self, folder: Path, metrics: Mapping[str, float]) -> None:
        """Write the weights in float16, the config and the model card."""
        copy.deepcopy(self.state.model).half().save_pretrained(folder)
        MODEL_CARD.write(folder, self.data.styles, self.describe(), metrics)

    def describe(self) -> dict[str, object]:
        """As :meth:`Trainer.describe`."""
        return super().describe() | {
            "morphed pairs": f"up to {self.options.morphs}",
            "lip normalization": _describe_max_faces(self.options.lip_normalization),
            "patch mix": _describe_max_faces(self.options.patch_mix),
        }


def _describe_max_faces(max_faces: int) -> str:
    return f"styles of up to {max_faces} faces" if max_faces else "no style"


def _uses_bf16(precision: str, device: torch.device) -> bool:
    """Return whether to train in bfloat16; "auto" does where the device computes in it natively."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
