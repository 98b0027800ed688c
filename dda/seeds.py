"""Seeds: the noise of a pair depends on its own key and on nothing else."""

import hashlib

import torch


def pair_seed(root_seed: int, content_hash: str, attempt: int) -> int:
    """Return the 63-bit seed of one face's noise; never of the style, so that all styles of a face share it."""
    key = f"{root_seed}:{content_hash}:{attempt}".encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1


def pair_noise(shape: tuple[int, ...], root_seed: int, content_hash: str, attempt: int) -> torch.Tensor:
    """Draw standard normal noise of one pair, float32, on the CPU so that it is the same on every device."""
    generator = torch.Generator().manual_seed(pair_seed(root_seed, content_hash, attempt))
    return torch.randn(shape, generator=generator)
