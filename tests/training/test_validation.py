import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from dda.faces.preparation import PreparedFace
from dda.models.compact.pipeline import CompactPipeline
from dda.training.seed_pairs import SeedPair
from dda.training.validation import mean_psnr, paint_pair


@pytest.fixture(scope="module")
def pairs(portraits: list[PreparedFace]) -> list[SeedPair]:
    return [SeedPair(face.source, face.source, face.regions, style) for style, face in enumerate(portraits)]


def test_psnr_is_measured_inside_the_oval(pairs: list[SeedPair]) -> None:
    random = np.random.default_rng(0)
    noisy = [(pair.target + random.normal(0, 6, pair.target.shape)).clip(0, 255).astype(np.uint8) for pair in pairs]
    inside = [pair.regions.oval > 0.5 for pair in pairs]
    expected = [
        peak_signal_noise_ratio(pair.target[oval], picture[oval], data_range=255)
        for pair, picture, oval in zip(pairs, noisy, inside, strict=True)
    ]
    assert mean_psnr(noisy, pairs) == pytest.approx(np.mean(expected), abs=1e-6)
    assert 29 < mean_psnr(noisy, pairs) < 36


def test_psnr_does_not_depend_on_pixels_outside_the_face(pairs: list[SeedPair]) -> None:
    elsewhere = [pair.target.copy() for pair in pairs]
    for picture in elsewhere:
        picture[:, :20] = 0
    assert mean_psnr(elsewhere, pairs) == 100.0  # as high as it goes: equal inside


def test_painting_uses_the_style_of_each_pair_and_leaves_the_background(
    tiny: CompactPipeline, pairs: list[SeedPair]
) -> None:
    first, second = (paint_pair(tiny, pair, tiny.styles[pair.style], seed=0) for pair in pairs)
    for picture, pair in ((first, pairs[0]), (second, pairs[1])):
        background = pair.regions.total_mask == 0
        assert np.array_equal(picture[background], pair.source[background])
        assert not np.array_equal(picture, pair.source)
    assert not np.array_equal(paint_pair(tiny, pairs[0], tiny.styles[3], seed=0), first)
    assert np.array_equal(paint_pair(tiny, pairs[0], tiny.styles[0], seed=0), first)
