"""Loading Stable Diffusion as an amplifier: base model, checkpoint, conditions and sampler, from its options."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from dda.errors import OptionError
from dda.images import ImageError, read_image, to_tensor
from dda.models.residuals import ALPHA_REF
from dda.models.stable_diffusion.checkpoints import AppliedCheckpoint, apply_checkpoint
from dda.models.stable_diffusion.image_conditions import ImageConditions
from dda.models.stable_diffusion.image_tokens import load_image_encoder
from dda.models.stable_diffusion.noise_probe import noise_warning
from dda.models.stable_diffusion.options import StableDiffusionOptions
from dda.models.stable_diffusion.pipeline import StableDiffusionResidualPipeline
from dda.models.stable_diffusion.precision import dtype_name, pick_dtype
from dda.models.stable_diffusion.pretrained import StableDiffusion, is_same_base, load_stable_diffusion
from dda.models.stable_diffusion.schedulers import check_scheduler, noise_levels
from dda.models.stable_diffusion.text_conditions import BARE_PROMPT, PROMPT, Conditions, TextConditions

_LOG = logging.getLogger(__name__)


def load_pipeline(options: StableDiffusionOptions, device: torch.device) -> StableDiffusionResidualPipeline:
    """Load the pipeline that the options describe, ready to run on ``device``.

    Raises:
        OptionError: a scheduler, weights, a picture or a precision that cannot be used.
    """
    # 1. What can fail without loading anything
    check_scheduler(options.scheduler)
    # 2. Base model and checkpoint
    base = load_stable_diffusion(options.pretrained)
    applied = AppliedCheckpoint("none: the plain base model, which has learned no makeup")
    if options.checkpoint is not None:
        applied = apply_checkpoint(options.checkpoint, base.unet)
    _LOG.log(logging.WARNING if options.checkpoint is None else logging.INFO, "checkpoint: %s", applied.line)
    for difference in _training_differences(options, applied):
        _LOG.warning("checkpoint=%s: %s", options.checkpoint, difference)
    # 3. Conditions, with which the U-Net is probed
    conditions = load_conditions(options, base, applied, device)
    predicts_noise = base.scheduler.get("prediction_type", "epsilon") == "epsilon"
    if predicts_noise and (warning := noise_warning(base.unet, noise_levels(base.scheduler), conditions.bare())):
        _LOG.warning("sd15: %s", warning)
    # 4. Sampling
    gains = applied.alpha / ALPHA_REF * applied.region_weights
    dtype = pick_dtype(options.precision, device)
    return StableDiffusionResidualPipeline(base, conditions, options.sampling, gains, device, dtype)


def load_conditions(
    options: StableDiffusionOptions, base: StableDiffusion, applied: AppliedCheckpoint, device: torch.device
) -> Conditions:
    """Load prompts (the user's, else the checkpoint's, else the default), or pictures where the checkpoint has them."""
    if applied.image_tokens is not None:
        pictures = {
            style: to_tensor(read_style_image(style, Path(path)))[None] for style, path in options.style_images.items()
        }
        return ImageConditions(applied.image_tokens, load_image_encoder(options.image_encoder, device), pictures)
    prompt, bare_prompt = (
        next(text for text in texts if text is not None)
        for texts in (
            (options.prompt, applied.prompt, PROMPT),
            (options.bare_prompt, applied.bare_prompt, BARE_PROMPT),
        )
    )
    return TextConditions(base.tokenizer, base.text_encoder, prompt, bare_prompt)


def read_style_image(style: str, path: Path) -> np.ndarray:
    """Read the picture of a style, uint8 (H, W, 3).

    Raises:
        OptionError: it cannot be read.
    """
    try:
        return read_image(path)
    except ImageError as error:
        raise OptionError("style_images", f"the picture of {style}, {path}: {error.reason}") from error


def precision_name(precision: str, device: torch.device) -> str:
    """Return the number format by its name; "auto" where only the machines with the GPUs can tell what that is."""
    if precision == "auto" and device.type == "cuda" and not torch.cuda.is_available():
        return precision
    return dtype_name(pick_dtype(precision, device))


def _training_differences(options: StableDiffusionOptions, applied: AppliedCheckpoint) -> Iterator[str]:
    """Yield a line for each option that differs from what the checkpoint says it was trained with."""
    if applied.base is not None and not is_same_base(applied.base, options.pretrained):
        yield (
            f"was trained from {applied.base}, and pretrained={options.pretrained}: what it learnt is a change of "
            "the base it was trained from; give that one, unless both hold the same weights"
        )
    if applied.strength is not None and applied.strength != options.strength:
        yield (
            f"was trained for strength={applied.strength:g}, and strength={options.strength:g}: passes begin "
            "where it did not learn to; give the strength that it was trained for"
        )
