"""ST-LPIPS (Ghildyal and Liu 2022): shift-tolerant LPIPS over an anti-aliased AlexNet."""

import torch

from dda.metrics.metric import Column


class StLpips:
    """Shift-tolerant LPIPS; its values do not compare with those of LPIPS.

    Shape (N,), range [0, inf), lower is nearer; 0 for equal pictures. The package `stlpips_pytorch` has all weights.

    Example:
        >>> st_lpips = StLpips(torch.device("cpu"))
        >>> picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> float(st_lpips(picture, picture)), bool(st_lpips(picture, 1 - picture) > 0)
        (0.0, True)
    """

    column = Column(
        name="st_lpips",
        unit="",
        low=0,
        high=float("inf"),
        better="none",
        about="Shift-tolerant perceptual distance of source and target, not LPIPS itself; it is 0 where nothing was "
        "painted, so it can tell how much changed to the eye but not whether the makeup is good.",
        weights="ST-LPIPS AlexNet vST0.0 (stlpips-pytorch)",
    )
    oracle_better = "lower"

    def __init__(self, device: torch.device) -> None:
        from stlpips_pytorch import stlpips

        network = stlpips.LPIPS(net="alex", variant="shift_tolerant", verbose=False)
        self.network = network.to(device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return ST-LPIPS (N,) of pictures (N, 3, H, W) in [0, 1]."""
        return self.network(a, b, normalize=True).reshape(len(a))
