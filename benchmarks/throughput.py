"""Pairs a second from files to files, beside the model alone, on this machine.

    python benchmarks/throughput.py PHOTOS [--batch-size 8] [--steps 1] [--copies 2]

PHOTOS is a folder of photos; `run_amplify.py` makes pairs of them, one style a face, in a process of its own, of
each photo ``copies`` times. The closing summary's pairs a second (what the run spends from its first picture read to
its last pair written) stand beside the model's own, timed on a batch of the same size. The ratio says how much of a
pair is not the model.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from dda.models.compact.checkpoint import load_compact_model
from dda.models.compact.network import sample_residual
from dda.models.compact.pipeline import CompactPipeline
from dda.system.memory import raise_malloc_thresholds

ROOT = Path(__file__).resolve().parent.parent


def files_to_files(photos: Path, copies: int, batch_size: int, steps: int, folder: Path) -> tuple[int, float]:
    """Pairs made by one run, and pairs a second."""
    for copy in range(copies):
        shutil.copytree(photos, folder / "photos" / str(copy))
    command = [
        *(sys.executable, "run_amplify.py", "dataset=folder", f"dataset.root={folder / 'photos'}"),
        *(f"batch_size={batch_size}", f"model.steps={steps}", f"paths.outputs={folder}", "logger=none"),
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "200"}
    )
    found = re.search(r"(\d+) made now \(([\d.]+) a second\)", done.stdout)
    assert found is not None, done.stdout
    return int(found[1]), float(found[2])


def model_alone(batch_size: int, steps: int) -> float:
    """Pairs a second of the model's denoising steps, in a process that keeps its memory as a run does."""
    raise_malloc_thresholds()
    model = CompactPipeline(load_compact_model(None), steps, torch.device("cpu")).model
    size = model.config.crop_size
    crops, masks = torch.rand(batch_size, 3, size, size), torch.rand(batch_size, 4, size, size) / 4
    style_ids = torch.zeros(batch_size, 4, dtype=torch.long)
    times = []
    for _ in range(7):
        began = time.perf_counter()
        sample_residual(model, crops, masks, style_ids, crops, steps)
        times.append(time.perf_counter() - began)
    return batch_size / sorted(times)[3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--copies", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pairs, whole = files_to_files(
            options.photos.resolve(), options.copies, options.batch_size, options.steps, Path(folder)
        )
    alone = model_alone(options.batch_size, options.steps)
    print(f"{torch.get_num_threads()} threads, batch {options.batch_size}, steps {options.steps}, {pairs} pairs")
    print(f"files to files  {whole:6.1f} pairs/s")
    print(f"model alone     {alone:6.1f} pairs/s")
    print(f"ratio           {alone / whole:6.2f}")


if __name__ == "__main__":
    main()
