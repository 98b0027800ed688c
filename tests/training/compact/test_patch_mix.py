import torch

from dda.faces.alignment import CROP_SIZE
from dda.training.compact.patch_mix import mix_patches
from tests.training.compact.conftest import generator


def plain(levels: list[float]) -> torch.Tensor:
    return torch.tensor(levels)[:, None, None, None].expand(-1, 10, CROP_SIZE, CROP_SIZE)


def test_mixed_crops_show_both_faces_with_soft_borders() -> None:
    mixed = mix_patches(plain([0.0, 1.0] * 8), torch.arange(16).roll(1), generator())
    assert float((mixed < 0.1).float().mean()) > 0.35 and float((mixed > 0.9).float().mean()) > 0.35
    assert float((mixed[..., 1:] - mixed[..., :-1]).abs().max()) < 0.5  # no hard edges
    assert torch.equal(mixed, mixed[:, :1].expand_as(mixed))  # source, target and masks alike


def test_patches_are_drawn_anew_each_time() -> None:
    crops, partners, random = plain([0.0, 1.0] * 4), torch.arange(8).roll(1), generator()
    first, second = (mix_patches(crops, partners, random) for _ in range(2))
    assert not torch.allclose(first, second, atol=0.1)
    assert torch.equal(first, mix_patches(crops, partners, generator()))
