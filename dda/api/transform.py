"""Amplification on the fly: a transform for the workers of a DataLoader."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import default_collate

from dda.api.amplifier import Amplifier, StyleLike
from dda.api.pictures import PictureLike, PictureList
from dda.errors import OptionError, SourceError
from dda.faces.preparation import load_picture
from dda.images import hash_image, to_tensor
from dda.options import check_limit, one_of
from dda.regions import REGIONS
from dda.seeds import pair_seed


class AmplifyTransform:
    """Makes a pair of a picture, for the workers of a DataLoader; it can be pickled.

    The model is loaded by each worker when it gets its first picture. The style of a picture is drawn by its content
    and the seed, so it is the same in every epoch.

    Args:
        styles: the styles to draw from; None: all that the model knows.
        path_or_hub_id: as for :meth:`dda.Amplifier.from_pretrained`.
        strength, seed, align: as for :class:`dda.Amplifier`.
        unusable: a picture that gives no pair: raise (SourceError) | skip (None, which `collate_pairs` drops).
        options: as for :meth:`dda.Amplifier.from_pretrained`.

    Example:
        >>> import dda
        >>> from skimage import data
        >>> transform = dda.AmplifyTransform(styles=["Korean makeup"], unusable="skip")
        >>> item = transform(data.astronaut())
        >>> item["source"].shape, item["masks"].shape, item["style"]
        (torch.Size([3, 512, 512]), torch.Size([4, 512, 512]), 'Korean makeup')
    """

    def __init__(
        self,
        styles: Sequence[str] | None = None,
        path_or_hub_id: str | Path | None = None,
        *,
        strength: float | Mapping[str, float] = 1.0,
        seed: int = 0,
        align: str = "ffhq",
        unusable: str = "raise",
        **options: Any,
    ) -> None:
        check_limit("unusable", unusable, one_of("raise", "skip"))
        self.styles = None if styles is None else list(styles)
        self.path_or_hub_id = path_or_hub_id
        self.strength, self.seed, self.align, self.unusable = strength, seed, align, unusable
        self.options: dict[str, Any] = {"device": "cpu", "batch_size": 1, "workers": 1} | options
        self._amplifier: Amplifier | None = None

    def __call__(self, image: PictureLike) -> dict[str, Any] | None:
        """Make a pair of a picture.

        Returns:
            ``source`` and ``target`` (3, 512, 512) float32 in [0, 1], ``masks`` (4, 512, 512) in the order of eyes,
            lips, skin, brows, and ``style``; None for a picture that is skipped.

        Raises:
            SourceError: the picture cannot be used, unless ``unusable="skip"``.
            OptionError: the model does not name its styles, and none are given.
        """
        try:
            picture = load_picture(PictureList([image], aligned=False), "0")
            style = self.draw_style(picture)
            pair = self.amplifier(picture, style, strength=self.strength, seed=self.seed, align=self.align)
        except SourceError:
            if self.unusable == "skip":
                return None
            raise
        return {
            "source": to_tensor(np.asarray(pair.source)),
            "target": to_tensor(np.asarray(pair.target)),
            "masks": torch.from_numpy(np.stack([pair.masks[region] for region in REGIONS])),
            "style": pair.style,
        }

    @property
    def amplifier(self) -> Amplifier:
        """The amplifier, loaded when it is first asked for."""
        if self._amplifier is None:
            self._amplifier = Amplifier.from_pretrained(self.path_or_hub_id, **self.options)
        return self._amplifier

    def draw_style(self, picture: np.ndarray) -> StyleLike:
        """Return the style that a picture (uint8 (H, W, 3)) is painted in."""
        styles = self.styles or self.amplifier.styles
        if not styles:
            raise OptionError("styles", "must be given: the model takes any style, as a prompt")
        if len(styles) == 1:
            return styles[0]
        return styles[pair_seed(self.seed, hash_image(picture), 0) % len(styles)]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_amplifier": None}


def collate_pairs(items: Sequence[Any]) -> Any:
    """Collate a batch as PyTorch does, without the pictures that were skipped; None if all of them were."""
    kept = [item for item in items if item is not None]
    return default_collate(kept) if kept else None
