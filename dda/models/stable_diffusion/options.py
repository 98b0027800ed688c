"""Options of Stable Diffusion as an amplifier."""

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from dda.errors import OptionError
from dda.models.options import ModelOptions
from dda.options import PATH, Limit, between, one_of, option

if TYPE_CHECKING:  # torch and diffusers take seconds to import
    import torch

    from dda.models.stable_diffusion.pipeline import Sampling, StableDiffusionResidualPipeline

NOISE_SHARE = Limit("above 0 and at most 1", lambda value: 0 < value <= 1)
GUIDANCE = Limit("a finite number, 1 (none) or more", lambda value: math.isfinite(value) and value >= 1)
PROMPT = Limit("a text that holds {style}, which the style's name takes", lambda value: "{style}" in value)


def fingerprint_pretrained(pretrained: str) -> str:
    """Return a hub id as it is, or the digest of a folder's files."""
    from dda.models.stable_diffusion.pretrained import fingerprint_base_model

    return fingerprint_base_model(pretrained)


def fingerprint_checkpoint(checkpoint: str) -> str:
    """Return the digest of the files of a checkpoint that decide pixels."""
    from dda.models.stable_diffusion.checkpoints import digest_checkpoint

    return digest_checkpoint(checkpoint)


def fingerprint_style_images(style_images: dict[str, str]) -> dict[str, str]:
    """Return the content hash of each style's picture."""
    from dda.images import hash_image
    from dda.models.stable_diffusion.loader import read_style_image

    return {style: hash_image(read_style_image(style, Path(path))) for style, path in style_images.items()}


@dataclass(kw_only=True)
class StableDiffusionOptions(ModelOptions):
    """Stable Diffusion 1.5 with the residual diffusion and fine-grained makeup modules: the paper's amplifier."""

    name: str = option("The model.", "sd15", limit=one_of("sd15"))
    checkpoint: str | None = option(
        "What adapts the base: a folder that run_train.py wrote, or a foreign file or folder; null: the plain base.",
        None,
        limit=PATH,
        is_path=True,
        fingerprint=fingerprint_checkpoint,
    )
    pretrained: str = option(
        "The base model: a hub id or a folder in diffusers' form.",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        is_path=True,
        fingerprint=fingerprint_pretrained,
    )
    steps: int = option("Denoising steps.", 3, limit=between(1, 1000))
    start: str = option(
        "Start of both passes: noise (the noised source) | inversion (DDIM inversion; needs DDIMScheduler).",
        "noise",
        limit=one_of("noise", "inversion"),
    )
    strength: float = option(
        "How far the source is noised, as diffusers' image-to-image has it; training begins its passes there too.",
        0.3,
        limit=NOISE_SHARE,
    )
    scheduler: str = option(
        "diffusers' scheduler: DDIM-, EulerDiscrete-, HeunDiscrete-, KDPM2Discrete-, DPMSolverMultistep-, "
        "DPMSolverSinglestep-, DEISMultistep- or UniPCMultistepScheduler.",
        "DDIMScheduler",
    )
    guidance: float = option("Classifier-free guidance scale; 1: none, at half the time.", 1.0, limit=GUIDANCE)
    conditioning: str = option(
        "Styles by region: attention (gated, one pass) | sum (of masked predictions, one pass a style).",
        "attention",
        limit=one_of("attention", "sum"),
    )
    precision: str = option(
        "Number format of the U-Net: auto (bf16 or fp16 on a GPU, fp32 elsewhere) | fp32 | bf16 | fp16.",
        "auto",
        limit=one_of("auto", "fp32", "bf16", "fp16"),
    )
    prompt: str | None = option(
        'Prompt of a style, {style} its name; null: the checkpoint\'s, or "a photo of a face with {style}".',
        None,
        limit=PROMPT,
        is_text=True,
    )
    bare_prompt: str | None = option(
        "Prompt of the bare face, unconditional in guidance; null: the checkpoint's, or an empty one.",
        None,
        is_text=True,
    )
    style_images: dict[str, str] = option(
        "Picture of each style, for a checkpoint that is conditioned on pictures (the official release).",
        {},
        fingerprint=fingerprint_style_images,
    )
    image_encoder: str = option(
        "CLIP image encoder of the official release: a hub id or a folder.", "h94/IP-Adapter", is_path=True
    )

    @property
    def is_conditioned_on_images(self) -> bool:
        """Whether the checkpoint is conditioned on pictures of its styles, not on prompts."""
        from dda.models.stable_diffusion.checkpoints.official_release import PROJECTION_NAME

        return self.checkpoint is not None and (Path(self.checkpoint) / PROJECTION_NAME).is_file()

    @property
    def sampling(self) -> "Sampling":
        """How the passes are sampled."""
        from dda.models.stable_diffusion.pipeline import Sampling

        return Sampling(**{one.name: getattr(self, one.name) for one in fields(Sampling)})

    def styles(self) -> list[str] | None:
        """As :meth:`ModelOptions.styles`."""
        from dda.models.stable_diffusion.checkpoints.dda_folder import CONFIG_NAME, read_config

        if self.is_conditioned_on_images:
            if not self.style_images:
                raise OptionError(
                    "style_images",
                    f"must be given: {self.checkpoint} is conditioned on pictures; write "
                    "'+model.style_images={Red lip makeup: PICTURE}', a picture of each style",
                )
            return list(self.style_images)
        if self.checkpoint is None or not (Path(self.checkpoint) / CONFIG_NAME).is_file():
            return None
        return list(read_config(Path(self.checkpoint))["styles"])

    def open(self, device: "torch.device") -> "StableDiffusionResidualPipeline":
        """As :meth:`ModelOptions.open`."""
        from dda.models.stable_diffusion.loader import load_pipeline

        return load_pipeline(self, device)

    def fingerprint(self, device: "torch.device") -> dict[str, object]:
        """As :meth:`ModelOptions.fingerprint`."""
        from dda.models.stable_diffusion.image_encoder import fingerprint_image_encoder
        from dda.models.stable_diffusion.loader import resolve_precision

        found = super().fingerprint(device) | {"precision": resolve_precision(self.precision, device)}
        if self.is_conditioned_on_images:
            found["image_encoder"] = fingerprint_image_encoder(self.image_encoder)
        return found
