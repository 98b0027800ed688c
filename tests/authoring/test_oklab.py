import numpy as np

from dda.authoring.oklab import oklab_to_srgb, srgb_to_oklab


def test_oklab_returns_every_gray_and_a_grid_of_colors_exactly() -> None:
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 3)
    grays = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    for colors in (grid, grays):
        assert np.array_equal(oklab_to_srgb(srgb_to_oklab(colors)), colors)


def test_oklab_of_known_colors() -> None:
    lab = srgb_to_oklab(np.array([[255, 255, 255], [255, 0, 0]], np.uint8))
    assert np.allclose(lab, [[1, 0, 0], [0.62796, 0.22486, 0.12585]], atol=1e-4)
