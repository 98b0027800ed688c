"""`run_train.py` as a user starts it, on two pairs and a tiny network."""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file

from dda.errors import UserError
from dda.faces.parsing.mesh import MeshParser
from dda.images import read_image
from dda.models.compact.checkpoint import WEIGHTS, load_compact
from dda.pairs.manifest import read_rows
from dda.stages.train import _held_out
from dda.training.compact.trainer import _first_model, _in_bf16
from dda.training.seed_pairs import AlignedPair, load_pairs
from dda.training.validation import Validator

Snapshot = Callable[[Path], dict[str, bytes | None]]
RunHere = Callable[..., None]
UPDATES = 24


@pytest.fixture(scope="module")
def task(pairs_root: Path, tiny_checkpoint: Path) -> list[str]:
    return [
        f"data.root={pairs_root}", f"train.init={tiny_checkpoint}", f"train.updates={UPDATES}", "train.batch_size=2",
        "train.morphs=2", "train.checkpoint_every=3", "train.grid_every=1000", "train.precision=fp32", "device=cpu",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def trained(task: list[str], tmp_path_factory: pytest.TempPathFactory, run_here: RunHere) -> Path:
    """The folder of a training that nothing happened to. Not to be changed."""
    outputs = tmp_path_factory.mktemp("trained")
    run_here("run_train.py", *task, f"paths.outputs={outputs}", "run_name=run")
    return outputs / "train" / "run"


def weights(run: Path) -> bytes:
    return (run / "checkpoint" / WEIGHTS).read_bytes()


def refused(caught: pytest.ExceptionInfo[SystemExit]) -> str:
    message = caught.value.code
    assert isinstance(message, str) and message.startswith("dda: ") and "\n" not in message
    return message


# --- What comes of it -----------------------------------------------------------------------------------


def test_a_checkpoint_is_a_diffusers_folder_with_a_card(trained: Path, tiny_checkpoint: Path) -> None:
    checkpoint = trained / "checkpoint"
    assert {file.name for file in checkpoint.iterdir()} == {"config.json", "README.md", WEIGHTS}
    model = load_compact(checkpoint)
    assert list(model.config.styles) == ["Tinted lips"]
    start = load_compact(tiny_checkpoint)
    assert model.config.channels == start.config.channels
    moved = [
        not torch.equal(value, start.state_dict()[name])
        for name, value in model.unet.state_dict(prefix="unet.").items()
    ]
    assert np.mean(moved) > 0.9


def test_the_checkpoint_holds_the_averaged_weights(task: list[str], tmp_path: Path, run_here: RunHere) -> None:
    """Two trainings that differ in the averaging alone have the same weights all along, but for those they keep."""
    for ema in (0.0, 0.5):
        where = [f"paths.outputs={tmp_path}", f"run_name=ema{ema:g}", f"train.ema={ema:g}"]
        run_here("run_train.py", *task, *where, "train.updates=3")
    runs = [tmp_path / "train" / name for name in ("ema0", "ema0.5")]
    live = [torch.load(run / "state.pt", weights_only=True)["model"] for run in runs]
    assert all(torch.equal(value, live[1][name]) for name, value in live[0].items())
    kept = [load_file(run / "checkpoint" / WEIGHTS) for run in runs]
    assert all(torch.equal(value, live[0][name].half()) for name, value in kept[0].items())
    assert not torch.equal(kept[1]["unet.conv_in.weight"], kept[0]["unet.conv_in.weight"])


@pytest.mark.parametrize("key", ["level", "collage"])
def test_few_faces_are_treated_as_few_unless_they_shall_not_be(
    key: str, task: list[str], pairs_root: Path, tmp_path: Path, run_here: RunHere
) -> None:
    """Two faces, of which one got half as much, are left as they are where only a lone one counts as few."""
    uneven = tmp_path / "uneven" / "Tinted lips"
    shutil.copytree(pairs_root / "Tinted lips", uneven)
    source, target = (Image.open(uneven / side / "mirrored.png") for side in ("source", "target"))
    Image.blend(source, target, 0.5).save(uneven / "target" / "mirrored.png")
    for few in (0, 1, 2):
        where = [f"data.root={uneven.parent}", f"paths.outputs={tmp_path}", f"run_name=few{few}"]
        run_here("run_train.py", *task, *where, f"train.{key}={few}", "train.updates=2")
    as_painted, alone, both = (weights(tmp_path / "train" / f"few{few}") for few in (0, 1, 2))
    assert as_painted == alone != both


def test_the_card_says_how_it_was_made(trained: Path) -> None:
    card = (trained / "checkpoint" / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\n") and card.count("---\n") == 2
    for fact in (
        "- Tinted lips",
        "2 in 1 styles",
        f"{UPDATES} of 2 pairs",
        "up to 10 faces",
        "- seed: 0",
        "- seed PSNR, dB: ",
    ):
        assert fact in card


def test_the_learnt_style_amplifies(trained: Path, tmp_path: Path, run_here: RunHere) -> None:
    arguments = [f"model.checkpoint={trained}/checkpoint", "style_set=checkpoint", f"paths.outputs={tmp_path}"]
    run_here("run_amplify.py", *arguments, "run_name=run", "batch_size=2")
    rows = read_rows(tmp_path / "amplify" / "run")
    assert [(row.status, row.style) for row in rows] == [("ok", "Tinted lips")] * 2


def test_training_brings_the_model_nearer_to_the_truth(
    task: list[str], tmp_path: Path, run_here: RunHere, capsys: pytest.CaptureFixture[str]
) -> None:
    def psnr(updates: int) -> float:
        where = [f"paths.outputs={tmp_path}", f"run_name=u{updates}", f"train.updates={updates}"]
        run_here("run_train.py", *task, *where, "train.learning_rate=5e-3", "train.ema=0.5")
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("seed PSNR, dB")]
        return float(line.split(":")[1])

    assert psnr(20) > psnr(1) + 3


# --- Stopping and going on ------------------------------------------------------------------------------


def test_a_killed_training_goes_on_to_the_same_weights(
    task: list[str], trained: Path, tmp_path: Path, start: Callable[..., subprocess.Popen[str]],
    run_here: RunHere, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    command = ["run_train.py", *task, f"paths.outputs={tmp_path}", "run_name=run"]
    run = tmp_path / "train" / "run"
    process = start(*command)
    deadline = time.monotonic() + 120
    while not (run / "state.pt").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not (run / "checkpoint").exists()

    run_here(*command)
    told = capsys.readouterr().out
    assert "2 seed pairs in 1 style; going on after update" in told and "seed PSNR" in told
    assert weights(run) == weights(trained)
    assert (run / "checkpoint" / "README.md").read_bytes() == (trained / "checkpoint" / "README.md").read_bytes()


def test_a_finished_training_started_again_keeps_its_weights(
    task: list[str], trained: Path, tmp_path: Path, run_here: RunHere, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "train" / "run"))
    run_here("run_train.py", *task, f"paths.outputs={tmp_path}", "run_name=latest")
    assert weights(run) == weights(trained)
    assert f"going on after update {UPDATES}" in capsys.readouterr().out


def test_the_last_update_is_a_point_to_resume_from(task: list[str], tmp_path: Path, run_here: RunHere) -> None:
    run_here("run_train.py", *task, "train.updates=4", f"paths.outputs={tmp_path}", "run_name=run")
    assert torch.load(tmp_path / "train" / "run" / "state.pt", weights_only=True)["update"] == 4


def test_another_seed_is_another_training(task: list[str], trained: Path, tmp_path: Path, run_here: RunHere) -> None:
    run_here("run_train.py", *task, f"paths.outputs={tmp_path}", "run_name=run", "seed=1")
    assert weights(tmp_path / "train" / "run") != weights(trained)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("seed=1", "seed: is 1 now"),
        ("train.updates=30", "train.updates"),
        ("train.batch_size=3", "train.batch_size"),
        ("train.precision=bf16", 'train.precision: is "bf16" now'),
        ("train.init=scratch", "train.init"),
        ("data.root={tmp}/one", "data.root"),
    ],
)
def test_a_resume_with_other_settings_is_refused_and_leaves_the_folder_as_it_was(
    change: str, key: str, task: list[str], trained: Path, pairs_root: Path, tmp_path: Path, run_here: RunHere,
    snapshot: Snapshot,
) -> None:  # fmt: skip
    run = Path(shutil.copytree(trained, tmp_path / "train" / "run"))
    shutil.copytree(pairs_root, tmp_path / "one")
    for side in ("source", "target"):
        (tmp_path / "one" / "Tinted lips" / side / "plain.png").unlink()
    before = snapshot(run)
    with pytest.raises(SystemExit, match=key) as caught:
        run_here("run_train.py", *task, change.format(tmp=tmp_path), f"paths.outputs={tmp_path}", "run_name=run")
    assert "was begun with" in refused(caught)
    assert snapshot(run) == before


