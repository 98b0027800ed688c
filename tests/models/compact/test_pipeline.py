import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from torch.nn import functional as F

from dda.errors import OptionError
from dda.faces.alignment import CANONICAL_POINTS, CROP_SIZE
from dda.faces.face_mesh import MeshFace
from dda.faces.preparation import PreparedFace
from dda.images import to_tensor
from dda.models.compact.network import CompactResidualModel
from dda.models.compact.pipeline import CompactPipeline, compute_crop_matrix, make_fade_window
from dda.regions import REGIONS
from dda.styles import Style


def style(base: str = "Natural makeup", **regions: str) -> Style:
    """A style at full strength, with other styles in some regions."""
    return Style("any", dict.fromkeys(REGIONS, base) | regions, dict.fromkeys(REGIONS, 1.0))


def residuals(pipeline: CompactPipeline, faces: list[PreparedFace], styles: list[Style], seed: int = 0) -> torch.Tensor:
    """R_m of faces in one style each; face i has the noise of ``seed + i``."""
    source = torch.stack([to_tensor(face.source) for face in faces])
    masks = torch.stack([torch.from_numpy(face.regions.masks) for face in faces])
    shape = pipeline.noise_shape
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(seed + i)) for i in range(len(faces))]
    encoded = pipeline.encode_faces(source, masks, [face.regions.face for face in faces], torch.stack(noise))
    return pipeline.residuals(encoded, range(len(faces)), styles).makeup


def makeup(
    pipeline: CompactPipeline, source: torch.Tensor, masks: torch.Tensor, face: MeshFace, noise: torch.Tensor
) -> torch.Tensor:
    """R_m (1, 3, H, H) of one picture."""
    return pipeline.residuals(pipeline.encode_faces(source, masks, [face], noise), [0], [style()]).makeup


def test_the_crop_has_eyes_and_mouth_at_the_canonical_points(portraits: list[PreparedFace]) -> None:
    for portrait in portraits:
        face = portrait.regions.face
        points = np.stack([*face.eye_centers, np.mean(face.mouth_corners, axis=0)])
        canonical = np.array(CANONICAL_POINTS) * CROP_SIZE
        matrix = compute_crop_matrix(face, canonical)
        assert np.abs(canonical @ matrix[:, :2].T + matrix[:, 2] - points).max() < 12


def test_neighbors_in_a_batch_change_nothing(tiny: CompactPipeline, portraits: list[PreparedFace]) -> None:
    first, second = portraits
    alone = residuals(tiny, [first] * 4, [style()] * 4)[0]
    with_neighbors = residuals(tiny, [first, second, second, first], [style(), *[style("Smokey eyes")] * 3])[0]
    assert torch.equal(alone, with_neighbors)


def test_batch_sizes_one_and_eight_differ_by_rounding(tiny: CompactPipeline, portraits: list[PreparedFace]) -> None:
    one = residuals(tiny, portraits[:1], [style()])[0]
    eight = residuals(tiny, portraits[:1] * 8, [style()] * 8)[0]
    assert float((one - eight).abs().max()) < 1e-4


