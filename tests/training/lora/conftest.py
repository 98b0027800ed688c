from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler, StableDiffusionPipeline
from hydra import compose, initialize_config_dir
from torch.nn import functional as F

from dda.config.check import check
from dda.config.schema import TrainConfig
from dda.config.store import register_configs
from dda.faces.preparation import PreparedFace
from dda.images import to_tensor
from dda.stages.train import main

SIZE = 64
WHOLE_UPDATES = 250


@pytest.fixture(scope="session")
def trained_sd(
    tiny_sd: Path,
    portraits: list[PreparedFace],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The tiny Stable Diffusion with a U-Net trained to denoise one bare face, as a base model for LoRA."""
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_sd, safety_checker=None)
    latents = _latents(pipeline, portraits[1:])
    pipeline.vae.register_to_config(scaling_factor=float(1 / latents.std()))  # a random VAE's latents are faint
    _train_whole(pipeline, latents / latents.std())
    folder = tmp_path_factory.mktemp("trained_sd") / "model"
    pipeline.save_pretrained(folder)
    return folder


@torch.no_grad()
def _latents(pipeline: StableDiffusionPipeline, portraits: Sequence[PreparedFace]) -> torch.Tensor:
    pictures = torch.stack([to_tensor(face.source) for face in portraits])
    small = F.interpolate(pictures, size=(SIZE, SIZE), mode="area")
    return pipeline.vae.encode(torch.cat([small, small.flip(-1)]) * 2 - 1).latent_dist.mode()


def _train_whole(pipeline: StableDiffusionPipeline, latents: torch.Tensor) -> None:
    schedule = DDPMScheduler.from_config(pipeline.scheduler.config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        tokens, _ = pipeline.encode_prompt("a face", "cpu", 1, do_classifier_free_guidance=False)
    optimizer = torch.optim.AdamW(pipeline.unet.parameters(), lr=2e-3)
    for _ in range(WHOLE_UPDATES):
        noise = torch.randn(8, *latents.shape[1:], generator=generator)
        timesteps = torch.randint(1000, (8,), generator=generator)
        clean = latents[torch.randint(len(latents), (8,), generator=generator)]
        noisy = schedule.add_noise(clean, noise, timesteps)
        loss = F.mse_loss(pipeline.unet(noisy, timesteps, tokens.expand(8, -1, -1)).sample, noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.fixture(scope="session")
def task(trained_sd: Path, pairs_root: Path) -> list[str]:
    """Settings that most of these trainings share."""
    return [
        "model=sd15", f"model.pretrained={trained_sd}", "model.steps=1", f"data.root={pairs_root}", "device=cpu",
        f"train.resolution={SIZE}", "train.batch_size=4", "train.rank=4", "train.learning_rate=1e-2", "train.ema=0.9",
        "train.grid_every=1000", "train.precision=fp32", "train.gradient_checkpointing=false",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def train(task: list[str]) -> Callable[..., Path]:
    """``train(outputs, "seed=1", ...)``: train in this process; returns the folder of the run."""

    def run(outputs: Path, *settings: str) -> Path:
        register_configs()
        with initialize_config_dir(str(Path(__file__).parents[3] / "conf"), version_base="1.3"):
            given = [*task, *settings, "logger=none", f"paths.outputs={outputs}", "run_name=run"]
            cfg = compose("train", given)
        main(check(cfg, TrainConfig))
        return outputs / "train" / "run"

    return run
