"""Loading a checkpoint into the U-Net: its format is recognized by its content."""

from pathlib import Path

from diffusers import UNet2DConditionModel

from dda.errors import OptionError
from dda.files import digest_files
from dda.models.stable_diffusion.checkpoints.applied_checkpoint import AppliedCheckpoint, ParsedCheckpoint
from dda.models.stable_diffusion.checkpoints.checkpoint_file import CheckpointFile
from dda.models.stable_diffusion.checkpoints.dda_folder import CONFIG_NAME, WEIGHTS_NAME, read_dda_folder
from dda.models.stable_diffusion.checkpoints.lora_file import (
    PEFT_CONFIG_NAME,
    find_lora_file,
    has_lora_keys,
    read_lora_file,
)
from dda.models.stable_diffusion.checkpoints.official_release import PROJECTION_NAME, read_official_release
from dda.models.stable_diffusion.checkpoints.seed_format import is_seed_format, read_seed_format

_EXPECTED = (
    f"Stable Diffusion takes a folder with {CONFIG_NAME} as run_train.py writes it, a LoRA file of diffusers or peft "
    f"(or a folder with one), the official release (a folder with LoRA and {PROJECTION_NAME}) or the seed format (a "
    "torch file)"
)


def apply_checkpoint(path: str | Path, unet: UNet2DConditionModel) -> AppliedCheckpoint:
    """Load a checkpoint of any format into a U-Net in place; the U-Net's classes and keys do not change.

    Everything is read and checked before the first weight is written: after an error the U-Net is unchanged.

    Args:
        path: a file or a folder.
        unet: U-Net of the base model, on any device, in any floating-point dtype.

    Raises:
        OptionError: the checkpoint is of no known format, damaged, not finite or of another model.
    """
    parsed = _parse(Path(path), unet)
    unet.load_state_dict(parsed.unet_weights, strict=False)
    return parsed.applied


def digest_checkpoint(path: str | Path) -> str:
    """Return the SHA-256 of the files of a checkpoint that decide pixels: weights, and what scales or conditions them.

    Raises:
        OptionError: it is of no known format, or has no weights.
    """
    return digest_files(_list_files(Path(path)))


def _parse(path: Path, unet: UNet2DConditionModel) -> ParsedCheckpoint:
    if (path / CONFIG_NAME).is_file():
        return read_dda_folder(path, unet)
    if (path / PROJECTION_NAME).is_file():
        return read_official_release(path, unet)
    file = _find_file(path)
    content, metadata = file.read()
    if is_seed_format(content):
        return read_seed_format(file, content, unet)
    if has_lora_keys(content):
        return read_lora_file(file, content, metadata, unet)
    keys = ", ".join(str(key) for key in list(content)[:3])
    raise file.make_error(f"is of no known format (its first keys: {keys or 'none'}); {_EXPECTED}")


def _find_file(path: Path) -> CheckpointFile:
    """Return the file at ``path``, or the LoRA file of the folder there."""
    if path.is_file():
        return CheckpointFile(path, path)
    if not path.is_dir():
        raise OptionError("checkpoint", f"does not exist; {_EXPECTED}", path)
    file = find_lora_file(path)
    if file is None:
        raise OptionError("checkpoint", f"is a folder of no known format; {_EXPECTED}", path)
    return file


def _list_files(path: Path) -> list[Path]:
    """List the files of a checkpoint that decide pixels."""
    weights = path / WEIGHTS_NAME if (path / CONFIG_NAME).is_file() else _find_file(path).path
    if not weights.is_file():
        raise CheckpointFile(path, weights).make_error("is not there")
    others = [weights.parent / PEFT_CONFIG_NAME, path / CONFIG_NAME, path / PROJECTION_NAME]
    return [weights, *(file for file in others if file.is_file())]
