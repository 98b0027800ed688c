"""LPIPS with random AlexNet weights: no test downloads any."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from dda.metrics.lpips import ALEXNET_URL, Lpips
from dda.metrics.metric import MissingWeights, PairBatch
from tests.conftest import Malicious

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch hub, and a network that refuses every connection."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


def save_random_alexnet(hub: Path) -> dict[str, torch.Tensor]:
    """AlexNet's file with random features, in its cache; the classifier, 233 MB, is one number seen many times."""
    from torchvision.models import alexnet

    with torch.device("meta"):
        shapes = {name: value.shape for name, value in alexnet().state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(shape, generator=generator) / max(shape[1:].numel(), 1) ** 0.5
        if name.startswith("features")
        else torch.zeros(1).expand(shape)
        for name, shape in shapes.items()
    }
    torch.save(weights, hub / ALEXNET_URL.rsplit("/", 1)[1])
    return weights


def second_implementation(a: torch.Tensor, b: torch.Tensor, alexnet: dict[str, torch.Tensor]) -> torch.Tensor:
    """LPIPS as the paper writes it: sum over five layers of the mean of w (f_a - f_b)^2, f of unit length."""
    import lpips

    heads = torch.load(Path(lpips.__file__).parent / "weights" / "v0.1" / "alex.pth", map_location="cpu")
    mean = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    spread = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    features = [(2 * picture - 1 - mean) / spread for picture in (a, b)]
    total = torch.zeros(len(a))
    for layer, (name, stride, padding) in enumerate([("0", 4, 2), ("3", 1, 2), ("6", 1, 1), ("8", 1, 1), ("10", 1, 1)]):
        weight, bias = alexnet[f"features.{name}.weight"], alexnet[f"features.{name}.bias"]
        if name in "36":
            features = [nn.functional.max_pool2d(f, 3, 2) for f in features]
        features = [nn.functional.conv2d(f, weight, bias, stride, padding).relu() for f in features]
        one, other = (normalize(f, dim=1) for f in features)
        head = heads[f"lin{layer}.model.1.weight"]
        total += nn.functional.conv2d((one - other) ** 2, head).mean((1, 2, 3))
    return total


def test_it_is_the_papers_sum_over_alexnets_layers(hub: Path, glamorous: PairBatch) -> None:
    alexnet = save_random_alexnet(hub)
    a, b = (picture[..., 150:300, 160:340] for picture in (glamorous.source, glamorous.target))
    found = Lpips(CPU)(a, b)
    assert found.shape == (2,) and (found > 1e-4).all()
    assert found.tolist() == pytest.approx(second_implementation(a, b, alexnet).tolist(), rel=1e-3)
    assert Lpips(CPU)(a, a).tolist() == [0, 0]


def test_without_its_weights_it_says_where_to_put_them(hub: Path) -> None:
    with pytest.raises(MissingWeights) as caught:
        Lpips(CPU)
    assert str(hub) in caught.value.reason and ALEXNET_URL in caught.value.reason


def test_code_among_the_weights_is_not_run(hub: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save(save_random_alexnet(hub) | {"features.0.bias": Malicious(trace)}, hub / ALEXNET_URL.rsplit("/", 1)[1])
    with pytest.raises(MissingWeights):
        Lpips(CPU)
    assert not trace.exists()


def test_a_file_of_something_else_is_not_taken_for_the_weights(hub: Path) -> None:
    torch.save([torch.zeros(1)], hub / ALEXNET_URL.rsplit("/", 1)[1])
    with pytest.raises(MissingWeights):
        Lpips(CPU)


@pytest.mark.parametrize("content", [b"PK\x03\x04 cut short", b"<html>404</html>", b""])
def test_a_damaged_file_is_not_taken_for_the_weights(hub: Path, content: bytes) -> None:
    (hub / ALEXNET_URL.rsplit("/", 1)[1]).write_bytes(content)
    with pytest.raises(MissingWeights):
        Lpips(CPU)
