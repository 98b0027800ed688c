"""Amplifiers: what a run asks of a model, and how the one of a configuration is opened."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from dda.faces.face import Face
from dda.models import checkpoint as compact_checkpoint
from dda.models.compact import ALPHA_REF, CompactAmplifier
from dda.models.rdm import Residuals
from dda.styles import Style

_LOG = logging.getLogger(__name__)

S = TypeVar("S")


class Amplifier(Protocol[S]):
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
    from dda.models.formats.ours import CONFIG, read_config

    if model.checkpoint is None or not (Path(model.checkpoint) / CONFIG).is_file():
        return None
    return list(read_config(Path(model.checkpoint))["styles"])


def pixel_settings(model: Any) -> dict[str, Any]:
    """Everything of ``cfg.model`` that decides pixels, the checkpoint by what is in it.

    Raises:
        UserError: no checkpoint of this model's form.
    """
    settings = {str(key): value for key, value in model.items() if key != "checkpoint" and value is not None}
    return {"model": json.loads(json.dumps(settings, default=dict)), "model.checkpoint": _digest(model)}


def _digest(model: Any) -> str | None:
    if model.name == "compact":
        return compact_checkpoint.checkpoint_digest(model.checkpoint)
    from dda.models.formats import digest

    return None if model.checkpoint is None else digest(model.checkpoint)


def open_amplifier(model: Any, device: torch.device) -> Amplifier:
    """The amplifier of ``cfg.model``, ready to run on ``device``.

    Raises:
        UserError: weights that are missing, damaged or of another model, or settings they cannot do.
    """
    if model.name == "compact":
        return CompactAmplifier(compact_checkpoint.load_compact(model.checkpoint), model.steps, device)
    return _open_stable_diffusion(model, device)


def _open_stable_diffusion(model: Any, device: torch.device) -> Amplifier:
    # diffusers' pipelines and transformers take seconds to import: only where they are asked for
    from dda.models.formats import AppliedCheckpoint, apply_checkpoint
    from dda.models.noise_probe import noise_warning
    from dda.models.precision import pick_dtype
    from dda.models.pretrained import load_stable_diffusion
    from dda.models.schedulers import noise_levels
    from dda.models.stable_diffusion import Sampling, StableDiffusionAmplifier
    from dda.models.text_conditions import BARE_PROMPT, PROMPT, TextConditions

    base = load_stable_diffusion(model.pretrained)
    applied = AppliedCheckpoint("plain base", "no checkpoint: the plain base model, which has learned no styles")
    if model.checkpoint is not None:
        applied = apply_checkpoint(model.checkpoint, base.unet)
    _LOG.info("model.checkpoint: %s", applied.line)
    prompt, bare_prompt = (
        next(text for text in texts if text is not None)
        for texts in ((model.prompt, applied.prompt, PROMPT), (model.bare_prompt, applied.bare_prompt, BARE_PROMPT))
    )
    conditions = TextConditions(base.tokenizer, base.text_encoder, prompt, bare_prompt)
    if warning := noise_warning(base.unet, noise_levels(base.scheduler), conditions.bare()):
        _LOG.warning("model=sd15: %s", warning)
    sampling = Sampling(model.steps, model.start, model.strength, model.scheduler, model.guidance, model.conditioning)
    gains = applied.alpha / ALPHA_REF * applied.region_weights
    return StableDiffusionAmplifier(base, conditions, sampling, gains, device, pick_dtype(model.precision, device))
