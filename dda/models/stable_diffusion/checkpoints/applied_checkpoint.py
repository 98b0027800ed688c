"""A checkpoint of Stable Diffusion once it is read: new weights of the U-Net, learned scalars and a summary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from diffusers import UNet2DConditionModel

from dda.models.residuals import ALPHA_REF
from dda.models.stable_diffusion.checkpoints.checkpoint_file import CheckpointFile
from dda.models.stable_diffusion.image_projection import ImageProjection
from dda.regions import REGIONS


@dataclass(frozen=True)
class AppliedCheckpoint:
    """The parts of a checkpoint beside the U-Net's weights. Where its format lacks a part, the default holds.

    Attributes:
        summary: one line for the log: format, what was loaded and ignored, alpha and region weights.
        alpha: the RDM's residual weight.
        region_weights: w_r (4,), in the order of `REGIONS`.
        image_projection: of the official release, which is conditioned on pictures; None: conditioned on text.
        prompt: prompt of a style that it was trained with, ``{style}`` in place of the name; None: not known.
        bare_prompt: prompt of the bare face that it was trained with; None: not known.
        base: hub id or folder of the base model that it was trained from; None: not known.
        strength: image-to-image strength that it was trained for; None: not known.
    """

    summary: str
    alpha: float = ALPHA_REF
    region_weights: torch.Tensor = field(default_factory=lambda: torch.ones(len(REGIONS)))
    image_projection: ImageProjection | None = None
    prompt: str | None = None
    bare_prompt: str | None = None
    base: str | None = None
    strength: float | None = None


@dataclass(frozen=True)
class ParsedCheckpoint:
    """A checkpoint that is read and checked, but not yet written into the U-Net.

    Attributes:
        unet_weights: the weights of the U-Net that change, by name, with LoRA merged in.
        applied: everything else.
    """

    unet_weights: dict[str, torch.Tensor]
    applied: AppliedCheckpoint


def check_unet_weights(file: CheckpointFile, weights: Mapping[str, torch.Tensor], unet: UNet2DConditionModel) -> None:
    """Check that weights fit a U-Net.

    Raises:
        OptionError: a name that the U-Net does not have, another shape, or a value that its dtype cannot represent.
    """
    own_weights = unet.state_dict()
    for name, weight in weights.items():
        if name not in own_weights:
            raise file.make_error(f"holds {name}, which this U-Net does not have: it is of another model")
        own = own_weights[name]
        if weight.shape != own.shape:
            raise file.make_error(
                f"holds {name} of shape {tuple(weight.shape)}, this U-Net's is {tuple(own.shape)}: "
                "it is of another model"
            )
        if not torch.isfinite(weight.to(own.dtype)).all():
            raise file.make_error(f"makes {name} not finite in {own.dtype}; use precision=fp32")


def summarize_checkpoint(
    format_name: str,
    loaded: str,
    ignored: Sequence[str] = (),
    alpha: float | None = None,
    region_weights: Mapping[str, float] | None = None,
) -> str:
    """Summarize a checkpoint in one line for the log.

    Args:
        format_name: name of its format.
        loaded: what was loaded, in words.
        ignored: names of what was not.
        alpha: the RDM's residual weight; None if the format has none, like the following.
        region_weights: w_r by region.
    """
    ignored_names = ", ".join(sorted(ignored)) or "nothing"
    if alpha is None or region_weights is None:
        defaults = f"it has no alpha and region weights: {ALPHA_REF:g} and 1"
        return f"{format_name}: {loaded}; ignored {ignored_names}; {defaults}"
    weights = ", ".join(f"{region} {value:g}" for region, value in region_weights.items())
    brows = "" if "brows" in region_weights else f", brows {region_weights['skin']:g} (skin's)"
    return f"{format_name}: {loaded}; ignored {ignored_names}; alpha {alpha:g}; region weights {weights}{brows}"


def stack_region_weights(weights: Mapping[str, float]) -> torch.Tensor:
    """Stack w_r in the order of `REGIONS`, (4,); brows take skin's weight if they have none."""
    return torch.tensor([weights.get(region, weights["skin"]) for region in REGIONS])
