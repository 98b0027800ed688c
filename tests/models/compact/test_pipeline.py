from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.ndimage import distance_transform_edt
from torch.nn import functional as F

from dda.faces.alignment import CANONICAL_POINTS, CROP_SIZE
from dda.faces.face_mesh import MeshFace
from dda.faces.preparation import PreparedFace
from dda.images import to_tensor
from dda.models.compact.network import RESIDUAL_SCALE, CompactResidualModel, make_scheduler, sample_residual
from dda.models.compact.pipeline import CompactPipeline, crop_matrix, fade
from dda.regions import REGIONS
from dda.styles import Style

STYLE_IDS = torch.tensor([[0, 0, 0, 0]])


@pytest.fixture(scope="module")
def model() -> CompactResidualModel:
    torch.manual_seed(0)
    model = CompactResidualModel(styles=("A", "B", "C"), crop_size=64, channels=(16, 16), style_dim=4)
    return model.eval().requires_grad_(False)


@pytest.fixture
def crops() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise, source and masks of three crops."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(3, 3, 64, 64, generator=generator)
    return noise, torch.rand(3, 3, 64, 64, generator=generator), torch.rand(3, 4, 64, 64, generator=generator) / 4


def style(base: str = "Natural makeup", **regions: str) -> Style:
    return Style("any", dict.fromkeys(REGIONS, base) | regions, dict.fromkeys(REGIONS, 1.0))


def residuals(
    amplifier: CompactPipeline, faces: list[PreparedFace], styles: list[Style], seed: int = 0
) -> torch.Tensor:
    """R_m of faces; face i has the noise of ``seed + i``."""
    source = torch.stack([to_tensor(face.source) for face in faces])
    masks = torch.stack([torch.from_numpy(face.regions.masks) for face in faces])
    shape = amplifier.noise_shape
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(seed + i)) for i in range(len(faces))]
    shared = amplifier.encode_faces(source, masks, [face.regions.face for face in faces], torch.stack(noise))
    return amplifier.residuals(shared, range(len(faces)), styles).makeup


def makeup(
    amplifier: CompactPipeline, source: torch.Tensor, masks: torch.Tensor, face: MeshFace, noise: torch.Tensor
) -> torch.Tensor:
    """R_m (1, 3, H, H) of one picture."""
    return amplifier.residuals(amplifier.encode_faces(source, masks, [face], noise), [0], [style()]).makeup


# --- The network ----------------------------------------------------------------------------------------


def test_a_saved_model_is_the_same_model(
    model: CompactResidualModel, crops: tuple[torch.Tensor, ...], tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"config.json", "diffusion_pytorch_model.safetensors"}
    assert load_file(tmp_path / "diffusion_pytorch_model.safetensors").keys() == model.state_dict().keys()
    loaded = CompactResidualModel.from_pretrained(tmp_path).eval()
    noise, source, masks = crops
    ids = STYLE_IDS.expand(3, -1)
    assert torch.equal(loaded(noise, 500, source, masks, ids), model(noise, 500, source, masks, ids))
    assert {**loaded.config}.items() >= {"crop_size": 64, "patch": 4, "style_dim": 4}.items()


def test_the_checkpoint_has_the_names_of_the_seed_format(model: CompactResidualModel) -> None:
    names = set(model.state_dict())
    assert {"alpha", "fgmm.styles", *(f"fgmm.weights.{region}_weight" for region in REGIONS)} <= names
    assert any(name.startswith("unet.") for name in names)


@pytest.mark.parametrize("part", ["noise", "timestep", "source", "masks", "style"])
def test_the_prediction_depends_on_every_input(
    part: str, model: CompactResidualModel, crops: tuple[torch.Tensor, ...]
) -> None:
    noise, source, masks = crops
    given = {"noise": noise, "timestep": 500, "source": source, "masks": masks, "style": STYLE_IDS.expand(3, -1)}
    before = model(*given.values())
    assert before.shape == noise.shape
    other = {"noise": noise.flip(0), "timestep": 10, "source": source.flip(0), "masks": masks.flip(0)}
    given[part] = other.get(part, torch.tensor([[0, 1, 0, 0]]).expand(3, -1))
    assert float((model(*given.values()) - before).abs().max()) > 1e-5


