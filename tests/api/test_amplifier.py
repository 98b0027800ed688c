import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dda
from dda.api.amplifier import Amplifier
from dda.api.pair import Pair
from dda.errors import OptionError, SourceError
from dda.faces.parsing.mesh import MeshParser
from dda.images import read_image
from dda.models.compact.pipeline import CompactPipeline
from dda.regions import REGIONS
from tests.conftest import STYLES


@pytest.fixture(scope="module")
def amplifier(tiny: CompactPipeline, parser: MeshParser) -> Amplifier:
    return Amplifier(tiny, parser, STYLES, batch_size=2)


def targets(pairs: Sequence[Pair]) -> np.ndarray:
    return np.stack([np.asarray(pair.target) for pair in pairs]).astype(int)


def test_a_pair_is_a_face_and_the_same_face_with_makeup(amplifier: Amplifier, astronaut: np.ndarray) -> None:
    pair = amplifier(astronaut, style="Red lip makeup")
    source, target = np.asarray(pair.source), np.asarray(pair.target)
    total = sum(pair.masks.values())
    assert source.shape == target.shape == (512, 512, 3) and list(pair.masks) == list(REGIONS)
    assert np.array_equal(source[total == 0], target[total == 0]) and not np.array_equal(source, target)
    assert pair.style == "Red lip makeup" and len(pair.content_hash) == 64


@pytest.mark.parametrize("kind", ["path", "text", "PIL", "array", "uint8 tensor", "float tensor"])
def test_a_picture_may_come_in_any_form(kind: str, amplifier: Amplifier, astronaut: np.ndarray, tmp_path: Path) -> None:
    file = tmp_path / "얼굴 (1).png"
    Image.fromarray(astronaut).save(file)
    tensor = torch.from_numpy(astronaut.copy()).permute(2, 0, 1)
    forms = {
        "path": file, "text": str(file), "PIL": Image.fromarray(astronaut), "array": astronaut,
        "uint8 tensor": tensor, "float tensor": tensor.float() / 255,
    }  # fmt: skip
    expected = amplifier(astronaut, style="Smokey eyes")
    pair = amplifier(forms[kind], style="Smokey eyes")
    assert pair.content_hash == expected.content_hash and np.array_equal(pair.target, expected.target)


def test_a_pil_image_is_turned_and_converted_as_its_file_is(
    amplifier: Amplifier, astronaut: np.ndarray, tmp_path: Path
) -> None:
    """A photo on its side, with an orientation in its EXIF, and transparent."""
    sideways = Image.fromarray(np.rot90(astronaut).copy())
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways.save(tmp_path / "sideways.jpg", exif=exif, quality=95)
    file = amplifier(tmp_path / "sideways.jpg", style="Smokey eyes")
    with Image.open(io.BytesIO((tmp_path / "sideways.jpg").read_bytes())) as opened:
        assert amplifier(opened, style="Smokey eyes").content_hash == file.content_hash


def test_several_pictures_and_styles_are_an_iterable_with_a_length(
    amplifier: Amplifier, astronaut: np.ndarray, hopper: np.ndarray
) -> None:
    pairs = amplifier([astronaut, hopper], style=["Smokey eyes", "Korean makeup"])
    assert len(pairs) == 4
    made = [pair for pair in pairs if isinstance(pair, Pair)]
    assert [pair.style for pair in made] == ["Smokey eyes", "Korean makeup"] * 2
    assert made[0].content_hash == made[1].content_hash != made[2].content_hash
    assert np.array_equal(targets(made), targets([pair for pair in pairs if isinstance(pair, Pair)]))  # once more


def test_one_of_several_is_what_it_is_alone(amplifier: Amplifier, astronaut: np.ndarray, hopper: np.ndarray) -> None:
    (_, second) = amplifier([hopper, astronaut], style="Smokey eyes")
    assert isinstance(second, Pair)
    assert np.array_equal(second.target, amplifier(astronaut, style="Smokey eyes").target)


def test_a_mapping_paints_each_region_in_its_style_and_leaves_the_others_bare(
    amplifier: Amplifier, astronaut: np.ndarray
) -> None:
    lips = amplifier(astronaut, style={"lips": "Red lip makeup"})
    whole = amplifier(astronaut, style="Red lip makeup")
    change = np.abs(targets([lips])[0] - np.asarray(lips.source)).sum(-1)
    assert change[lips.masks["lips"] == 0].max() == 0 and change.max() > 0
    assert lips.style == {"lips": "Red lip makeup"} and not np.array_equal(lips.target, whole.target)


def test_strength_scales_all_or_a_region(amplifier: Amplifier, astronaut: np.ndarray) -> None:
    bare = amplifier(astronaut, style="Smokey eyes", strength=0)
    assert np.array_equal(bare.source, bare.target)
    eyes = amplifier(astronaut, style="Smokey eyes", strength={"lips": 0, "skin": 0, "brows": 0})
    assert np.array_equal(
        np.asarray(eyes.source)[eyes.masks["eyes"] == 0], np.asarray(eyes.target)[eyes.masks["eyes"] == 0]
    )
    assert not np.array_equal(eyes.source, eyes.target)


