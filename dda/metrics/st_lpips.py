"""Shift-tolerant LPIPS (Ghildyal and Liu 2022): LPIPS over an anti-aliased AlexNet, which a package carries whole."""

import torch

from dda.metrics.metric import Column


class StLpips:
    """The shift-tolerant variant over AlexNet: no LPIPS, its numbers do not compare with LPIPS's."""

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

    def __init__(self, device: torch.device) -> None:
        from stlpips_pytorch import stlpips

        network = stlpips.LPIPS(net="alex", variant="shift_tolerant", verbose=False)
        self.network = network.to(device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return ST-LPIPS (N,) of pictures (N, 3, H, W) in [0, 1]."""
        return self.network(a, b, normalize=True).reshape(len(a))
