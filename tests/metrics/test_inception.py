"""FID and KID with random weights: the arithmetic, and where the weights are looked for."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from dda.metrics.fid import fid
from dda.metrics.inception import FILE, Inception
from dda.metrics.kid import kid
from dda.metrics.metric import MissingWeights

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
    assert fid(*features) == pytest.approx(expected, rel=1e-4)
    assert fid(features[0], features[0]) == pytest.approx(0, abs=1e-6)


def test_kid_is_the_unbiased_kernel_distance(features: tuple[torch.Tensor, torch.Tensor]) -> None:
    a, b = (part[:40].double().numpy() for part in features)  # one subset holds all

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def off_diagonal(k: np.ndarray) -> float:
        return (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))

    expected = off_diagonal(kernel(a, a)) + off_diagonal(kernel(b, b)) - 2 * kernel(a, b).mean()
    assert kid(features[0][:40], features[1][:40]) == pytest.approx(expected, rel=1e-4)


def test_kids_subsets_are_seeded(features: tuple[torch.Tensor, torch.Tensor]) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = kid(*features, seed=0)
    assert torch.equal(torch.get_rng_state(), before)  # nobody else's draws change
    torch.manual_seed(2)
    assert kid(*features, seed=0) == first != kid(*features, seed=1)


def test_weights_come_from_torch_hubs_cache_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MissingWeights, match=FILE):
        Inception(CPU)
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(_random_inception(FeatureExtractorInceptionV3), cache / FILE)
    whole = (cache / FILE).read_bytes()
    (cache / FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MissingWeights, match=f"{FILE}, are damaged"):
        Inception(CPU)
    (cache / FILE).write_bytes(whole)
    network = Inception(CPU)
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found, alone = network(pictures), network(pictures[:1])
    assert found.shape == (2, 2048) and found.isfinite().all()
    scale = float(found.max())  # random weights let little through
    assert scale > 0
    assert torch.allclose(found[:1], alone, atol=1e-3 * scale)
    assert not torch.allclose(found[0], found[1], atol=1e-2 * scale)


def _random_inception(extractor: type) -> dict[str, torch.Tensor]:
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
        patch.setattr(extractor, "load_state_dict", stop)
        extractor("inception-v3-compat", ["2048"])
    return caught