def test_another_seed_is_other_noise(amplifier: Amplifier, astronaut: np.ndarray) -> None:
    first, again, other = (amplifier(astronaut, style="Smokey eyes", seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.target, again.target) and not np.array_equal(first.target, other.target)


def test_the_pixels_are_those_of_the_command(
    undisturbed: Path, photos: Path, tiny_checkpoint: Path, parser: MeshParser
) -> None:
    """The run of the command line: batches of two, two steps, one style a face."""
    import pyarrow.parquet as pq

    amplifier = dda.Amplifier.from_pretrained(tiny_checkpoint, batch_size=2, steps=2, device="cpu")
    rows = pq.read_table(undisturbed / "manifest.parquet").to_pylist()
    assert len({row["style"] for row in rows}) == 5
    for row in rows:
        pair = amplifier(photos / row["path"], style=row["style"])
        assert np.array_equal(pair.source, read_image(undisturbed / row["source"]))
        assert np.array_equal(pair.target, read_image(undisturbed / row["target"]))


# --- What cannot be used ---------------------------------------------------------------------------------


def test_a_picture_that_cannot_be_used_raises_with_the_reason(amplifier: Amplifier, tmp_path: Path) -> None:
    (tmp_path / "letter.jpg").write_text("Dear reader")
    for picture, stage in ((np.zeros((300, 300, 3), np.uint8), "detect"), (tmp_path / "letter.jpg", "decode")):
        with pytest.raises(SourceError) as error:
            amplifier(picture, style="Smokey eyes")
        assert (error.value.status, error.value.stage) == ("rejected", stage) and error.value.reason
    with pytest.raises(SourceError, match="cannot be read") as missing:
        amplifier(tmp_path / "missing.jpg", style="Smokey eyes")
    assert missing.value.status == "failed"


def test_of_several_pictures_errors_are_raised_or_returned_in_their_places(
    amplifier: Amplifier, astronaut: np.ndarray
) -> None:
    pictures = [astronaut, np.zeros((300, 300, 3), np.uint8), astronaut]
    with pytest.raises(SourceError):
        list(amplifier(pictures, style="Smokey eyes"))
    results = list(amplifier(pictures, style="Smokey eyes", return_errors=True))
    assert [type(result) for result in results] == [Pair, SourceError, Pair]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"style": "Smoky eyes"}, "style=Smoky eyes: must be one of Natural makeup"),
        ({"style": {"nose": "Smokey eyes"}}, "style: there is no region nose; allowed: eyes, lips, skin, brows"),
        ({"style": {}}, "style: must name a style"),
        ({"style": "Smokey eyes", "strength": -1}, "strength=-1.0: must be a finite number, 0 or more"),
        ({"style": "Smokey eyes", "strength": {"nose": 1}}, "strength: there is no region nose"),
        ({"style": "Smokey eyes", "align": "eyes"}, "align=eyes: must be one of ffhq, none"),
        ({"style": "Smokey eyes", "faces": "all"}, "faces=all: must be one of largest, reject"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(
    arguments: dict[str, object], line: str, amplifier: Amplifier, astronaut: np.ndarray
) -> None:
    with pytest.raises(OptionError) as error:
        amplifier(astronaut, **arguments)  # type: ignore[arg-type]
    assert str(error.value).startswith(line)


@pytest.mark.parametrize(
    "picture",
    [np.zeros((64, 64), np.uint8), np.zeros((64, 64, 3)), torch.zeros(64, 64, 3), 2 * torch.ones(3, 64, 64), 7],
)
def test_an_array_of_another_shape_or_type_is_refused(picture: object, amplifier: Amplifier) -> None:
    with pytest.raises(OptionError, match=r"^images: "):
        list(amplifier([picture], style="Smokey eyes"))  # type: ignore[list-item]


# --- Where an amplifier comes from -----------------------------------------------------------------------


def test_the_shipped_weights_know_five_styles() -> None:
    assert sorted(dda.Amplifier.from_pretrained(batch_size=1).styles or []) == sorted(STYLES)


def test_a_training_run_and_its_checkpoint_are_the_same(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").symlink_to(tiny_checkpoint)
    assert dda.Amplifier.from_pretrained(tmp_path).styles == dda.Amplifier.from_pretrained(tiny_checkpoint).styles


def test_stable_diffusion_takes_any_style_as_a_prompt(tiny_sd: Path, astronaut: np.ndarray) -> None:
    amplifier = dda.Amplifier.from_pretrained(tiny_sd, steps=2, strength=0.5, batch_size=1, device="cpu")
    assert amplifier.styles is None
    pair = amplifier(astronaut, style="Green lips")
    total = sum(pair.masks.values())
    assert np.array_equal(np.asarray(pair.source)[total == 0], np.asarray(pair.target)[total == 0])
    with pytest.raises(OptionError, match=r"^prompt: "):
        amplifier(astronaut, style="lips " * 100)


@pytest.mark.parametrize(
    ("path", "options", "line"),
    [
        (None, {"stepz": 2}, "stepz: compact has no such option; did you mean steps? allowed: name, checkpoint, steps"),
        (None, {"steps": 0}, "steps=0: must be between 1 and 1000"),
        (None, {"parser": "dlib"}, "parser=dlib: must be one of mesh, farl"),
        ("no such/folder/at all", {}, "path_or_hub_id=no such/folder/at all: there is no such folder"),
        (".", {}, "checkpoint=.: no config.json in it"),
    ],
)
def test_what_cannot_be_loaded_is_named(path: str | None, options: dict[str, object], line: str) -> None:
    with pytest.raises(OptionError) as error:
        dda.Amplifier.from_pretrained(path, **options)  # type: ignore[arg-type]
    assert str(error.value).startswith(line)