def test_a_training_that_diverges_says_so_and_leaves_no_checkpoint(
    task: list[str], tmp_path: Path, run_here: RunHere
) -> None:
    rate = ["train.learning_rate=1e30", "train.checkpoint_every=1000", f"paths.outputs={tmp_path}", "run_name=run"]
    with pytest.raises(
        SystemExit, match=r"train.learning_rate=1e\+30: the loss is not finite after \d+ updates"
    ) as caught:
        run_here("run_train.py", *task, *rate)
    refused(caught)
    assert not (tmp_path / "train" / "run" / "checkpoint").exists()


def test_a_look_that_wants_too_much_memory_costs_no_updates(
    task: list[str], tmp_path: Path, run_here: RunHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Validator, "look", look)
    with pytest.raises(SystemExit, match="has not the memory") as caught:
        run_here("run_train.py", *task, "train.grid_every=3", f"paths.outputs={tmp_path}", "run_name=run")
    refused(caught)
    assert torch.load(tmp_path / "train" / "run" / "state.pt", weights_only=True)["update"] == 3


# --- Held-out pairs -------------------------------------------------------------------------------------


def test_held_out_pairs_are_measured(
    task: list[str], pairs_root: Path, tmp_path: Path, run_here: RunHere, capsys: pytest.CaptureFixture[str]
) -> None:
    """A single style is held out under any name."""
    shutil.copytree(pairs_root / "Tinted lips", tmp_path / "held")
    run_here(
        "run_train.py", *task, "train.updates=2", "train.grid_every=1", f"data.holdout={tmp_path}/held",
        f"paths.outputs={tmp_path}", "run_name=run",
    )  # fmt: skip
    told = capsys.readouterr().out
    assert "held-out PSNR, dB: " in told and "held-out PSNR of the untouched source, dB: " in told
    assert "held-out PSNR" in (tmp_path / "train" / "run" / "checkpoint" / "README.md").read_text(encoding="utf-8")


