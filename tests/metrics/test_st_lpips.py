import torch

from dda.metrics.metric import PairBatch
from dda.metrics.st_lpips import StLpips


def test_a_shift_by_a_pixel_costs_less_than_the_makeup(glamorous: PairBatch) -> None:
    distance = StLpips(torch.device("cpu"))
    source, target = (picture[:1, :, 150:342, 130:322] for picture in (glamorous.source, glamorous.target))
    moved = glamorous.source[:1, :, 150:342, 131:323]
    nothing, shift, makeup = (float(distance(source, other)) for other in (source, moved, target))
    assert nothing == 0 < shift < makeup
