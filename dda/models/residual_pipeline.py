"""Amplifiers: what a run asks of a model, and how the one of a configuration is opened."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from omegaconf import OmegaConf

from dda.errors import UserError
from dda.faces.face import Face
from dda.images import ImageError, content_hash, read_image, to_tensor
from dda.models.compact import checkpoint as compact_checkpoint
from dda.models.residuals import ALPHA_REF, Residuals
from dda.models.stable_diffusion.precision import dtype_name, pick_dtype
from dda.styles import Style

_LOG = logging.getLogger(__name__)

S = TypeVar("S")


class ResidualPipeline(Protocol[S]):
    """A residual diffusion model with its fine-grained makeup module.

    ``share`` is called once for a batch of faces, ``residuals`` once for each batch of (face, style) jobs among them:
    what does not depend on the style is done once for all styles of a face (law 6).
    """

    device: torch.device
    noise_shape: tuple[int, ...]

    def gains(self) -> torch.Tensor:
        """(alpha / alpha_ref) w_r, the learned part of k_r, (4,)."""

    def share(self, source: torch.Tensor, masks: torch.Tensor, faces: Sequence[Face], noise: torch.Tensor) -> S:
        """What all styles of N faces share.

        Args:
            source: (N, 3, H, H) in [0, 1], on the device like ``masks`` and ``noise``.
            masks: M_r (N, 4, H, H) in [0, 1].
            faces: N faces in pixels of their pictures.
            noise: (N, *noise_shape).
        """

    def residuals(self, shared: S, members: Sequence[int], styles: Sequence[Style]) -> Residuals:
        """R_m and R_d of M of the shared faces (by index, repeats allowed), one style each."""


def known_styles(model: Any) -> list[str] | None:
    """Names of the styles that the checkpoint of ``cfg.model`` says it knows, read without loading its weights.

    None: a model that takes any style in words.

    Raises:
        UserError: no checkpoint of this model's form.
    """
    if model.name == "compact":
        return compact_checkpoint.known_styles(model.checkpoint)
    if model.checkpoint is None:
        return None
    from dda.models.stable_diffusion.checkpoints.dda_folder import CONFIG, read_config

    folder = Path(model.checkpoint)
    if _takes_pictures(model):
        return _pictured_styles(model)
    return list(read_config(folder)["styles"]) if (folder / CONFIG).is_file() else None


def _takes_pictures(model: Any) -> bool:
    """Whether the checkpoint of ``cfg.model`` (sd15) is conditioned on pictures of its styles, not on words."""
    from dda.models.stable_diffusion.checkpoints.official_release import PROJECTION

    return model.checkpoint is not None and (Path(model.checkpoint) / PROJECTION).is_file()


def _pictured_styles(model: Any) -> list[str]:
    if not model.style_images:
        raise UserError(
            f"model.style_images: must be given: {model.checkpoint} is conditioned on pictures; write "
            "'+model.style_images={Red lip makeup: PICTURE}', a picture of each style"
        )
    return list(model.style_images)


def pixel_settings(model: Any, device: torch.device) -> dict[str, Any]:
    """Everything of ``cfg.model`` that decides pixels on a device; files and folders by what is in them.

    Raises:
        UserError: no checkpoint of this model's form, or a picture that cannot be read.
    """
    settings = OmegaConf.to_container(model)
    assert isinstance(settings, dict)
    given = {str(key): value for key, value in settings.items() if key != "checkpoint" and value is not None}
    if model.name == "sd15":
        from dda.models.stable_diffusion.image_tokens import (
            encoder_identity,  # imports transformers, which takes seconds
        )
        from dda.models.stable_diffusion.pretrained import base_identity

        given["pretrained"] = base_identity(model.pretrained)
        given["precision"] = _precision(model.precision, device)
        if _takes_pictures(model):
            given["image_encoder"] = encoder_identity(model.image_encoder)
        given["style_images"] = {
            style: content_hash(_read_picture(style, Path(path))) for style, path in model.style_images.items()
        }
    return {"model": given, "model.checkpoint": _digest(model)}


def _precision(asked: str, device: torch.device) -> str:
    """The number format by its name; "auto" where only the machines with the GPUs can tell what that is."""
    if asked == "auto" and device.type == "cuda" and not torch.cuda.is_available():
        return asked
    return dtype_name(pick_dtype(asked, device))


def _digest(model: Any) -> str | None:
    if model.name == "compact":
        return compact_checkpoint.checkpoint_digest(model.checkpoint)
    from dda.models.stable_diffusion.checkpoints import digest

    return None if model.checkpoint is None else digest(model.checkpoint)


def open_pipeline(model: Any, device: torch.device) -> ResidualPipeline:
    """The amplifier of ``cfg.model``, ready to run on ``device``.

    Raises:
        UserError: weights that are missing, damaged or of another model, or settings they cannot do.
    """
    # diffusers takes seconds to import, its pipelines and transformers more: a plan, or a mistake, need not wait for it
    if model.name == "compact":
        from dda.models.compact.pipeline import CompactPipeline

        return CompactPipeline(compact_checkpoint.load_compact(model.checkpoint), model.steps, device)
    return _open_stable_diffusion(model, device)


def _open_stable_diffusion(model: Any, device: torch.device) -> ResidualPipeline:
    from dda.models.stable_diffusion.checkpoints import AppliedCheckpoint, apply_checkpoint
    from dda.models.stable_diffusion.noise_probe import noise_warning
    from dda.models.stable_diffusion.pipeline import Sampling, StableDiffusionResidualPipeline
    from dda.models.stable_diffusion.pretrained import load_stable_diffusion
    from dda.models.stable_diffusion.schedulers import check_scheduler, noise_levels

    check_scheduler(model.scheduler)
    base = load_stable_diffusion(model.pretrained)
    applied = AppliedCheckpoint("none: the plain base model, which has learned no makeup")
    if model.checkpoint is not None:
        applied = apply_checkpoint(model.checkpoint, base.unet)
    _LOG.log(logging.WARNING if model.checkpoint is None else logging.INFO, "model.checkpoint: %s", applied.line)
    for misfit in _misfits(model, applied):
        _LOG.warning("model.checkpoint=%s: %s", model.checkpoint, misfit)
    conditions = _open_conditions(model, base, applied, device)
    predicts_noise = base.scheduler.get("prediction_type", "epsilon") == "epsilon"
    if predicts_noise and (warning := noise_warning(base.unet, noise_levels(base.scheduler), conditions.bare())):
        _LOG.warning("model=sd15: %s", warning)
    gains = applied.alpha / ALPHA_REF * applied.region_weights
    return StableDiffusionResidualPipeline(
        base, conditions, Sampling.of(model), gains, device, pick_dtype(model.precision, device)
    )


def _misfits(model: Any, applied: Any) -> Iterator[str]:
    """What of ``cfg.model`` is not as the checkpoint was trained for, a line each; nothing where it does not say."""
    from dda.models.stable_diffusion.pretrained import is_same_base

    if applied.base is not None and not is_same_base(applied.base, model.pretrained):
        yield (
            f"was trained from {applied.base}, and model.pretrained={model.pretrained}: what it learnt is a change of "
            "the base it was trained from; give that one, unless both hold the same weights"
        )
    if applied.strength is not None and applied.strength != model.strength:
        yield (
            f"was trained for model.strength={applied.strength:g}, and model.strength={model.strength:g}: passes begin "
            "where it did not learn to; give the strength that it was trained for"
        )


def _open_conditions(model: Any, base: Any, applied: Any, device: torch.device) -> Any:
    """Words, as the user, else the checkpoint, else the project has them; pictures where the checkpoint wants them."""
    from dda.models.stable_diffusion.image_conditions import ImageConditions
    from dda.models.stable_diffusion.image_tokens import load_image_encoder
    from dda.models.stable_diffusion.text_conditions import BARE_PROMPT, PROMPT, TextConditions

    if applied.image_tokens is not None:
        pictures = {name: to_tensor(_read_picture(name, Path(path)))[None] for name, path in model.style_images.items()}
        return ImageConditions(applied.image_tokens, load_image_encoder(model.image_encoder, device), pictures)
    prompt, bare_prompt = (
        next(text for text in texts if text is not None)
        for texts in ((model.prompt, applied.prompt, PROMPT), (model.bare_prompt, applied.bare_prompt, BARE_PROMPT))
    )
    return TextConditions(base.tokenizer, base.text_encoder, prompt, bare_prompt)


def _read_picture(style: str, path: Path) -> np.ndarray:
    """A style's picture, uint8 (H, W, 3)."""
    try:
        return read_image(path)
    except ImageError as error:
        raise UserError(f"model.style_images: the picture of {style}, {path}: {error.reason}") from error
