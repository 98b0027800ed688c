"""The device that a model runs on."""

import torch


def pick_device(name: str) -> torch.device:
    """Return the device called ``name`` (cpu, cuda, cuda:1, mps ...); "auto" is a GPU if there is one, else the CPU."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
