"""The metrics by name: distances of two pictures, metrics of a pair, metrics of a set."""

from collections.abc import Callable

import torch

from dda.metrics.background import Background
from dda.metrics.consistency import Consistency
from dda.metrics.detail import DetailKept
from dda.metrics.edit_offset import EditOffset
from dda.metrics.eyeliner import Eyeliner
from dda.metrics.fid import Fid
from dda.metrics.identity import Identity
from dda.metrics.kid import Kid
from dda.metrics.leakage import Leakage
from dda.metrics.lpips import Lpips
from dda.metrics.metric import Distance, PairMetric, SetMetric
from dda.metrics.ms_ssim import MsSsim
from dda.metrics.psnr import Psnr
from dda.metrics.separability import Separability
from dda.metrics.skin_tone import SkinTone, SkinToneGaps
from dda.metrics.ssim import Ssim
from dda.metrics.st_lpips import StLpips
from dda.metrics.strength import Strength
from dda.metrics.structure import Structure

DISTANCES: dict[str, Callable[[torch.device], Distance]] = {
    "ssim": lambda device: Ssim(),
    "psnr": lambda device: Psnr(),
    "ms_ssim": lambda device: MsSsim(),
    "lpips": Lpips,
    "st_lpips": StLpips,
    "structure": lambda device: Structure(),
}
PAIR_METRICS: dict[str, Callable[[], PairMetric]] = {
    "strength": Strength,
    "leakage": Leakage,
    "background": Background,
    "detail": DetailKept,
    "eyeliner": Eyeliner,
    "edit_offset": EditOffset,
    "identity": Identity,
    "skin_tone": SkinTone,
}
SET_METRICS: dict[str, Callable[[], SetMetric]] = {
    "separability": Separability,
    "consistency": Consistency,
    "skin_tone": SkinToneGaps,
    "fid": Fid,
    "kid": Kid,
}
NAMES = tuple(dict.fromkeys((*DISTANCES, *PAIR_METRICS, *SET_METRICS)))

RENAMED = {"placement": "edit_offset"}
"""Metrics that had another name."""

ORACLE_DIRECTIONS = {"psnr": "higher", "ssim": "higher", "ms_ssim": "higher", "lpips": "lower", "st_lpips": "lower"}
"""The distances that are also taken to an oracle, and which of their ends is the near one."""

INCEPTION_METRICS = ("fid", "kid")
"""The set metrics that compare Inception's features."""

SILENT_SET_METRICS = ("skin_tone",)
"""Set metrics whose absence is no news: the skin tones of small sets are not compared."""
