"""`run_train.py model=sd15` on a tiny Stable Diffusion."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils.logging import disable_progress_bar
from safetensors.torch import load_file

from dda.errors import UserError
from dda.models.stable_diffusion.checkpoints.loader import apply_checkpoint
from dda.training.lora.base_model import load_base_model
from dda.training.lora.checkpoint import save_seed_format
from dda.training.state import TrainingState
from tests.conftest import ROOT

UPDATES = 50
WEIGHTS = "pytorch_lora_weights.safetensors"
Train = Callable[..., Path]


@pytest.fixture(scope="module")
def trained(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an undisturbed training. Not to be changed."""
    settings = [f"train.updates={UPDATES}", f"train.checkpoint_every={UPDATES}", "train.seed_format=true"]
    return train(tmp_path_factory.mktemp("trained"), *settings)


def read_metrics(run: Path) -> dict[str, float]:
    """The metrics in the model card."""
    card = (run / "checkpoint" / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^- (.*): ([-\d.e]+)$", card[card.index("## Evaluation") :], re.MULTILINE)
    return {name: float(value) for name, value in lines}


@torch.no_grad()
def predict(unet: UNet2DConditionModel, tokens: torch.Tensor) -> torch.Tensor:
    """The prediction of the U-Net for one noise, with each of the prompts."""
    generator = torch.Generator().manual_seed(3)
    noisy = torch.randn(1, 4, 8, 8, generator=generator).expand(len(tokens), -1, -1, -1)
    return unet.eval()(noisy, 400, tokens).sample


@pytest.fixture(scope="module")
def in_training(trained: Path, trained_sd: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings of the prompts, and the predictions of the averaged model in training."""
    disable_progress_bar()
    styles = json.loads((trained / "checkpoint" / "dda.json").read_text())["styles"]
    prompts = ("a photo of a face with {style}", "")
    base = load_base_model(str(trained_sd), *prompts, styles, 4, torch.device("cpu"), torch.float32)
    state = TrainingState.create(base.unet, UPDATES, 5e-3, 0.9, 0)
    state.load(trained / "state.pt")
    with state.averaged_weights():
        return base.prompt_embeds, predict(base.unet, base.prompt_embeds)


def plain_unet(trained_sd: Path) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(trained_sd, subfolder="unet")


# --- What is learned -------------------------------------------------------------------------------------


def test_training_lowers_the_loss_with_two_seeds(trained: Path, train: Train, tmp_path: Path) -> None:
    """Measured with three seeds: 0.70, 0.81 and 0.78 of the base model's loss on the same noise."""
    for run in (trained, train(tmp_path, "seed=1", f"train.updates={UPDATES}")):
        measured = read_metrics(run)
        for name in ("seed noise loss", "seed noise loss, bare"):
            assert measured[name] < 0.93 * measured[f"{name} of the base model"]


def test_a_style_prompt_is_told_from_the_bare_prompt(
    in_training: tuple[torch.Tensor, torch.Tensor], trained_sd: Path
) -> None:
    tokens, (bare, styled) = in_training
    bare_before, styled_before = predict(plain_unet(trained_sd), tokens)
    assert (styled - bare).abs().mean() > 1.5 * (styled_before - bare_before).abs().mean()


def test_two_processes_train_the_same_weights_as_one(task: list[str], train: Train, tmp_path: Path) -> None:
    """They share each batch, so that their mean gradient is that of the whole.

    Measured, mean difference of a matrix after six updates: at most 1e-5, mostly 1e-7; another seed 1e-2. Single
    weights lie further apart, by an update: where a gradient is nearly 0 Adam goes by its sign, that of the rounding.
    """
    one = train(tmp_path / "one", "train.updates=6")
    settings = [*task, "train.updates=6", "logger=none", f"paths.outputs={tmp_path / 'two'}", "run_name=run"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "run_train.py"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *settings], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    alone, shared = (load_file(run / "checkpoint" / WEIGHTS) for run in (one, tmp_path / "two" / "train" / "run"))
    assert alone.keys() == shared.keys()
    for name, weight in alone.items():
        assert (weight - shared[name]).abs().mean() < 1e-4, name


# --- The checkpoint -------------------------------------------------------------------------------------


def test_plain_diffusers_loads_the_checkpoint_to_the_same_unet(
    trained: Path, trained_sd: Path, in_training: tuple[torch.Tensor, torch.Tensor]
) -> None:
    tokens, expected = in_training
    pipeline = StableDiffusionPipeline.from_pretrained(trained_sd, safety_checker=None)
    plain = predict(pipeline.unet, tokens)
    pipeline.load_lora_weights(trained / "checkpoint")
    assert torch.allclose(predict(pipeline.unet, tokens), expected, atol=1e-5)
    assert (plain - expected).abs().max() > 0.01


def test_amplification_reads_both_forms_to_the_same_unet(
    trained: Path, trained_sd: Path, in_training: tuple[torch.Tensor, torch.Tensor]
) -> None:
    tokens, expected = in_training
    for checkpoint in (trained / "checkpoint", trained / "checkpoint.pth"):
        unet = plain_unet(trained_sd)
        applied = apply_checkpoint(checkpoint, unet)
        assert torch.allclose(predict(unet, tokens), expected, atol=1e-5)
        assert applied.alpha == 0.5 and applied.region_weights.tolist() == [1, 1, 1, 1]


def test_the_seed_format_has_its_three_parts(trained: Path, trained_sd: Path) -> None:
    content = torch.load(trained / "checkpoint.pth", weights_only=True)
    assert content.keys() == {"rdm_state_dict", "fgmm_state_dict", "unet_state_dict"}
    names = plain_unet(trained_sd).state_dict().keys()
    assert content["unet_state_dict"].keys() == names
    assert content["rdm_state_dict"].keys() == {"alpha", *(f"unet.{name}" for name in names)}
    assert content["fgmm_state_dict"].keys() == {"eyes_weight", "lips_weight", "skin_weight"}
    size = (trained / "checkpoint.pth").stat().st_size
    assert size < 1.5 * (trained_sd / "unet" / "diffusion_pytorch_model.safetensors").stat().st_size


def test_the_checkpoint_records_how_it_was_made(trained: Path, trained_sd: Path) -> None:
    checkpoint = trained / "checkpoint"
    assert {file.name for file in checkpoint.iterdir()} == {"dda.json", "README.md", WEIGHTS}
    assert json.loads((checkpoint / "dda.json").read_text()) == {
        "format": "dda-sd15", "version": 1, "alpha": 0.5, "base": str(trained_sd), "rank": 4,
        "region_weights": {"eyes": 1, "lips": 1, "skin": 1, "brows": 1}, "styles": ["Tinted lips"],
        "prompt": "a photo of a face with {style}", "bare_prompt": "", "strength": 0.3,
    }  # fmt: skip
    card = (checkpoint / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\n") and "base_model" not in card  # which is a hub id, not a folder of this machine
    assert "model.strength=0.3 model.checkpoint=FOLDER" in card
    for fact in ("- Tinted lips", "2 in 1 styles", f"{UPDATES} of 4 pictures", "- rank: 4", "- seed PSNR, dB: "):
        assert fact in card


# --- Resuming ------------------------------------------------------------------------------


def test_a_killed_training_resumes_to_the_same_weights(
    task: list[str], train: Train, tmp_path: Path, start: Callable[..., subprocess.Popen[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    short = ["train.updates=12", "train.checkpoint_every=2"]
    straight = train(tmp_path / "straight", *short)
    run = tmp_path / "killed" / "train" / "run"
    process = start("run_train.py", *task, *short, f"paths.outputs={tmp_path}/killed", "run_name=run")
    deadline = time.monotonic() + 120
    while not (run / "state.pt").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not (run / "checkpoint").exists()

    capsys.readouterr()
    assert train(tmp_path / "killed", *short) == run
    assert "resuming after update" in capsys.readouterr().out
    for name in (WEIGHTS, "dda.json", "README.md"):
        assert (run / "checkpoint" / name).read_bytes() == (straight / "checkpoint" / name).read_bytes()


@pytest.mark.parametrize(
    "change",
    ["seed=1", "train.rank=8", "train.condition_dropout=0.2", "model.bare_prompt=bare", "train.precision=bf16"],
)
def test_a_resume_with_other_settings_is_refused(change: str, trained: Path, train: Train, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "train" / "run")
    with pytest.raises(UserError, match=rf"{change.partition('=')[0]}: is .* but .* was begun with"):
        train(tmp_path, f"train.updates={UPDATES}", change)
    kept = load_file(tmp_path / "train" / "run" / "checkpoint" / WEIGHTS)
    assert all(torch.equal(weight, kept[name]) for name, weight in load_file(trained / "checkpoint" / WEIGHTS).items())


def test_the_resolved_number_format_is_recorded(trained: Path, train: Train, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "train" / "run")
    assert json.loads((trained / "settings.json").read_text())["train.precision"] == "float32"
    train(tmp_path, f"train.updates={UPDATES}", "train.seed_format=true", "train.precision=auto")  # not refused


# --- Variants -------------------------------------------------------------------------------------------


def test_the_last_line_is_the_command_that_amplifies(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str], trained_sd: Path
) -> None:
    run = train(tmp_path, "train.updates=1", "model.strength=0.5")
    base = f"model=sd15 model.pretrained={trained_sd} model.strength=0.5"
    command = f"python run_amplify.py {base} model.checkpoint={run}/checkpoint style_set=checkpoint"
    assert capsys.readouterr().out.endswith(f"  {command}\n")


def test_a_relative_path_of_the_base_is_recorded_as_absolute(
    trained_sd: Path, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained_sd.parent)
    run = train(tmp_path, "train.updates=1", f"model.pretrained={trained_sd.name}")
    assert json.loads((run / "checkpoint" / "dda.json").read_text())["base"] == str(trained_sd)


def test_the_vae_of_a_unet_in_bf16_is_float32_on_the_cpu(trained_sd: Path) -> None:
    base = load_base_model(str(trained_sd), "{style}", "", ["A"], 4, torch.device("cpu"), torch.bfloat16)
    assert (base.unet.dtype, base.components.vae.dtype) == (torch.bfloat16, torch.float32)
    assert base.encode(torch.rand(1, 3, 64, 64)).dtype == torch.float32


def test_bf16_and_gradient_checkpointing_train_too(trained: Path, train: Train, tmp_path: Path) -> None:
    run = train(tmp_path / "bf16", "train.updates=2", "train.precision=bf16", "train.gradient_checkpointing=true")
    rounded, exact = (read_metrics(folder)["seed noise loss of the base model"] for folder in (run, trained))
    assert rounded == pytest.approx(exact, rel=0.02)
    matrices = load_file(run / "checkpoint" / WEIGHTS)
    assert all(
        matrix.dtype == torch.float32 and matrix.isfinite().all() and matrix.any() for matrix in matrices.values()
    )
    in_fp32 = load_file(train(tmp_path / "fp32", "train.updates=2") / "checkpoint" / WEIGHTS)
    ours, theirs = (torch.cat([found[name].flatten() for name in in_fp32]) for found in (matrices, in_fp32))
    assert 0 < (ours - theirs).norm() < 0.2 * theirs.norm()


# --- Errors of the user -------------------------------------------------------------------------------------------


def test_float16_needs_a_gpu(train: Train, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.precision=fp16: needs an NVIDIA GPU"):
        train(tmp_path, "train.precision=fp16")
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    "settings",
    [
        ["model.scheduler=PNDMScheduler"],
        ["model.scheduler=EulerDiscreteScheduler", "model.start=inversion"],
        ["model.strength=0.0005"],
    ],
)
def test_an_impossible_sampler_is_refused_before_the_first_update(
    settings: list[str], train: Train, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=settings[0].partition("=")[0]):
        train(tmp_path, *settings)
    assert list(tmp_path.rglob("*")) == []


def test_a_full_disk_leaves_no_part_of_the_seed_format(trained: Path, trained_sd: Path, tmp_path: Path) -> None:
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, unlimited[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_seed_format(tmp_path / "checkpoint.pth", trained / "checkpoint", str(trained_sd))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_predicts_neither_noise_nor_velocity_is_refused(
    trained_sd: Path, train: Train, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(trained_sd, tmp_path / "model"))
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace('"epsilon"', '"sample"'))
    with pytest.raises(UserError, match="predicts sample; training takes models of epsilon or v_prediction"):
        train(tmp_path / "out", f"model.pretrained={folder}")
