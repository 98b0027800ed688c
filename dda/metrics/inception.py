"""Inception v3 features, which FID and KID compare."""

from pathlib import Path

import torch

from dda.metrics.metric import MissingWeights

WEIGHTS_FILE = "weights-inception-2015-12-05-6726825d.pth"
"""Name of the weights in the cache of torch hub."""

WEIGHTS_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{WEIGHTS_FILE}"
"""Where torch-fidelity publishes them."""

WEIGHTS_LABEL = "Inception v3 (TensorFlow 2015-12-05, by torch-fidelity)"
"""What reports call them."""


class Inception:
    """The network of the original FID, with its weights from the cache of torch hub.

    Pictures are resized to 299 x 299 as TensorFlow 1 did it: bilinear, without antialiasing. The extractor of
    torchmetrics antialiases, so its distances do not compare with published ones.

    Raises:
        MissingWeights: the weights are missing or damaged.

    Example:
        >>> pictures = torch.rand(2, 3, 64, 64)
        >>> Inception(torch.device("cpu"))(pictures).shape  # doctest: +SKIP
        torch.Size([2, 2048])
    """

    def __init__(self, device: torch.device) -> None:
        path = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS_FILE
        if not path.is_file():
            raise MissingWeights(f"Inception's weights are not in {path.parent}; save {WEIGHTS_URL} there")
        from torch_fidelity import FeatureExtractorInceptionV3

        try:
            # torch-fidelity would run code in the file: refuse one that holds more than tensors.
            torch.load(path, map_location="cpu", weights_only=True)
            network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(path))
        except Exception as error:  # torch has no common class for a damaged or wrong file
            raise MissingWeights(f"Inception's weights, {path}, are damaged; save {WEIGHTS_URL} there again") from error
        self.network = network.to(device).eval()

    @torch.inference_mode()
    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the features (N, 2048) of pictures (N, 3, H, W) in [0, 1]."""
        return self.network((pictures * 255).round().byte())[0]
