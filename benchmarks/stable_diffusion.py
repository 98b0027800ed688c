"""Benchmark of Stable Diffusion 1.5 at its real size: speed, memory, and the error of R_m in lower precision.

    python benchmarks/stable_diffusion.py [--device cuda] [--batch-sizes 1 8 16 32] [--styles 5] [--steps 3] \
        [--peak-tflops 790]

The weights are random, which changes neither speed nor memory and needs no download. A row measures one batch of faces
in ``--styles`` styles each: a reconstruction pass, and a style pass for each style, with the VAE. The FLOPs are
counted by torch for a batch of one. The share of peak is relative to ``--peak-tflops``, the device's peak of dense
matrix products in the measured precision.
"""

import argparse
import time
from collections.abc import Iterator

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from dda.evaluation.evaluator import exact_arithmetic
from dda.models.stable_diffusion.pipeline import Sampling, StableDiffusionResidualPipeline
from dda.models.stable_diffusion.precision import DTYPES, compare_residuals, pick_dtype
from dda.models.stable_diffusion.pretrained import StableDiffusionComponents
from dda.regions import REGIONS
from dda.styles import Style

SCHEDULER_CONFIG = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1,
    "prediction_type": "epsilon", "num_train_timesteps": 1000,
}  # fmt: skip

EYES_OVAL, LIPS_OVAL, BROWS_OVAL, FACE_OVAL = (
    (0.35, 0.08, -0.1), (0.2, 0.08, 0.45), (0.35, 0.04, -0.25), (0.55, 0.75, 0.1),
)  # fmt: skip
"""Regions of the synthetic faces: half width, half height and vertical center of an oval, in half pictures."""


class RandomConditions:
    """Random embeddings of CLIP's size for any style; CLIP itself takes 13 of 11,000 GFLOP a pair."""

    def encode_faces(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return no embeddings, (N, 0, 768)."""
        return pictures.new_empty(len(pictures), 0, 768)

    def encode_bare_condition(self) -> torch.Tensor:
        """Return the embeddings (1, 77, 768) of no makeup."""
        return self.encode_style("")

    def encode_style(self, style: str) -> torch.Tensor:
        """Return embeddings (1, 77, 768) that depend on the style's name."""
        return torch.randn(1, 77, 768, generator=torch.Generator().manual_seed(sum(map(ord, style))))


def make_components() -> StableDiffusionComponents:
    """Make the U-Net and the VAE of Stable Diffusion 1.5 with random weights."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        sample_size=512,
    )
    return StableDiffusionComponents(unet.eval(), vae.eval(), None, None, SCHEDULER_CONFIG)


def make_pipeline(precision: str, device: torch.device, steps: int) -> StableDiffusionResidualPipeline:
    """Make a pipeline of random weights."""
    sampling = Sampling(steps=steps, strength=0.3)
    return StableDiffusionResidualPipeline(
        make_components(), RandomConditions(), sampling, torch.ones(4), device, pick_dtype(precision, device)
    )


def make_faces(count: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Make smooth pictures (N, 3, 512, 512), and masks (N, 4, 512, 512) of ovals."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 16, 16, generator=generator)
    source = torch.nn.functional.interpolate(coarse, size=512, mode="bicubic").clamp(0, 1)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 512), torch.linspace(-1, 1, 512), indexing="ij")
    eyes, lips, brows, face = (
        ((x / width) ** 2 + ((y - center) / height) ** 2 < 1).float()
        for width, height, center in (EYES_OVAL, LIPS_OVAL, BROWS_OVAL, FACE_OVAL)
    )
    masks = torch.stack([eyes, lips, (face - eyes - lips - brows).clamp(0, 1), brows])
    return source.to(device), masks.expand(count, -1, -1, -1).to(device)


def make_styles(count: int) -> list[Style]:
    """Make styles at full strength in all regions."""
    names = [f"style {number}" for number in range(count)]
    return [Style(name, dict.fromkeys(REGIONS, name), dict.fromkeys(REGIONS, 1.0)) for name in names]


def run_batch(pipeline: StableDiffusionResidualPipeline, count: int, num_styles: int) -> Iterator[torch.Tensor]:
    """Yield the makeup residuals of ``count`` faces in each style, as an amplification computes them."""
    source, masks = make_faces(count, pipeline.device)
    noise = torch.randn(count, *pipeline.noise_shape, generator=torch.Generator().manual_seed(1)).to(pipeline.device)
    encoded = pipeline.encode_faces(source, masks, [], noise)
    for style in make_styles(num_styles):
        yield pipeline.residuals(encoded, range(count), [style] * count).makeup


def measure_seconds(pipeline: StableDiffusionResidualPipeline, count: int, num_styles: int, repeats: int) -> float:
    """Measure the median time of a batch in seconds, after one batch of warm-up."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        for _ in run_batch(pipeline, count, num_styles):
            pass
        if pipeline.device.type == "cuda":
            torch.cuda.synchronize(pipeline.device)
        seconds.append(time.perf_counter() - start)
    return sorted(seconds[1:])[repeats // 2]


def main() -> None:
    """Run the benchmark and print one line for each precision and batch size."""
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

    # 1. Count the FLOPs of a pair
    reference = make_pipeline("fp32", device, args.steps)
    with FlopCounterMode(display=False) as counter:
        for _ in run_batch(reference, 1, args.styles):
            pass
    tflop = counter.get_total_flops() / args.styles / 1e12
    print(f"{tflop:.2f} TFLOP a pair ({args.styles} styles a face, {args.steps} steps)")
    for precision in args.precisions:
        # 2. Compare the precision with fp32
        pipeline = make_pipeline(precision, device, args.steps)
        source, masks = make_faces(2, device)
        noise = torch.randn(2, *pipeline.noise_shape, generator=torch.Generator().manual_seed(1))
        with exact_arithmetic():  # without it, convolutions of the reference would be TF32 on a GPU
            difference = compare_residuals(pipeline, reference, source, masks, [], noise, make_styles(1) * 2)
        print(f"{precision} against fp32, R_m inside the masks: {difference}")
        # 3. Measure speed and memory
        for count in args.batch_sizes:
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            pairs = count * args.styles / measure_seconds(pipeline, count, args.styles, args.repeats)
            line = f"{precision} batch {count:3d}: {pairs:8.3f} pairs/s, {pairs * tflop:7.1f} TFLOP/s"
            if args.peak_tflops:
                line += f", {pairs * tflop / args.peak_tflops:.0%} of peak"
            if device.type == "cuda":
                line += f", {torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB"
            print(line, flush=True)


if __name__ == "__main__":
    main()