def test_gains_are_relative_to_the_initial_alpha() -> None:
    fresh = CompactResidualModel(styles=("A",), channels=(8, 8), style_dim=4)
    assert torch.equal(fresh.gains(), torch.ones(4))
    with torch.no_grad():
        fresh.alpha.fill_(0.75)
        fresh.fgmm.weights["lips_weight"].fill_(2.0)
    assert torch.allclose(fresh.gains(), torch.tensor([1.5, 3.0, 1.5, 1.5]))


# --- Sampling -------------------------------------------------------------------------------------------


def test_the_schedule_ends_in_pure_noise_and_one_step_starts_there() -> None:
    scheduler = make_scheduler()
    assert float(scheduler.alphas_cumprod[-1]) < 1e-6
    for steps in (1, 2, 10):
        scheduler.set_timesteps(steps)
        assert len(scheduler.timesteps) == steps and int(scheduler.timesteps[0]) == 999


def test_one_step_is_the_networks_answer_to_pure_noise(
    model: CompactResidualModel, crops: tuple[torch.Tensor, ...]
) -> None:
    noise, source, masks = crops
    ids = STYLE_IDS.expand(3, -1)
    expected = model(noise, 999, source, masks, ids) / RESIDUAL_SCALE
    assert torch.allclose(sample_residual(model, source, masks, ids, noise, 1), expected, atol=1e-5)


def test_two_steps_are_those_of_ddim(model: CompactResidualModel, crops: tuple[torch.Tensor, ...]) -> None:
    """x0 at 999, back to the noise level of 499 along the same noise, x0 there (Song et al. 2021, eta 0)."""
    noise, source, masks = crops
    ids = STYLE_IDS.expand(3, -1)
    level = make_scheduler().alphas_cumprod[499]
    first = model(noise, 999, source, masks, ids)
    between = level.sqrt() * first + (1 - level).sqrt() * noise
    expected = model(between, 499, source, masks, ids) / RESIDUAL_SCALE
    assert torch.allclose(sample_residual(model, source, masks, ids, noise, 2), expected, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 3, 6, 7, 15, 600])
