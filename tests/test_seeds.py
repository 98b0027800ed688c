import hashlib
import itertools

import pytest
import torch

from dda.seeds import pair_noise, pair_seed

KEYS = [
    (0, "aa", 0),
    (1, "aa", 0),
    (0, "ab", 0),
    (0, "aa", 1),
    (11, "a", 0),
    (1, "1:a", 0),
    (1, "a", 11),
    (11, "a", 1),
]


def test_each_part_of_the_key_counts() -> None:
    seeds = [pair_seed(*key) for key in KEYS]
    assert len(set(seeds)) == len(KEYS)
    for first, second in itertools.combinations([pair_noise((3, 4, 4), *key) for key in KEYS], 2):
        assert not torch.equal(first, second)


def test_the_seed_never_changes_between_versions() -> None:
    assert pair_seed(7, "0123abcd", 2) == int.from_bytes(hashlib.sha256(b"7:0123abcd:2").digest()[:8], "big") // 2
    assert pair_seed(0, "", 0) == 6529962608691264647


@pytest.mark.parametrize("key", [(0, "aa", 0), (2**63 - 1, "f" * 64, 10**6)])
def test_the_seed_is_one_that_torch_takes(key: tuple[int, str, int]) -> None:
    assert 0 <= pair_seed(*key) < 2**63
    torch.Generator().manual_seed(pair_seed(*key))


def test_noise_does_not_depend_on_the_global_random_state_and_leaves_it_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = pair_noise((3, 8, 8), 5, "aa", 0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(pair_noise((3, 8, 8), 5, "aa", 0), first)


def test_noise_is_standard_normal() -> None:
    noise = pair_noise((3, 256, 256), 0, "aa", 0)
    assert noise.dtype == torch.float32 and noise.shape == (3, 256, 256)
    assert abs(float(noise.mean())) < 0.01 and abs(float(noise.std()) - 1) < 0.01
    assert abs(float((noise.abs() < 1).float().mean()) - 0.6827) < 0.01
