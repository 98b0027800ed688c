"""`run_train.py` on two pairs and a tiny compact model."""

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

from dda.images import read_image
from dda.models.compact.checkpoint import WEIGHTS_NAME, load_compact_model
from dda.pairs.manifest import read_rows

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
    """The folder of an undisturbed training. Not to be changed."""
    outputs = tmp_path_factory.mktemp("trained")
    run_here("run_train.py", *task, f"paths.outputs={outputs}", "run_name=run")
    return outputs / "train" / "run"


def weights(run: Path) -> bytes:
    return (run / "checkpoint" / WEIGHTS_NAME).read_bytes()


def refused(caught: pytest.ExceptionInfo[SystemExit]) -> str:
    message = caught.value.code
    assert isinstance(message, str) and message.startswith("dda: ") and "\n" not in message
    return message


# --- The checkpoint -----------------------------------------------------------------------------------


def test_a_checkpoint_is_a_diffusers_folder_with_a_card(trained: Path, tiny_checkpoint: Path) -> None:
    checkpoint = trained / "checkpoint"
    assert {file.name for file in checkpoint.iterdir()} == {"config.json", "README.md", WEIGHTS_NAME}
    model = load_compact_model(checkpoint)
    assert list(model.config.styles) == ["Tinted lips"]
    start = load_compact_model(tiny_checkpoint)
    assert model.config.channels == start.config.channels
    moved = [
        not torch.equal(value, start.state_dict()[name])
        for name, value in model.unet.state_dict(prefix="unet.").items()
    ]
    assert np.mean(moved) > 0.9


def test_the_checkpoint_holds_the_averaged_weights(task: list[str], tmp_path: Path, run_here: RunHere) -> None:
    """Two trainings that differ in the averaging alone have the same weights, but not the same averaged ones."""
    for ema in (0.0, 0.5):
        where = [f"paths.outputs={tmp_path}", f"run_name=ema{ema:g}", f"train.ema={ema:g}"]
        run_here("run_train.py", *task, *where, "train.updates=3")
    runs = [tmp_path / "train" / name for name in ("ema0", "ema0.5")]
    live = [torch.load(run / "state.pt", weights_only=True)["model"] for run in runs]
    assert all(torch.equal(value, live[1][name]) for name, value in live[0].items())
    kept = [load_file(run / "checkpoint" / WEIGHTS_NAME) for run in runs]
    assert all(torch.equal(value, live[0][name].half()) for name, value in kept[0].items())
    assert not torch.equal(kept[1]["unet.conv_in.weight"], kept[0]["unet.conv_in.weight"])


@pytest.mark.parametrize("key", ["lip_normalization", "patch_mix"])
def test_styles_of_few_faces_are_normalized_and_mixed_up_to_the_number_given(
    key: str, task: list[str], pairs_root: Path, tmp_path: Path, run_here: RunHere
) -> None:
    """Of two faces one is painted half as strongly: they are changed if the option allows two faces."""
    uneven = tmp_path / "uneven" / "Tinted lips"
    shutil.copytree(pairs_root / "Tinted lips", uneven)
    source, target = (Image.open(uneven / side / "mirrored.png") for side in ("source", "target"))
    Image.blend(source, target, 0.5).save(uneven / "target" / "mirrored.png")
    for few in (0, 1, 2):
        where = [f"data.root={uneven.parent}", f"paths.outputs={tmp_path}", f"run_name=few{few}"]
        run_here("run_train.py", *task, *where, f"train.{key}={few}", "train.updates=2")
    off, one, two = (weights(tmp_path / "train" / f"few{few}") for few in (0, 1, 2))
    assert off == one != two


def test_the_model_card_records_how_it_was_trained(trained: Path) -> None:
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


def test_the_trained_style_amplifies(trained: Path, tmp_path: Path, run_here: RunHere) -> None:
    arguments = [f"model.checkpoint={trained}/checkpoint", "style_set=checkpoint", f"paths.outputs={tmp_path}"]
    run_here("run_amplify.py", *arguments, "run_name=run", "batch_size=2")
    rows = read_rows(tmp_path / "amplify" / "run")
    assert [(row.status, row.style) for row in rows] == [("ok", "Tinted lips")] * 2


def test_training_raises_the_psnr(
    task: list[str], tmp_path: Path, run_here: RunHere, capsys: pytest.CaptureFixture[str]
) -> None:
    def psnr(updates: int) -> float:
        where = [f"paths.outputs={tmp_path}", f"run_name=u{updates}", f"train.updates={updates}"]
        run_here("run_train.py", *task, *where, "train.learning_rate=5e-3", "train.ema=0.5")
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("seed PSNR, dB")]
        return float(line.split(":")[1])

    assert psnr(20) > psnr(1) + 3


# --- Resuming ------------------------------------------------------------------------------