def test_no_noise_is_left_whatever_the_number_of_steps(steps: int) -> None:
    """Of a network that knows the residual, which 6, 7, 15 or 600 steps, that do not divide 1000, used to blur."""
    truth, noise = torch.randn(2, 1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    sampled = sample_residual(lambda *_: truth, truth, truth, truth, noise, steps)  # type: ignore[arg-type]
    assert torch.allclose(sampled, truth / RESIDUAL_SCALE, atol=1e-6)


# --- The amplifier --------------------------------------------------------------------------------------


def test_the_crop_has_eyes_and_mouth_in_their_places(portraits: list[PreparedFace]) -> None:
    for portrait in portraits:
        face = portrait.regions.face
        points = np.stack([*face.eye_centers, np.mean(face.mouth_corners, axis=0)])
        places = np.array(CANONICAL_POINTS) * CROP_SIZE
        matrix = crop_matrix(face, places)
        assert np.abs(places @ matrix[:, :2].T + matrix[:, 2] - points).max() < 12


def test_neighbors_in_a_batch_change_nothing(tiny: CompactPipeline, portraits: list[PreparedFace]) -> None:
    first, second = portraits
    alone = residuals(tiny, [first] * 4, [style()] * 4)[0]
    among = residuals(tiny, [first, second, second, first], [style(), *[style("Smokey eyes")] * 3])[0]
    assert torch.equal(alone, among)


def test_a_batch_of_one_and_one_of_eight_differ_by_rounding(
    tiny: CompactPipeline, portraits: list[PreparedFace]
) -> None:
    one = residuals(tiny, portraits[:1], [style()])[0]
    eight = residuals(tiny, portraits[:1] * 8, [style()] * 8)[0]
    assert float((one - eight).abs().max()) < 1e-4


def test_the_residual_stays_inside_the_crop_and_has_the_pictures_size(
    tiny: CompactPipeline, portraits: list[PreparedFace]
) -> None:
    residual = residuals(tiny, portraits[:1], [style()])[0]
    assert residual.shape == (3, 512, 512)
    unit = np.array([[0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])
    corners = crop_matrix(portraits[0].regions.face, np.array(CANONICAL_POINTS)) @ unit
    (x0, y0), (x1, y1) = np.floor(corners.min(1)).astype(int) - 1, np.ceil(corners.max(1)).astype(int) + 1
    assert 0 < x0 < x1 < 512
    assert not residual[:, :, :x0].any() and not residual[:, :, x1:].any() and not residual[:, :y0].any()
    assert float(residual[:, y0 + 9 : y1 - 9, x0 + 9 : x1 - 9].abs().mean()) > 0.01


def test_a_residual_fades_towards_the_border_of_the_crop(tiny: CompactPipeline, portraits: list[PreparedFace]) -> None:
    """So a turned face, whose skin goes on beyond the crop, shows no edge there."""
    window = fade(200)
    assert torch.equal(window, window.T) and torch.equal(window, window.flip(0))
    assert torch.equal(window[12:-12, 12:-12], torch.ones(176, 176))
    assert float(window[0].max()) < 0.01 and float(window.diff().abs().max()) < 0.15
    face = portraits[0]
    residual = residuals(tiny, [face], [style()])[0].abs().sum(0).numpy()
    top = crop_matrix(face.regions.face, np.array(CANONICAL_POINTS)) @ [0.5, 0.003, 1]
    x, y = top.round().astype(int)
    assert 0 < residual[y, x - 60 : x + 60].max() < 0.1 * residual[y + 40 : y + 60, x - 60 : x + 60].max()


def test_a_checkpoint_says_how_its_crops_are_cut(portraits: list[PreparedFace]) -> None:
    face = portraits[0]
    source, masks = to_tensor(face.source)[None], torch.from_numpy(face.regions.masks)[None]

    def crop(size: int, shift: float) -> torch.Tensor:
        points = tuple((x, y + shift) for x, y in CANONICAL_POINTS)
        model = CompactResidualModel(crop_size=size, crop_points=points, channels=(8, 8))
        amplifier = CompactPipeline(model, 1, torch.device("cpu"))
        return amplifier.encode_faces(source, masks, [face.regions.face], torch.zeros(1, 3, size, size)).source

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
    """The network sees a little way around, so the change fades out instead of stopping at the mask's edge."""
    face = portraits[0]
    plain = residuals(tiny, [face], [style()])
    mixed = residuals(tiny, [face], [style(**{region: "Red lip makeup"})])
    change = (plain - mixed).abs().sum(1)[0].numpy()
    within, away = face.regions[region] > 0.5, distance_transform_edt(face.regions[region] == 0) > 16
    assert change[within].mean() > 0.003
    assert change[within].mean() > 6 * change[away].mean()


def test_a_mix_of_one_style_with_itself_is_that_style(tiny: CompactPipeline, portraits: list[PreparedFace]) -> None:
    whole = residuals(tiny, portraits[:1], [style("Smokey eyes")])
    pieces = residuals(tiny, portraits[:1], [style(**dict.fromkeys(REGIONS, "Smokey eyes"))])
    assert torch.equal(whole, pieces)
    assert not torch.equal(whole, residuals(tiny, portraits[:1], [style("Natural makeup")]))


def test_more_steps_are_other_pictures(tiny: CompactPipeline, portraits: list[PreparedFace]) -> None:
    three = CompactPipeline(tiny.model, 3, tiny.device)
    assert not torch.allclose(
        residuals(three, portraits[:1], [style()]), residuals(tiny, portraits[:1], [style()]), atol=1e-3
    )
