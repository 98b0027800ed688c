"""LPIPS (Zhang et al. 2018): distance of two pictures in the features of AlexNet, weighted by human judgement."""

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from dda.metrics.metric import Column, MissingWeights
from dda.system.network import socket_timeout

ALEXNET_URL = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"


class Lpips:
    """LPIPS v0.1 of the `lpips` package, whose authors' linear weights it carries.

    AlexNet's own weights (233 MB) are torchvision's: from the cache of torch hub, otherwise downloaded into it.

    Raises:
        MissingWeights: they can neither be read from the cache nor downloaded.
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

    def __init__(self, device: torch.device) -> None:
        import lpips

        cache = Path(torch.hub.get_dir()) / "checkpoints"
        file = cache / ALEXNET_URL.rpartition("/")[2]
        try:
            if file.is_file():  # torchvision would run code in it, so one that holds more than tensors ends here
                torch.load(file, map_location="cpu", weights_only=True)
            with socket_timeout(), _silence_torchvision():
                network = lpips.LPIPS(net="alex", verbose=False)
        except Exception as error:  # no network, or a file for whose damage torch has no common class
            reason = f"AlexNet's weights can neither be read from {cache} nor downloaded; save {ALEXNET_URL} there"
            raise MissingWeights(reason) from error
        self.network = network.to(device)

    @torch.inference_mode()
    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return LPIPS (N,) of pictures (N, 3, H, W) in [0, 1]."""
        return self.network(a, b, normalize=True).reshape(len(a))


@contextlib.contextmanager
def _silence_torchvision() -> Iterator[None]:
    """Silence torchvision's warnings about how `lpips` calls it, and its notice of a download that may fail."""
    silence = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
        warnings.simplefilter("ignore", UserWarning)
        yield
