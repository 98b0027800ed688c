"""The base model: Stable Diffusion's components, from a folder, the Hugging Face cache or the hub."""

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from huggingface_hub.errors import HFValidationError
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils.logging import disable_progress_bar

from dda.errors import OptionError, first_line
from dda.files import digest_files
from dda.models.hub import download_repository, find_cached_repository

REQUIRED_FILES = (
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "scheduler/scheduler_config.json",
    "tokenizer/tokenizer_config.json",
)
"""Files that a base model must have, beside its tokenizer's vocabulary. Pickled weights are never read."""

VOCABULARY_FILES = tuple(
    f"tokenizer/{name}"
    for name in ("tokenizer.json", "vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json")
)
"""Files of a tokenizer's vocabulary; a tokenizer has some of them."""


@dataclass
class StableDiffusionComponents:
    """Components of a base model, as ``StableDiffusionPipeline.components`` of diffusers.

    Attributes:
        unet: a UNet2DConditionModel.
        vae: an AutoencoderKL.
        text_encoder: a CLIPTextModel.
        tokenizer: a CLIPTokenizer.
        scheduler_config: configuration of the base model's scheduler, of any class.
    """

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler_config: dict[str, Any]

    @property
    def vae_scale_factor(self) -> int:
        """Side of the pixel square that a cell of the latents encodes: 8."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)


def fingerprint_base_model(pretrained: str) -> str:
    """Return the SHA-256 of the files of a local folder, wherever it lies; a hub id as it is."""
    return fingerprint_files(pretrained, (*REQUIRED_FILES, *VOCABULARY_FILES))


def fingerprint_files(pretrained: str, names: Iterable[str]) -> str:
    """Return the SHA-256 of those of the named files that a local folder has; a hub id as it is.

    A hub id is not resolved to files, so that a run begun before their download can be resumed after it.
    """
    if not os.path.isdir(pretrained):
        return pretrained
    return digest_files(file for name in names if (file := Path(pretrained, name)).is_file())


def is_same_base(one: str, other: str) -> bool:
    """Whether two hub ids or folders are the same by name, or two paths of the same folder."""
    return one == other or (os.path.isdir(one) and os.path.isdir(other) and Path(one).samefile(other))


def load_stable_diffusion(pretrained: str) -> StableDiffusionComponents:
    """Load the components of a base model, in float32 on the CPU and in evaluation mode.

    Args:
        pretrained: a folder in diffusers' form, or a hub id; the Hugging Face cache is searched before the hub.

    Raises:
        OptionError: it cannot be found or downloaded, lacks a file, is damaged, or is no Stable Diffusion 1 or 2.
    """
    # 1. Find the files
    folder = _find_or_download(pretrained)
    if missing := _missing_files(folder):
        raise OptionError(
            "pretrained",
            f"no {missing[0]} in it; it must be a folder in diffusers' form with safetensors, as "
            "StableDiffusionPipeline.save_pretrained writes it",
            pretrained,
        )
    # 2. Tokenizer and scheduler configuration
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        scheduler_config, _ = DDIMScheduler.load_config(folder / "scheduler", return_unused_kwargs=True)
    except Exception as error:  # a damaged JSON file raises nearly anything
        raise OptionError("pretrained", f"a file of it is damaged: {first_line(error)}", pretrained) from error
    # 3. Networks, without transformers' progress bars and diffusers' notes about dtypes
    disable_progress_bar()
    logging.getLogger("diffusers.models.modeling_utils").setLevel(logging.ERROR)
    components = StableDiffusionComponents(
        unet=_load_network(UNet2DConditionModel, pretrained, folder / "unet"),
        vae=_load_network(AutoencoderKL, pretrained, folder / "vae"),
        text_encoder=_load_network(CLIPTextModel, pretrained, folder / "text_encoder"),
        tokenizer=tokenizer,
        scheduler_config=scheduler_config,
    )
    # 4. Check that they fit each other
    _check_components(components, pretrained)
    return components


def _find_or_download(pretrained: str) -> Path:
    if os.path.isdir(pretrained):
        return Path(pretrained)
    files = [*REQUIRED_FILES, "tokenizer/*"]
    try:
        cached = find_cached_repository(pretrained, files)
    except HFValidationError as error:
        raise OptionError("pretrained", "no such folder, and not a hub id (owner/name)", pretrained) from error
    if cached is None:
        absent = "not in the Hugging Face cache"
    elif missing := _missing_files(cached):
        absent = f"the Hugging Face cache lacks its {missing[0]}"
    else:
        return cached
    try:
        return download_repository(pretrained, files)
    except Exception as error:  # the hub's client has changed its exceptions with every HTTP library it used
        raise OptionError(
            "pretrained",
            f"no such folder, {absent}, and the download failed ({first_line(error)}); where there is a network run "
            f"`hf download {pretrained}`, or give a folder in diffusers' form, or use the compact model "
            "(model=compact), which needs no download",
            pretrained,
        ) from error


def _missing_files(folder: Path) -> list[str]:
    vocabulary = [] if (folder / "tokenizer/tokenizer.json").is_file() else ["vocab.json", "merges.txt"]
    names = (*REQUIRED_FILES, *(f"tokenizer/{name}" for name in vocabulary))
    return [name for name in names if not (folder / name).is_file()]


def _load_network(network_class: Any, pretrained: str, folder: Path) -> Any:
    """Load one network in float32 and evaluation mode."""
    try:
        network, report = network_class.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # diffusers, transformers and safetensors have no common class for a damaged file
        reason = f"{folder.name}: its weights cannot be loaded: {first_line(error)}"
        raise OptionError("pretrained", reason, pretrained) from error
    if report["missing_keys"]:
        reason = f"{folder.name}: its weights lack {sorted(report['missing_keys'])[0]}; download it again"
        raise OptionError("pretrained", reason, pretrained)
    return network.float().eval().requires_grad_(False)


def _check_components(components: StableDiffusionComponents, pretrained: str) -> None:
    """Check that the U-Net has the channels of the VAE and the width of the text encoder.

    Raises:
        OptionError: it has not, as an inpainting model or Stable Diffusion XL.
    """
    unet, text_width = components.unet.config, components.text_encoder.config.hidden_size
    latent_channels = components.vae.config.latent_channels
    problem = None
    if (unet.in_channels, unet.out_channels) != (latent_channels, latent_channels):
        problem = f"its U-Net takes {unet.in_channels} channels, its VAE gives {latent_channels}"
    elif unet.cross_attention_dim != text_width:
        problem = f"its U-Net attends to {unet.cross_attention_dim} features, its text encoder gives {text_width}"
    if problem:
        raise OptionError(
            "pretrained",
            f"not a base model of Stable Diffusion 1: {problem}; take stable-diffusion-v1-5/stable-diffusion-v1-5",
            pretrained,
        )
