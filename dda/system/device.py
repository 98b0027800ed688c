"""The device that a model runs on."""

import torch


def pick_device(name: str) -> torch.device:
    """The device of ``device=auto|cpu|cuda|...``; auto is a GPU where there is one."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
