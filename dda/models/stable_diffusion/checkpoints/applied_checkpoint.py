"""What a checkpoint brings: new weights of the U-Net, checked but not yet written, and the learned scalars."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from diffusers import UNet2DConditionModel

from dda.models.residuals import ALPHA_REF
from dda.models.stable_diffusion.checkpoints.checkpoint_file import CheckpointFile
from dda.models.stable_diffusion.image_tokens import ImageTokens
from dda.regions import REGIONS


@dataclass(frozen=True)
class AppliedCheckpoint:
    """What a checkpoint was, and what of it does not live in the U-Net.

    Attributes:
        line: the report: format, what was loaded, what was ignored, alpha and region weights.
        alpha: the RDM's residual weight; alpha_ref where the format has none.
        region_weights: w_r (4,), in the order of the regions; 1 where the format has none, skin's for brows.
        image_tokens: the official release's condition; None for those conditioned by text.
        prompt: prompt it was trained with, ``{style}`` in it; None where the format does not say.
        bare_prompt: prompt of the bare face it was trained with; None where the format does not say.
        base: hub id or folder of the model it was trained from; None where the format does not say.
        strength: ``model.strength`` it was trained for; None where the format does not say.
    """

    line: str
    alpha: float = ALPHA_REF
    region_weights: torch.Tensor = field(default_factory=lambda: torch.ones(len(REGIONS)))
    image_tokens: ImageTokens | None = None
    prompt: str | None = None
    bare_prompt: str | None = None
    base: str | None = None
    strength: float | None = None


@dataclass(frozen=True)
class Reading:
    """A checkpoint read and checked: the U-Net weights it changes, as they shall be, and the rest."""

    weights: dict[str, torch.Tensor]
    applied: AppliedCheckpoint


def check_fit(file: CheckpointFile, weights: Mapping[str, torch.Tensor], unet: UNet2DConditionModel) -> None:
    """Refuse weights that are not this U-Net's.

    Raises:
        UserError: a name that the U-Net does not have, another shape, or a value that its dtype cannot hold.
    """
    own = unet.state_dict()
    for name, weight in weights.items():
        if name not in own:
            raise file.refusal(f"holds {name}, which this U-Net does not have: it is of another model")
        if weight.shape != own[name].shape:
            raise file.refusal(
                f"holds {name} of shape {tuple(weight.shape)}, this U-Net's is {tuple(own[name].shape)}: "
                "it is of another model"
            )
        if not torch.isfinite(weight.to(own[name].dtype)).all():
            raise file.refusal(f"makes {name} not finite in {own[name].dtype}; use model.precision=fp32")


def describe(
    kind: str,
    loaded: str,
    ignored: Sequence[str] = (),
    alpha: float | None = None,
    region_weights: Mapping[str, float] | None = None,
) -> str:
    """The one line that reports a checkpoint; None for scalars that the format does not have."""
    left = ", ".join(sorted(ignored)) or "nothing"
    if alpha is None or region_weights is None:
        return f"{kind}: {loaded}; ignored {left}; it has no alpha and region weights: {ALPHA_REF:g} and 1"
    weights = ", ".join(f"{region} {value:g}" for region, value in region_weights.items())
    skins = "" if "brows" in region_weights else f", brows {region_weights['skin']:g} (skin's)"
    return f"{kind}: {loaded}; ignored {left}; alpha {alpha:g}; region weights {weights}{skins}"


def order_regions(weights: Mapping[str, float]) -> torch.Tensor:
    """w_r (4,) in the order of the regions; without a weight for brows, skin's."""
    return torch.tensor([weights.get(region, weights["skin"]) for region in REGIONS])
