"""A dataset of pairs for training: the pairs of a run, or of any folder with source/ and target/ pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from torch.utils.data import Dataset

from dda.api.folders import find_folder_pairs
from dda.errors import OptionError
from dda.images import read_image, to_tensor

PairTransform = Callable[[Image.Image, Image.Image], Any]
"""Takes source and target, so that both can be cropped and turned alike."""


class PairDataset(Dataset[Any]):
    """The pairs of a folder, for a ``torch.utils.data.DataLoader``.

    Args:
        folder: the folder of a run (of `run_amplify.py`, or of a multirun), or any folder with ``source/`` and
            ``target/`` pictures of equal names. Files without a partner are left out.
        transform: takes the two PIL images of a pair and returns the item. Without one the item is a dictionary:
            ``source`` and ``target`` (3, H, W) float32 in [0, 1], ``style`` (empty where unknown) and ``name``.
        style: only the pairs of this style.

    Raises:
        OptionError: the folder is missing, or has no pairs (of this style).

    Example:
        >>> import dda, tempfile
        >>> from skimage import data
        >>> folder = tempfile.mkdtemp()
        >>> pair = dda.Amplifier.from_pretrained(batch_size=1)(data.astronaut(), "Red lip makeup")
        >>> pair.save(folder, "eileen")
        >>> dataset = dda.PairDataset(folder)
        >>> len(dataset), dataset[0]["target"].shape
        (1, torch.Size([3, 512, 512]))
    """

    def __init__(self, folder: str | Path, transform: PairTransform | None = None, style: str | None = None) -> None:
        root = Path(folder).expanduser()
        self.pairs = [pair for pair in find_folder_pairs(root) if not pair.reason and style in (None, pair.style)]
        self.transform = transform
        if not self.pairs:
            raise OptionError("folder", f"has no pairs{f' in style {style}' if style else ''}", root)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Any:
        """Return a pair: what the transform makes of its two images, or a dictionary of tensors.

        Raises:
            ImageError: a file cannot be read.
        """
        pair = self.pairs[index]
        assert pair.source is not None and pair.target is not None  # the others were left out
        source, target = read_image(pair.source), read_image(pair.target)
        if self.transform is not None:
            return self.transform(Image.fromarray(source), Image.fromarray(target))
        return {"source": to_tensor(source), "target": to_tensor(target), "style": pair.style, "name": pair.name}
