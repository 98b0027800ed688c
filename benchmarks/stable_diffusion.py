"""Stable Diffusion 1.5 at its real size with random weights: speed, memory, and what lower precision does to R_m.

    python benchmarks/stable_diffusion.py [--device cuda] [--batch-sizes 1 8 16 32] [--styles 5] [--steps 3] \
        [--peak-tflops 790]

Random weights cost what trained ones cost, and need no download. A row is one batch of faces, each in ``--styles``
styles: one bare pass, a style pass each, with the VAE. FLOPs are counted by torch, once, for a batch of one; the share
of peak is against ``--peak-tflops``, that of the device's dense matrix products in the precision measured.
"""

import argparse
import time
from collections.abc import Iterator

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from dda.evaluation.evaluator import exact_arithmetic
from dda.models.stable_diffusion.pipeline import Sampling, StableDiffusionResidualPipeline
from dda.models.stable_diffusion.precision import DTYPES, pick_dtype, precision_error
from dda.models.stable_diffusion.pretrained import StableDiffusion
from dda.regions import REGIONS
from dda.styles import Style

SCHEDULER = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1,
    "prediction_type": "epsilon", "num_train_timesteps": 1000,
}  # fmt: skip


class RandomConditions:
    """Tokens of CLIP's size for any style, without CLIP: 13 of 11,000 GFLOP a pair."""

    def bare(self) -> torch.Tensor:
        return self.tokens("")

    def tokens(self, style: str) -> torch.Tensor:
        return torch.randn(1, 77, 768, generator=torch.Generator().manual_seed(sum(map(ord, style))))

    def face_tokens(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures.new_empty(len(pictures), 0, 768)


def random_model() -> StableDiffusion:
    """The U-Net and VAE of Stable Diffusion 1.5, untrained."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        sample_size=512,
    )
    return StableDiffusion(unet.eval(), vae.eval(), None, None, SCHEDULER)


def amplifier(precision: str, device: torch.device, steps: int) -> StableDiffusionResidualPipeline:
    sampling = Sampling(steps=steps, strength=0.3)
    return StableDiffusionResidualPipeline(
        random_model(), RandomConditions(), sampling, torch.ones(4), device, pick_dtype(precision, device)
    )


def faces(count: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth pictures (N, 3, 512, 512) and an oval of skin with eyes and lips in it (N, 4, 512, 512)."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 16, 16, generator=generator)
    source = torch.nn.functional.interpolate(coarse, size=512, mode="bicubic").clamp(0, 1)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 512), torch.linspace(-1, 1, 512), indexing="ij")
    ovals = [((x / a) ** 2 + ((y - c) / b) ** 2 < 1).float() for a, b, c in _OVALS]
    masks = torch.stack([ovals[0], ovals[1], (ovals[3] - ovals[0] - ovals[1] - ovals[2]).clamp(0, 1), ovals[2]])
    return source.to(device), masks.expand(count, -1, -1, -1).to(device)


_OVALS = ((0.35, 0.08, -0.1), (0.2, 0.08, 0.45), (0.35, 0.04, -0.25), (0.55, 0.75, 0.1))


def batch(model: StableDiffusionResidualPipeline, count: int, styles: int) -> Iterator[torch.Tensor]:
    """The residuals of ``count`` faces in every style, as a run makes them."""
    source, masks = faces(count, model.device)
    noise = torch.randn(count, *model.noise_shape, generator=torch.Generator().manual_seed(1)).to(model.device)
    shared = model.encode_faces(source, masks, [], noise)
    for style in _styles(styles):
        yield model.residuals(shared, range(count), [style] * count).makeup


def _styles(count: int) -> list[Style]:
    names = [f"style {number}" for number in range(count)]
    return [Style(name, dict.fromkeys(REGIONS, name), dict.fromkeys(REGIONS, 1.0)) for name in names]


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _timed(model: StableDiffusionResidualPipeline, count: int, styles: int, repeats: int) -> float:
    """Median seconds of a batch, after one that warms up."""
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        for _ in batch(model, count, styles):
            pass
        _finish(model.device)
        seconds.append(time.perf_counter() - began)
    return sorted(seconds[1:])[repeats // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precisions", nargs="+", default=["bf16"], choices=DTYPES)
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 8, 16, 32])
    parser.add_argument("--styles", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peak-tflops", type=float, default=None)
    args = parser.parse_args()
    device = torch.device(args.device)

    exact = amplifier("fp32", device, args.steps)
    with FlopCounterMode(display=False) as counter:
        for _ in batch(exact, 1, args.styles):
            pass
    tflop = counter.get_total_flops() / args.styles / 1e12
    print(f"{tflop:.2f} TFLOP a pair ({args.styles} styles a face, {args.steps} steps)")
    for precision in args.precisions:
        model = amplifier(precision, device, args.steps)
        source, masks = faces(2, device)
        noise = torch.randn(2, *model.noise_shape, generator=torch.Generator().manual_seed(1))
        with exact_arithmetic():  # else convolutions of fp32 are TF32's on a GPU, no nearer to the truth than fp16's
            error = precision_error(model, exact, source, masks, [], noise, _styles(1) * 2)
        print(f"{precision} against fp32, R_m inside the masks: {error}")
        for count in args.batch_sizes:
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            pairs = count * args.styles / _timed(model, count, args.styles, args.repeats)
            line = f"{precision} batch {count:3d}: {pairs:8.3f} pairs/s, {pairs * tflop:7.1f} TFLOP/s"
            if args.peak_tflops:
                line += f", {pairs * tflop / args.peak_tflops:.0%} of peak"
            if device.type == "cuda":
                line += f", {torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB"
            print(line, flush=True)


if __name__ == "__main__":
    main()