def test_a_killed_training_resumes_to_the_same_weights(
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
    printed = capsys.readouterr().out
    assert "2 seed pairs in 1 style; resuming after update" in printed and "seed PSNR" in printed
    assert weights(run) == weights(trained)
    assert (run / "checkpoint" / "README.md").read_bytes() == (trained / "checkpoint" / "README.md").read_bytes()


def test_a_finished_training_started_again_keeps_its_weights(
    task: list[str], trained: Path, tmp_path: Path, run_here: RunHere, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "train" / "run"))
    run_here("run_train.py", *task, f"paths.outputs={tmp_path}", "run_name=latest")
    assert weights(run) == weights(trained)
    assert f"resuming after update {UPDATES}" in capsys.readouterr().out


def test_the_state_after_the_last_update_is_saved(task: list[str], tmp_path: Path, run_here: RunHere) -> None:
    run_here("run_train.py", *task, "train.updates=4", f"paths.outputs={tmp_path}", "run_name=run")
    assert torch.load(tmp_path / "train" / "run" / "state.pt", weights_only=True)["update"] == 4


def test_another_seed_gives_other_weights(task: list[str], trained: Path, tmp_path: Path, run_here: RunHere) -> None:
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


def test_a_diverging_training_is_an_error_and_leaves_no_checkpoint(
    task: list[str], tmp_path: Path, run_here: RunHere
) -> None:
    rate = ["train.learning_rate=1e30", "train.checkpoint_every=1000", f"paths.outputs={tmp_path}", "run_name=run"]
    with pytest.raises(
        SystemExit, match=r"train.learning_rate=1e\+30: the loss is not finite after \d+ updates"
    ) as caught:
        run_here("run_train.py", *task, *rate)
    refused(caught)
    assert not (tmp_path / "train" / "run" / "checkpoint").exists()


# --- Held-out pairs -------------------------------------------------------------------------------------


def test_held_out_pairs_are_measured(
    task: list[str], pairs_root: Path, tmp_path: Path, run_here: RunHere, capsys: pytest.CaptureFixture[str]
) -> None:
    """A single style matches a single held-out style of any name."""
    shutil.copytree(pairs_root / "Tinted lips", tmp_path / "held")
    run_here(
        "run_train.py", *task, "train.updates=2", "train.grid_every=1", f"data.holdout={tmp_path}/held",
        f"paths.outputs={tmp_path}", "run_name=run",
    )  # fmt: skip
    printed = capsys.readouterr().out
    assert "held-out PSNR, dB: " in printed and "held-out PSNR of the untouched source, dB: " in printed
    assert "held-out PSNR" in (tmp_path / "train" / "run" / "checkpoint" / "README.md").read_text(encoding="utf-8")


# --- Errors of the user -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["data.root={tmp}/none"], "data.root=.*none: must be a folder that exists"),
        (["data.root={tmp}/empty"], "data.root=.*empty: holds no pairs"),
        (["data.root={tmp}/faceless"], "no face found"),
        (["data.root={tmp}/lonely"], "in only one of source/ and target/"),
        (["train.updates=0"], "train.updates=0: must be at least 1"),
        (["train.morphs=null"], "train.morphs=None: must be a whole number"),
        (["train.rank=8"], "train.rank: belongs to model=sd15; what was chosen has no such setting"),
        (["model.checkpoint={tmp}/empty"], "a training starts from train.init=PATH"),
        (["tags=[]", "tags=[" + 70 * "x" + "]"], "tags=.*: must be words of 1 to 64 characters"),
        (["parser.labels=lapa"], "parser.labels: belongs to parser=farl; what was chosen has no such setting"),
        (["train.level=0"], "train.level: is called train.lip_normalization now"),
        (["train.collage=0"], "train.collage: is called train.patch_mix now"),
        (["train.batch_size=0"], "train.batch_size=0: must be between 1 and 1024"),
        (["train.learning_rate=-1"], "train.learning_rate=-1"),
        (["train.init={tmp}/empty"], "train.init=.*empty: no config.json in it"),
        (["trainer=sd15"], "trainer: this command has no such group to choose from; model=compact or model=sd15"),
        (["style_set=natural"], "style_set: this command has no such group to choose from; --help lists"),
        (["data.holdout={tmp}/empty"], "data.holdout=.*empty: holds no pairs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_is_one_line_and_leaves_no_file(
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


def test_two_styles_are_trained_together(pairs_root: Path, task: list[str], tmp_path: Path, run_here: RunHere) -> None:
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
    assert list(load_compact_model(tmp_path / "train" / "run" / "checkpoint").config.styles) == ["Bare", "Tinted lips"]


def test_the_compact_model_needs_the_landmarks_of_a_mesh(pairs_root: Path, tmp_path: Path, run_here: RunHere) -> None:
    with pytest.raises(SystemExit, match=r"parser=farl: model=compact is trained on the landmarks.*parser=mesh"):
        run_here("run_train.py", f"data.root={pairs_root}", f"paths.outputs={tmp_path}", "parser=farl")
