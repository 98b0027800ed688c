"""Inception v3 as FID and KID use it: a picture's 2048 features."""

from pathlib import Path

import torch

from dda.metrics.metric import MissingWeights

WEIGHTS_FILE = "weights-inception-2015-12-05-6726825d.pth"
WEIGHTS_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{WEIGHTS_FILE}"
WEIGHTS_LABEL = "Inception v3 (TensorFlow 2015-12-05, by torch-fidelity)"


class Inception:
    """The network of the original FID, its weights from the cache of torch hub.

    It shrinks pictures to 299 x 299 as TensorFlow 1 did: bilinear, without antialiasing. torchmetrics' own extractor
    smooths them first, and then no distance compares with published ones.

    Raises:
        MissingWeights: they are not there, or damaged.
    """

    def __init__(self, device: torch.device) -> None:
        path = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS_FILE
        if not path.is_file():
            raise MissingWeights(f"Inception's weights are not in {path.parent}; save {WEIGHTS_URL} there")
        from torch_fidelity import FeatureExtractorInceptionV3

        try:
            # torch-fidelity would run code that the file holds, so one that holds more than tensors ends here.
            torch.load(path, map_location="cpu", weights_only=True)
            network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(path))
        except Exception as error:  # torch has no common class for a file that is damaged, cut short or another one
            raise MissingWeights(f"Inception's weights, {path}, are damaged; save {WEIGHTS_URL} there again") from error
        self.network = network.to(device).eval()

    @torch.inference_mode()
    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return features (N, 2048) of pictures (N, 3, H, W) in [0, 1]."""
        return self.network((pictures * 255).round().byte())[0]
