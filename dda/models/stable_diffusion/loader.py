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
from dda.models.stable_diffusion.conditions import Conditions
from dda.models.stable_diffusion.image_conditions import ImageConditions
from dda.models.stable_diffusion.image_encoder import load_image_encoder
from dda.models.stable_diffusion.noise_probe import find_noise_problem
from dda.models.stable_diffusion.options import StableDiffusionOptions
from dda.models.stable_diffusion.pipeline import StableDiffusionResidualPipeline
from dda.models.stable_diffusion.precision import get_dtype_name, pick_dtype
from dda.models.stable_diffusion.pretrained import StableDiffusionComponents, is_same_base, load_stable_diffusion
from dda.models.stable_diffusion.schedulers import check_scheduler, compute_alphas_cumprod
from dda.models.stable_diffusion.text_conditions import DEFAULT_BARE_PROMPT, DEFAULT_PROMPT, TextConditions

_LOG = logging.getLogger(__name__)


def load_pipeline(options: StableDiffusionOptions, device: torch.device) -> StableDiffusionResidualPipeline:
    """Load the pipeline that the options describe, ready to run on ``device``.

    Raises:
        OptionError: a scheduler, weights, a picture or a precision that cannot be used.
    """
    # 1. Check what can be checked without loading anything
    check_scheduler(options.scheduler)
    dtype = pick_dtype(options.precision, device)
    # 2. Load the base model and apply the checkpoint
    base = load_stable_diffusion(options.pretrained)
    applied = AppliedCheckpoint("none: the plain base model, which has learned no makeup")
    if options.checkpoint is not None:
        applied = apply_checkpoint(options.checkpoint, base.unet)
    _LOG.log(logging.WARNING if options.checkpoint is None else logging.INFO, "checkpoint: %s", applied.summary)
    for difference in _training_differences(options, applied):
        _LOG.warning("checkpoint=%s: %s", options.checkpoint, difference)
    # 3. Load the encoder of the styles, and check that the U-Net still predicts noise
    conditions = load_conditions(options, base, applied, device)
    if base.scheduler_config.get("prediction_type", "epsilon") == "epsilon":
        alphas_cumprod = compute_alphas_cumprod(base.scheduler_config)
        if warning := find_noise_problem(base.unet, alphas_cumprod, conditions.encode_bare_condition()):
            _LOG.warning("sd15: %s", warning)
    # 4. Build the pipeline
    gains = applied.alpha / ALPHA_REF * applied.region_weights
    return StableDiffusionResidualPipeline(base, conditions, options.sampling, gains, device, dtype)


def load_conditions(
    options: StableDiffusionOptions,
    base: StableDiffusionComponents,
    applied: AppliedCheckpoint,
    device: torch.device,
) -> Conditions:
    """Load the encoder of the styles: pictures if the checkpoint is conditioned on them, else prompts.

    A prompt is the user's, else the checkpoint's, else the default.

    Raises:
        OptionError: a picture cannot be read, or the image encoder cannot be loaded.
    """
    if applied.image_projection is not None:
        pictures = {
            style: to_tensor(read_style_image(style, Path(path)))[None] for style, path in options.style_images.items()
        }
        return ImageConditions(applied.image_projection, load_image_encoder(options.image_encoder, device), pictures)
    prompt, bare_prompt = (
        next(text for text in texts if text is not None)
        for texts in (
            (options.prompt, applied.prompt, DEFAULT_PROMPT),
            (options.bare_prompt, applied.bare_prompt, DEFAULT_BARE_PROMPT),
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


def resolve_precision(precision: str, device: torch.device) -> str:
    """Return the name of the dtype that a precision means on a device.

    "auto" stays "auto" on a machine without the GPUs that the run is for.
    """
    if precision == "auto" and device.type == "cuda" and not torch.cuda.is_available():
        return precision
    return get_dtype_name(pick_dtype(precision, device))


def _training_differences(options: StableDiffusionOptions, applied: AppliedCheckpoint) -> Iterator[str]:
    """Yield a line for each option that differs from what the checkpoint says it was trained with."""
    if applied.base is not None and not is_same_base(applied.base, options.pretrained):
        yield (
            f"was trained from {applied.base}, and pretrained={options.pretrained}: a checkpoint is a change of the "
            "base model that it was trained from; give that one, unless both have the same weights"
        )
    if applied.strength is not None and applied.strength != options.strength:
        yield (
            f"was trained for strength={applied.strength:g}, and strength={options.strength:g}: passes begin at a "
            "timestep that it was not trained for; give the strength that it was trained for"
        )
