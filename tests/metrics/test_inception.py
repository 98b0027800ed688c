"""FID and KID with random weights: the arithmetic, and where the weights are looked for."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch_fidelity import FeatureExtractorInceptionV3
from torchmetrics.image.fid import NoTrainInceptionV3

from dda.metrics.fid import compute_fid
from dda.metrics.inception import WEIGHTS_FILE, Inception
from dda.metrics.kid import compute_kid
from dda.metrics.metric import MissingWeights
from tests.conftest import Malicious

CPU = torch.device("cpu")


@pytest.fixture
def features() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(16, 16, generator=generator)
    return torch.randn(60, 16, generator=generator), 0.3 + torch.randn(50, 16, generator=generator) @ mix / 4


def test_fid_is_the_distance_of_two_gaussians(features: tuple[torch.Tensor, torch.Tensor]) -> None:
    a, b = (part.double().numpy() for part in features)
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)
    assert compute_fid(*features) == pytest.approx(expected, rel=1e-4)
    assert compute_fid(features[0], features[0]) == pytest.approx(0, abs=1e-6)


def test_kid_is_the_unbiased_kernel_distance(features: tuple[torch.Tensor, torch.Tensor]) -> None:
    a, b = (part[:40].double().numpy() for part in features)  # one subset holds all

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def off_diagonal(k: np.ndarray) -> float:
        return (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))

    expected = off_diagonal(kernel(a, a)) + off_diagonal(kernel(b, b)) - 2 * kernel(a, b).mean()
    assert compute_kid(features[0][:40], features[1][:40]) == pytest.approx(expected, rel=1e-4)


def test_kids_subsets_are_seeded(features: tuple[torch.Tensor, torch.Tensor]) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = compute_kid(*features, seed=0)
    assert torch.equal(torch.get_rng_state(), before)  # nobody else's draws change
    torch.manual_seed(2)
    assert compute_kid(*features, seed=0) == first != compute_kid(*features, seed=1)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Random weights where torch hub keeps the published ones, and in their form."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub" / "checkpoints" / WEIGHTS_FILE
    file.parent.mkdir(parents=True)
    state = {name: value for name, value in _random_inception().items() if not name.endswith("num_batches_tracked")}
    torch.save(state, file, _use_new_zipfile_serialization=False)  # PyTorch's form of 2020
    return file


def test_weights_come_from_torch_hubs_cache_or_not_at_all(weights: Path) -> None:
    whole = weights.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"no weights"):
        weights.write_bytes(damaged)
        with pytest.raises(MissingWeights, match=f"{WEIGHTS_FILE}, are damaged; save https://"):
            Inception(CPU)
    torch.save([torch.zeros(1)], weights)
    with pytest.raises(MissingWeights, match=f"{WEIGHTS_FILE}, are damaged"):
        Inception(CPU)
    weights.unlink()
    with pytest.raises(MissingWeights, match=f"are not in {weights.parent}; save https://.*{WEIGHTS_FILE} there"):
        Inception(CPU)


def test_code_among_the_weights_is_not_run(weights: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save(_random_inception() | {"fc.bias": Malicious(trace)}, weights)
    with pytest.raises(MissingWeights, match=f"{WEIGHTS_FILE}, are damaged"):
        Inception(CPU)
    assert not trace.exists()
    torch.load(weights, weights_only=False)
    assert trace.exists()  # so it would have run


def test_a_picture_has_its_own_features_whatever_is_beside_it(weights: Path) -> None:
    network = Inception(CPU)
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found, alone = network(pictures), network(pictures[:1])
    assert found.shape == (2, 2048) and found.isfinite().all()
    scale = float(found.max())  # random weights let little through
    assert scale > 0
    assert torch.allclose(found[:1], alone, atol=1e-3 * scale)
    assert not torch.allclose(found[0], found[1], atol=1e-2 * scale)


def test_features_are_those_of_the_original_fid(weights: Path) -> None:
    """TensorFlow 1 picks every second pixel of a picture of twice the side; antialiasing would mix them."""
    network = Inception(CPU)
    picture = torch.rand(1, 3, 598, 598, generator=torch.Generator().manual_seed(0))
    found = network(picture)
    assert torch.allclose(found, network(picture[..., ::2, ::2]), atol=1e-3 * float(found.max()))

    reference = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(weights))
    picture = picture[..., :512, :512]
    (expected,) = reference((picture * 255).round().byte())
    assert torch.allclose(network(picture), expected, atol=1e-3 * float(expected.max()))
    smoothed = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(weights), antialias=True)
    other = smoothed((picture * 255).round().byte())
    assert not torch.allclose(other, expected, atol=1e-2 * float(expected.max()))


def _random_inception() -> dict[str, torch.Tensor]:
    """Its state with random weights, made without the download that its constructor makes."""
    import torch_fidelity.feature_extractor_inceptionv3 as module

    class Empty(Exception):
        pass

    caught = {}

    def stop(self: torch.nn.Module, *_: object, **__: object) -> None:
        caught.update(self.state_dict())
        raise Empty

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Empty):
        patch.setattr(module, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", stop)
        FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    return caught