def test_held_out_styles_are_numbered_as_the_trained_ones(pairs_root: Path, parser: MeshParser) -> None:
    pairs = list(load_pairs(pairs_root, parser)[1])
    held = [AlignedPair(pair.source, pair.target, pair.regions, style) for style, pair in enumerate(pairs)]
    renumbered = _held_out(["A", "B", "C"], ["C", "A"], held)
    assert [pair.style for pair in renumbered] == [2, 0]
    with pytest.raises(UserError, match=r"data\.holdout: its style D is not in data.root, whose styles are A, B, C"):
        _held_out(["A", "B", "C"], ["D"], held)


# --- Where it starts ------------------------------------------------------------------------------------


def test_a_known_style_keeps_its_condition_and_a_new_one_starts_from_the_mean(tiny_checkpoint: Path) -> None:
    known = load_compact(tiny_checkpoint)
    model = _first_model(str(tiny_checkpoint), ["은은한", "Smokey eyes"])
    conditions = load_file(tiny_checkpoint / WEIGHTS)["fgmm.styles"]
    assert list(model.config.styles) == ["은은한", "Smokey eyes"]
    assert torch.allclose(model.fgmm.styles[0], conditions.mean(0))
    assert torch.equal(model.fgmm.styles[1], conditions[list(known.config.styles).index("Smokey eyes")])
    for name, value in model.unet.state_dict().items():
        assert torch.equal(value, known.unet.state_dict()[name])


