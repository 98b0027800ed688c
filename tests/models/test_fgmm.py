import pytest
import torch
from torch.nn import functional as F

from dda.models.fgmm import FineGrainedMakeupModule
from dda.regions import REGIONS


@pytest.fixture
def module() -> FineGrainedMakeupModule:
    torch.manual_seed(0)
    module = FineGrainedMakeupModule(num_styles=3, style_dim=5)
    with torch.no_grad():
        for number, region in enumerate(REGIONS):
            module.weights[f"{region}_weight"].fill_(0.5 + number)
    return module


@pytest.fixture
def masks() -> torch.Tensor:
    return torch.rand(2, 4, 6, 7, generator=torch.Generator().manual_seed(1)) / 4


def test_the_output_is_the_sum_of_weight_mask_and_feature_over_regions(
    module: FineGrainedMakeupModule, masks: torch.Tensor
) -> None:
    features = torch.randn(2, 8, 6, 7, generator=torch.Generator().manual_seed(2))
    expected = sum(float(w) * masks[:, r : r + 1] * features for r, w in enumerate((0.5, 1.5, 2.5, 3.5)))
    assert torch.allclose(module(features, masks), expected, atol=1e-6)


def test_one_hot_masks_give_the_output_of_the_published_class(module: FineGrainedMakeupModule) -> None:
    """The published class takes a label map: 1 eyes, 2 lips, 3 skin, 0 elsewhere."""
    labels = torch.randint(0, 4, (2, 6, 7), generator=torch.Generator().manual_seed(3))
    features = torch.randn(2, 8, 6, 7, generator=torch.Generator().manual_seed(4))
    published = torch.zeros_like(features)
    for label, region in ((1, "eyes"), (2, "lips"), (3, "skin")):
        mask = (labels == label).float()[:, None]
        published = published + features * mask * module.weights[f"{region}_weight"]
    one_hot = F.one_hot(labels, 5)[..., 1:].permute(0, 3, 1, 2).float()
    assert torch.equal(module(features, one_hot), published)


def test_weights_start_at_one_under_the_published_names() -> None:
    untrained = FineGrainedMakeupModule(num_styles=1, style_dim=2)
    assert torch.equal(untrained.region_weights(), torch.ones(4))
    assert {f"weights.{region}_weight" for region in REGIONS} < set(untrained.state_dict())


def test_every_weight_has_a_gradient(module: FineGrainedMakeupModule, masks: torch.Tensor) -> None:
    features = torch.ones(2, 1, 6, 7)
    module(features, masks).sum().backward()
    for r, region in enumerate(REGIONS):
        gradient = module.weights[f"{region}_weight"].grad
        assert gradient is not None and float(gradient) == pytest.approx(float(masks[:, r].sum()), rel=1e-5)


def test_the_embedding_map_is_the_sum_of_masked_style_embeddings(
    module: FineGrainedMakeupModule, masks: torch.Tensor
) -> None:
    ids = torch.tensor([[0, 1, 2, 0], [2, 2, 0, 1]])
    embedded = module.embed_styles(ids, masks)
    assert embedded.shape == (2, 5, 6, 7)
    for n in range(2):
        expected = sum(masks[n, r] * module.styles[ids[n, r], r][:, None, None] for r in range(4))
        assert torch.allclose(embedded[n], expected, atol=1e-6)


@pytest.mark.parametrize("region", range(len(REGIONS)), ids=REGIONS)
def test_another_style_in_one_region_changes_the_map_only_there(
    region: int, module: FineGrainedMakeupModule, masks: torch.Tensor
) -> None:
    masks = masks * (torch.rand(masks.shape, generator=torch.Generator().manual_seed(5)) > 0.5)
    one = torch.zeros(2, 4, dtype=torch.int64)
    other = one.clone()
    other[:, region] = 1
    changed = (module.embed_styles(one, masks) != module.embed_styles(other, masks)).any(1)
    assert torch.equal(changed, masks[:, region] > 0)


def test_the_embedding_map_is_0_in_the_background(module: FineGrainedMakeupModule) -> None:
    embedded = module.embed_styles(torch.tensor([[0, 1, 2, 0]]), torch.zeros(1, 4, 6, 7))
    assert torch.equal(embedded, torch.zeros(1, 5, 6, 7))
