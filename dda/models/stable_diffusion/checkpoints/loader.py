"""Which format a checkpoint of the Stable Diffusion DDA is, by what is in it; it is read, then written."""

from pathlib import Path

from diffusers import UNet2DConditionModel

from dda.errors import UserError
from dda.files import digest_files
from dda.models.stable_diffusion.checkpoints.applied_checkpoint import AppliedCheckpoint, Reading
from dda.models.stable_diffusion.checkpoints.checkpoint_file import CheckpointFile
from dda.models.stable_diffusion.checkpoints.dda_folder import CONFIG, WEIGHTS, read_ours
from dda.models.stable_diffusion.checkpoints.lora_file import PEFT_CONFIG, find_lora, is_lora, read_lora
from dda.models.stable_diffusion.checkpoints.official_release import PROJECTION, read_official
from dda.models.stable_diffusion.checkpoints.seed_format import is_seed, read_seed

ALLOWED = (
    f"model=sd15 takes a folder with {CONFIG} as run_train.py writes it, a LoRA file of diffusers or peft (or a folder "
    f"with one), the official release (a folder with LoRA and {PROJECTION}) or the seed format (a torch file)"
)


def apply_checkpoint(path: str | Path, unet: UNet2DConditionModel) -> AppliedCheckpoint:
    """Load a checkpoint of any format into the U-Net, in place; its classes and keys stay as they are.

    Everything is read and checked before the first weight is written: refused, the U-Net is as it was.

    Args:
        path: a file or a folder.
        unet: the U-Net of `model.pretrained`, on any device, in any floating-point dtype.

    Raises:
        UserError: the checkpoint is of no known format, damaged, not finite or of another model.
    """
    reading = _read(Path(path), unet)
    unet.load_state_dict(reading.weights, strict=False)
    return reading.applied


def digest(path: str | Path) -> str:
    """SHA-256 of the files of a checkpoint that make its pixels: weights and what scales or conditions them.

    Raises:
        UserError: it is of no known format, or has no weights.
    """
    return digest_files(_pixel_files(Path(path)))


def _read(path: Path, unet: UNet2DConditionModel) -> Reading:
    if (path / CONFIG).is_file():
        return read_ours(path, unet)
    if (path / PROJECTION).is_file():
        return read_official(path, unet)
    file = _only_file(path)
    content, metadata = file.read()
    if is_seed(content):
        return read_seed(file, content, unet)
    if is_lora(content):
        return read_lora(file, content, metadata, unet)
    keys = ", ".join(str(key) for key in list(content)[:3])
    raise file.refusal(f"is of no known format (its first keys: {keys or 'none'}); {ALLOWED}")


def _only_file(path: Path) -> CheckpointFile:
    """The file that was given, or the LoRA file of the folder that was given."""
    if path.is_file():
        return CheckpointFile(path, path)
    if not path.is_dir():
        raise UserError(f"model.checkpoint={path}: nothing there; {ALLOWED}")
    file = find_lora(path)
    if file is None:
        raise UserError(f"model.checkpoint={path}: a folder of no known format; {ALLOWED}")
    return file


def _pixel_files(path: Path) -> list[Path]:
    """The files that make pixels: the weights, and those beside them that scale or condition them."""
    weights = path / WEIGHTS if (path / CONFIG).is_file() else _only_file(path).path
    if not weights.is_file():
        raise CheckpointFile(path, weights).refusal("is not there")
    beside = [weights.parent / PEFT_CONFIG, *((path / name) for name in (CONFIG, PROJECTION))]
    return [weights, *(file for file in beside if file.is_file())]
