"""LPIPS (Zhang et al. 2018): distance of two pictures in AlexNet's features, weighted by human judgments."""

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from dda.metrics.metric import Column, MissingWeights
from dda.system.network import socket_timeout

ALEXNET_URL = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
"""AlexNet's weights, 233 MB, as torchvision downloads them into the cache of torch hub."""


class Lpips:
    """Learned perceptual image patch similarity, version 0.1 of the `lpips` package, which has the linear weights.

    Shape (N,), range [0, inf), lower is nearer; 0 for equal pictures. AlexNet's weights come from the cache of torch
    hub, or are downloaded into it.

    Raises:
        MissingWeights: AlexNet's weights can neither be read nor downloaded.

    Example:
        >>> lpips = Lpips(torch.device("cpu"))  # doctest: +SKIP
        >>> picture = torch.rand(1, 3, 64, 64)
        >>> lpips(picture, picture)  # doctest: +SKIP
        tensor([0.])
    """

    column = Column(
        name="lpips",
        unit="",
        low=0,
        high=float("inf"),
        better="none",
        about="Perceptual distance of source and target; it is 0 where nothing was painted, so it can tell how much "
        "changed to the eye but not whether the makeup is good.",
        weights="AlexNet (torchvision, ImageNet-1k V1) + LPIPS linear v0.1",
    )
    oracle_better = "lower"

    def __init__(self, device: torch.device) -> None:
        import lpips

        cache = Path(torch.hub.get_dir()) / "checkpoints"
        file = cache / ALEXNET_URL.rpartition("/")[2]
        try:
            if file.is_file():  # torchvision would run code in the file: refuse one that holds more than tensors
                torch.load(file, map_location="cpu", weights_only=True)
            with socket_timeout(), _suppress_output():
                network = lpips.LPIPS(net="alex", verbose=False)
        except Exception as error:  # no network, or a damaged file, for which torch has no common class
            reason = f"AlexNet's weights can neither be read from {cache} nor downloaded; save {ALEXNET_URL} there"
            raise MissingWeights(reason) from error
        self.network = network.to(device)

    @torch.inference_mode()
    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return LPIPS (N,) of pictures (N, 3, H, W) in [0, 1]."""
        return self.network(a, b, normalize=True).reshape(len(a))


@contextlib.contextmanager
def _suppress_output() -> Iterator[None]:
    """Suppress torchvision's warnings about `lpips` and the messages of a download in a ``with`` block."""
    output = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        warnings.simplefilter("ignore", UserWarning)
        yield