def test_the_residual_has_the_size_of_the_picture_and_is_0_outside_the_crop(
    tiny: CompactPipeline, portraits: list[PreparedFace]
) -> None:
    residual = residuals(tiny, portraits[:1], [style()])[0]
    assert residual.shape == (3, 512, 512)
    unit = np.array([[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])
    corners = compute_crop_matrix(portraits[0].regions.face, np.array(CANONICAL_POINTS)) @ unit
    (x0, y0), (x1, y1) = np.floor(corners.min(1)).astype(int) - 1, np.ceil(corners.max(1)).astype(int) + 1
    assert 0 < x0 < x1 < 512
    assert not residual[:, :, :x0].any() and not residual[:, :, x1:].any() and not residual[:, :y0].any()
    assert float(residual[:, y0 + 9 : y1 - 9, x0 + 9 : x1 - 9].abs().mean()) > 0.01


def test_a_residual_fades_to_0_at_the_border_of_the_crop(tiny: CompactPipeline, portraits: list[PreparedFace]) -> None:
    """The skin of a turned face goes on beyond the crop: without the fade an edge would show."""
    window = make_fade_window(200)
    assert torch.equal(window, window.T) and torch.equal(window, window.flip(0))
    assert torch.equal(window[12:-12, 12:-12], torch.ones(176, 176))
    assert float(window[0].max()) < 0.01 and float(window.diff().abs().max()) < 0.15
    face = portraits[0]
    residual = residuals(tiny, [face], [style()])[0].abs().sum(0).numpy()
    top = compute_crop_matrix(face.regions.face, np.array(CANONICAL_POINTS)) @ [0.5, 0.003, 1]
    x, y = top.round().astype(int)
    assert 0 < residual[y, x - 60 : x + 60].max() < 0.1 * residual[y + 40 : y + 60, x - 60 : x + 60].max()


def test_the_crops_are_those_of_the_models_configuration(portraits: list[PreparedFace]) -> None:
    face = portraits[0]
    source, masks = to_tensor(face.source)[None], torch.from_numpy(face.regions.masks)[None]

    def crop(size: int, shift: float) -> torch.Tensor:
        points = tuple((x, y + shift) for x, y in CANONICAL_POINTS)
        model = CompactResidualModel(crop_size=size, crop_points=points, channels=(8, 8))
        pipeline = CompactPipeline(model, 1, torch.device("cpu"))
        return pipeline.encode_faces(source, masks, [face.regions.face], torch.zeros(1, 3, size, size)).source

    large, small, lower = crop(256, 0), crop(128, 0), crop(256, 16 / 256)
    assert float((F.avg_pool2d(large, 2) - small).abs().mean()) < 0.01
    assert torch.allclose(lower[:, :, 16:], large[:, :, :-16], atol=0.01)


def test_the_residual_moves_with_the_face(tiny: CompactPipeline, portraits: list[PreparedFace]) -> None:
    face = portraits[0]
    source, masks = to_tensor(face.source)[None], torch.from_numpy(face.regions.masks)[None]
    noise = torch.randn(1, *tiny.noise_shape, generator=torch.Generator().manual_seed(0))
    still = makeup(tiny, source, masks, face.regions.face, noise)
    moved_face = MeshFace(face.regions.face.landmarks + np.array([9, -6, 0], np.float32), 1.0)
    shift = {"shifts": (-6, 9), "dims": (2, 3)}
    moved = makeup(tiny, source.roll(**shift), masks.roll(**shift), moved_face, noise)
    assert torch.allclose(moved[..., 100:400, 100:400], still.roll(**shift)[..., 100:400, 100:400], atol=2e-3)


@pytest.mark.parametrize("region", REGIONS)
def test_another_style_in_one_region_changes_that_region(
    region: str, tiny: CompactPipeline, portraits: list[PreparedFace]
) -> None:
    """The receptive field reaches beyond the mask, so the change fades out instead of ending at the mask's edge."""
    face = portraits[0]
    plain = residuals(tiny, [face], [style()])
    mixed = residuals(tiny, [face], [style(**{region: "Red lip makeup"})])
    change = (plain - mixed).abs().sum(1)[0].numpy()
    is_inside, is_far = face.regions[region] > 0.5, distance_transform_edt(face.regions[region] == 0) > 16
    assert change[is_inside].mean() > 0.003
    assert change[is_inside].mean() > 6 * change[is_far].mean()


def test_the_same_style_in_all_regions_is_that_style(tiny: CompactPipeline, portraits: list[PreparedFace]) -> None:
    whole = residuals(tiny, portraits[:1], [style("Smokey eyes")])
    by_region = residuals(tiny, portraits[:1], [style(**dict.fromkeys(REGIONS, "Smokey eyes"))])
    assert torch.equal(whole, by_region)
    assert not torch.equal(whole, residuals(tiny, portraits[:1], [style("Natural makeup")]))


def test_more_steps_give_another_residual(tiny: CompactPipeline, portraits: list[PreparedFace]) -> None:
    three = CompactPipeline(tiny.model, 3, tiny.device)
    assert not torch.allclose(
        residuals(three, portraits[:1], [style()]), residuals(tiny, portraits[:1], [style()]), atol=1e-3
    )


def test_a_style_that_the_model_was_not_trained_on_is_refused(tiny: CompactPipeline) -> None:
    tiny.check_styles([style(), style("Smokey eyes", lips="Red lip makeup")])
    with pytest.raises(OptionError, match=r"^style=Grunge: must be one of Natural makeup, "):
        tiny.check_styles([style(lips="Grunge")])
