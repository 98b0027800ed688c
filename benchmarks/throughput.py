"""Pairs a second from files to files, beside the model alone, in one process.

    python benchmarks/throughput.py PHOTOS [--pairs 64] [--batch-size 8] [--steps 1]

PHOTOS is a folder of photos. They are amplified twice, one style a face: the first run warms up, the second is
timed. The model alone is timed on one batch of the same size. The ratio says how much of a pair is not the model.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

from dda import amplify
from dda.config import register_configs
from dda.models.checkpoint import load_compact
from dda.models.compact import sample_residual


def amplified(photos: Path, pairs: int, batch_size: int, steps: int, outputs: str, run_name: str) -> float:
    """Seconds a pair of one run."""
    overrides = [
        "dataset=folder",
        f"dataset.root='{photos}'",
        "style_assignment=random",
        f"num_pairs={pairs}",
        f"batch_size={batch_size}",
        f"model.steps={steps}",
        f"run_name={run_name}",
        f"paths.outputs={outputs}",
        "logger=none",
    ]
    cfg = compose("amplify", overrides)
    began = time.perf_counter()
    amplify.main(cfg)
    return (time.perf_counter() - began) / pairs


def model_alone(batch_size: int, steps: int) -> float:
    """Seconds a pair of the model's denoising steps."""
    model = load_compact(None)
    crops, masks = torch.rand(batch_size, 3, 256, 256), torch.rand(batch_size, 4, 256, 256) / 4
    style_ids = torch.zeros(batch_size, 4, dtype=torch.long)
    times = []
    for _ in range(4):
        began = time.perf_counter()
        sample_residual(model, crops, masks, style_ids, crops, steps)
        times.append(time.perf_counter() - began)
    return sorted(times)[1] / batch_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=1)
    options = parser.parse_args()
    register_configs()
    conf = Path(__file__).resolve().parent.parent / "conf"
    with tempfile.TemporaryDirectory() as outputs, initialize_config_dir(str(conf), version_base="1.3"):
        size = (options.batch_size, options.steps, outputs)
        amplified(options.photos.resolve(), min(options.pairs, 16), *size, "warm")
        whole = amplified(options.photos.resolve(), options.pairs, *size, "timed")
    alone = model_alone(options.batch_size, options.steps)
    print(
        f"{torch.get_num_threads()} threads, batch {options.batch_size}, {options.steps} steps, {options.pairs} pairs"
    )
    print(f"files to files  {1 / whole:6.1f} pairs/s  {1000 * whole:6.1f} ms a pair")
    print(f"model alone     {1 / alone:6.1f} pairs/s  {1000 * alone:6.1f} ms a pair")
    print(f"ratio           {whole / alone:6.2f}")


if __name__ == "__main__":
    main()
