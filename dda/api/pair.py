"""A pair: a face, the same face with makeup, and where the makeup is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dda.files import write_atomically
from dda.png import encode_png


@dataclass(frozen=True)
class Pair:
    """A face and the same face with makeup.

    Attributes:
        source: the bare face, 512x512 RGB.
        target: the same with makeup; where every mask is 0 its bytes are the source's.
        masks: soft masks (512, 512) float32 in [0, 1] by region: eyes, lips, skin, brows. They sum to at most 1.
        style: the style as it was given: a name, or a mapping of regions to names.
        content_hash: SHA-256 of the source's pixels, 64 hex digits; the noise depends on it and on the seed.

    Example:
        >>> import dda
        >>> from skimage import data
        >>> pair = dda.Amplifier.from_pretrained()(data.astronaut(), style="Red lip makeup")
        >>> pair.source.size, pair.target.size, sorted(pair.masks)
        ((512, 512), (512, 512), ['brows', 'eyes', 'lips', 'skin'])
    """

    source: Image.Image
    target: Image.Image
    masks: Mapping[str, np.ndarray]
    style: str | Mapping[str, str]
    content_hash: str

    def save(self, folder: str | Path, name: str) -> None:
        """Write ``folder/source/name.png`` and ``folder/target/name.png``, the layout of a run.

        Args:
            folder: made where it does not exist.
            name: of the pair, without a suffix.
        """
        for side, picture in (("source", self.source), ("target", self.target)):
            file = Path(folder, side, f"{name}.png")
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, encode_png(np.asarray(picture)))