def test_from_scratch_nothing_is_taken_over() -> None:
    torch.manual_seed(0)
    first = _first_model("scratch", ["A"])
    torch.manual_seed(1)
    assert not torch.equal(first.unet.conv_in.weight, _first_model("scratch", ["A"]).unet.conv_in.weight)


def test_the_precision_asked_for_is_used() -> None:
    cpu = torch.device("cpu")
    assert _in_bf16("bf16", cpu) and not _in_bf16("fp32", cpu)
    assert _in_bf16("auto", cpu) == ("avx512_bf16" in Path("/proc/cpuinfo").read_text())


# --- Mistakes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["data.root={tmp}/none"], "data.root=.*none: must be a folder that exists"),
        (["data.root={tmp}/empty"], "data.root=.*empty holds no pairs"),
        (["data.root={tmp}/faceless"], "no face found"),
        (["data.root={tmp}/lonely"], "in only one of source/ and target/"),
        (["train.updates=0"], "train.updates=0: must be at least 1"),
        (["train.morphs=null"], "train.morphs: must be given for model=compact"),
        (["train.rank=8"], "train.rank=8: model=compact has no such setting; it belongs to model=sd15"),
        (["model.checkpoint={tmp}/empty"], "a training starts from train.init=PATH"),
        (["tags=[]", "tags=[" + 70 * "x" + "]"], "tags=.*: must be words of 1 to 64 characters"),
        (["parser.labels=lapa"], "parser.labels=lapa: parser=mesh has no such setting"),
        (["train.batch_size=0"], "train.batch_size=0: must be between 1 and 1024"),
        (["train.learning_rate=-1"], "train.learning_rate=-1"),
        (["train.init={tmp}/empty"], "train.init=.*empty: no config.json in it"),
        (["trainer=sd15"], "trainer: this command has no such group to choose from; model=compact or model=sd15"),
        (["style_set=natural"], "style_set: this command has no such group to choose from; --help lists"),
        (["data.holdout={tmp}/empty"], "data.holdout=.*empty holds no pairs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(
    arguments: list[str], says: str, task: list[str], pairs_root: Path, tmp_path: Path, run_here: RunHere
) -> None:
    (tmp_path / "empty").mkdir()
    shutil.copytree(pairs_root, tmp_path / "lonely")
    (tmp_path / "lonely" / "Tinted lips" / "target" / "plain.png").unlink()
    shutil.copytree(pairs_root, tmp_path / "faceless")
    for side in ("source", "target"):
        Image.new("RGB", (512, 512), "gray").save(tmp_path / "faceless" / "Tinted lips" / side / "plain.png")
    given = [argument.format(tmp=tmp_path) for argument in arguments]
    with pytest.raises(SystemExit, match=says) as caught:
        run_here("run_train.py", *task, *given, f"paths.outputs={tmp_path}/out")
    refused(caught)
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_pairs_of_another_style_do_not_disturb(
    pairs_root: Path, task: list[str], tmp_path: Path, run_here: RunHere
) -> None:
    """Two styles in one training; each keeps its own name."""
    shutil.copytree(pairs_root, tmp_path / "two")
    for side in ("source", "target"):
        (tmp_path / "two" / "Bare" / side).mkdir(parents=True)
        picture = Image.fromarray(read_image(pairs_root / "Tinted lips" / "source" / "plain.png"))
        ImageOps.mirror(picture).save(tmp_path / "two" / "Bare" / side / "a.png")
    run_here(
        "run_train.py",
        *task,
        f"data.root={tmp_path}/two",
        "train.updates=2",
        f"paths.outputs={tmp_path}",
        "run_name=run",
    )
    assert list(load_compact(tmp_path / "train" / "run" / "checkpoint").config.styles) == ["Bare", "Tinted lips"]


def test_the_compact_model_needs_the_landmarks_of_a_mesh(pairs_root: Path, tmp_path: Path, run_here: RunHere) -> None:
    with pytest.raises(SystemExit, match=r"parser=farl: model=compact is trained on the landmarks.*parser=mesh"):
        run_here("run_train.py", f"data.root={pairs_root}", f"paths.outputs={tmp_path}", "parser=farl")
