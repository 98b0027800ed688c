"""The base model: Stable Diffusion's components, from a folder, the Hugging Face cache or the hub."""

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils.logging import disable_progress_bar

from dda.errors import UserError, first_line
from dda.files import digest_files

FILES = (
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "scheduler/scheduler_config.json",
    "tokenizer/tokenizer_config.json",
)
"""Of a model folder, beside the tokenizer's vocabulary (a file or two). Pickled weights are never read."""

VOCABULARY = tuple(
    f"tokenizer/{name}"
    for name in ("tokenizer.json", "vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json")
)
"""What tells a tokenizer's words; a tokenizer has some of these."""

HUB_PATIENCE = 5.0
"""Seconds to wait for the hub's first answer."""


@dataclass
class StableDiffusion:
    """Components of a base model, as diffusers and transformers load them.

    Attributes:
        unet: a UNet2DConditionModel.
        vae: an AutoencoderKL.
        text_encoder: a CLIPTextModel.
        tokenizer: a CLIPTokenizer.
        scheduler: its scheduler's configuration, of whatever class.
    """

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: dict[str, Any]

    @property
    def downsampling(self) -> int:
        """Pixels to a side of a latent cell: 8."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)


def base_identity(pretrained: str) -> str:
    """What a base model is called on the hub; of a folder, the SHA-256 of its files, wherever it lies."""
    return identity(pretrained, (*FILES, *VOCABULARY))


def identity(pretrained: str, names: Iterable[str]) -> str:
    """A hub id as it is; of a folder, the SHA-256 of those of the named files that it has.

    A hub id stays a name, so that a run begun before the download can go on after it.
    """
    if not os.path.isdir(pretrained):
        return pretrained
    return digest_files(file for name in names if (file := Path(pretrained, name)).is_file())


def is_same_base(one: str, other: str) -> bool:
    """Whether two hub ids or folders are the same by name, or the same folder by two paths."""
    return one == other or (os.path.isdir(one) and os.path.isdir(other) and Path(one).samefile(other))


def load_stable_diffusion(pretrained: str) -> StableDiffusion:
    """The components of a base model, float32 on the CPU, ready to run.

    Args:
        pretrained: a folder in diffusers' form, or a hub id, which is looked up in the Hugging Face cache first.

    Raises:
        UserError: it is not there and cannot be fetched, it lacks a file, its weights are damaged or incomplete, or
            it is not a Stable Diffusion 1 or 2 base model.
    """
    folder = _find(pretrained)
    if missing := _missing(folder):
        raise UserError(
            f"model.pretrained={pretrained}: no {missing[0]} in it; it must be a folder in diffusers' form with "
            "safetensors, as StableDiffusionPipeline.save_pretrained writes it"
        )
    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        scheduler, _ = DDIMScheduler.load_config(folder / "scheduler", return_unused_kwargs=True)
    except Exception as error:  # a damaged JSON file raises nearly anything
        raise UserError(f"model.pretrained={pretrained}: a file of it is damaged: {first_line(error)}") from error
    disable_progress_bar()  # a bar for each network, and a note for each cast, say nothing to the user
    logging.getLogger("diffusers.models.modeling_utils").setLevel(logging.ERROR)
    model = StableDiffusion(
        unet=_load(UNet2DConditionModel, pretrained, folder / "unet"),
        vae=_load(AutoencoderKL, pretrained, folder / "vae"),
        text_encoder=_load(CLIPTextModel, pretrained, folder / "text_encoder"),
        tokenizer=tokenizer,
        scheduler=scheduler,
    )
    _check_fit(model, pretrained)
    return model


def _find(pretrained: str) -> Path:
    if os.path.isdir(pretrained):
        return Path(pretrained)
    wanted = [*FILES, "tokenizer/*"]
    try:
        cached = Path(snapshot_download(pretrained, allow_patterns=wanted, local_files_only=True))
        if not _missing(cached):
            return cached
        absent = f"the Hugging Face cache lacks its {_missing(cached)[0]}"
    except LocalEntryNotFoundError:
        absent = "not in the Hugging Face cache"
    except HFValidationError as error:
        raise UserError(f"model.pretrained={pretrained}: no such folder, and not a hub id (owner/name)") from error
    try:
        HfApi().model_info(pretrained, timeout=HUB_PATIENCE)  # one question, no retries: without a network it ends here
        return Path(snapshot_download(pretrained, allow_patterns=wanted))
    except Exception as error:  # the hub's client has changed its exceptions with every HTTP library it used
        raise UserError(
            f"model.pretrained={pretrained}: no such folder, {absent}, and the hub did not give it "
            f"({first_line(error)}); where there is a network run `hf download {pretrained}`, or give a folder in "
            "diffusers' form, or start now with model=compact, which needs no download"
        ) from error


def _missing(folder: Path) -> list[str]:
    vocabulary = [] if (folder / "tokenizer/tokenizer.json").is_file() else ["vocab.json", "merges.txt"]
    return [name for name in (*FILES, *(f"tokenizer/{name}" for name in vocabulary)) if not (folder / name).is_file()]


def _load(kind: Any, pretrained: str, folder: Path) -> Any:
    """One network, in float32, ready to run."""
    where = f"model.pretrained={pretrained}: {folder.name}"
    try:
        network, report = kind.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # diffusers, transformers and safetensors have no common class for a damaged file
        raise UserError(f"{where}: its weights cannot be loaded: {first_line(error)}") from error
    if report["missing_keys"]:
        raise UserError(f"{where}: its weights lack {sorted(report['missing_keys'])[0]}; download it again")
    return network.float().eval().requires_grad_(False)


def _check_fit(model: StableDiffusion, pretrained: str) -> None:
    latent = model.vae.config.latent_channels
    unet, words = model.unet.config, model.text_encoder.config.hidden_size
    problem = None
    if (unet.in_channels, unet.out_channels) != (latent, latent):
        problem = f"its U-Net takes {unet.in_channels} channels, its VAE gives {latent}"
    elif unet.cross_attention_dim != words:
        problem = f"its U-Net attends to {unet.cross_attention_dim} features, its text encoder gives {words}"
    if problem:
        raise UserError(
            f"model.pretrained={pretrained}: not a base model of Stable Diffusion 1: {problem}; take "
            "stable-diffusion-v1-5/stable-diffusion-v1-5"
        )
