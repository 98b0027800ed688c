"""Initial model: the weights that a training of the compact model starts from."""

from collections.abc import Sequence
from pathlib import Path

import torch

from dda.faces.alignment import CANONICAL_POINTS, CROP_SIZE
from dda.models.compact.checkpoint import load_compact_model
from dda.models.compact.network import CompactResidualModel


def make_initial_model(init: str, styles: Sequence[str]) -> CompactResidualModel:
    """Make the model to train.

    Args:
        init: "scratch" for random weights, "shipped" for those that come with the package, or a checkpoint folder.
        styles: names of the styles to train. A style that the initial weights know by name keeps its condition; a new
            one starts from the mean of all conditions.

    Raises:
        OptionError: the checkpoint cannot be used.
    """
    if init == "scratch":
        return CompactResidualModel(styles=tuple(styles))
    trained = load_compact_model(checkpoint_folder(init))
    crop = {"crop_size": CROP_SIZE, "crop_points": CANONICAL_POINTS}  # the crop of `crop_pair`
    model = CompactResidualModel(**{**trained.config, "styles": tuple(styles), **crop})
    weights = trained.state_dict()
    known = list(trained.config.styles)
    conditions = weights["fgmm.styles"]
    weights["fgmm.styles"] = torch.stack(
        [conditions[known.index(style)] if style in known else conditions.mean(0) for style in styles]
    )
    model.load_state_dict(weights)
    return model


def checkpoint_folder(init: str) -> Path | None:
    """Return the checkpoint folder that ``init`` names; None for the weights that come with the package."""
    return None if init == "shipped" else Path(init)
