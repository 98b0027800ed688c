"""How near a run's targets come to true ones: PSNR and shift-tolerant LPIPS in the face, PSNR where masks reach.

    python benchmarks/oracle.py RUN ORACLE

RUN is a folder of run_amplify.py whose dataset was ORACLE/source; ORACLE/target holds the true targets and
ORACLE/face the masks of the faces (white inside), all of the same names. Every face of ORACLE counts: one that
the run made no pair of counts as its untouched source.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from stlpips_pytorch import stlpips

from dda.faces.face_mesh import FaceDetector
from dda.faces.parsing.mesh_masks import draw_region_masks
from dda.images import read_image
from dda.metrics.psnr import masked_psnr


def psnr(picture: np.ndarray, truth: np.ndarray, inside: np.ndarray) -> float:
    """PSNR in dB of two uint8 (H, W, 3) pictures, or float ones in [0, 255], where ``inside`` (H, W)."""
    a, b = (torch.from_numpy(p.astype(np.float64)).permute(2, 0, 1)[None] / 255 for p in (picture, truth))
    return float(masked_psnr(a, b, torch.from_numpy(inside)[None, None].double()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("oracle", type=Path)
    options = parser.parse_args()
    rows = {row["path"]: row for row in pq.read_table(options.run / "manifest.parquet").to_pylist()}
    detector, distance = FaceDetector(), stlpips.LPIPS(net="alex", variant="shift_tolerant")
    figures: dict[str, list[float]] = {"untouched": [], "run": [], "ceiling of the masks": []}
    masked: dict[str, list[float]] = {name: [] for name in figures}
    apart: dict[str, list[float]] = {"untouched": [], "run": []}
    missing, background = [], 0
    for file in sorted((options.oracle / "source").iterdir()):
        source, truth = read_image(file), read_image(options.oracle / "target" / file.name)
        inside = read_image(options.oracle / "face" / file.name)[..., 0] > 127
        regions = draw_region_masks(source, detector(source)[0])
        target = source
        if file.name in rows:
            target = read_image(options.run / rows[file.name]["target"])
            background += int((target != source)[regions.total_mask == 0].sum())
        else:
            missing.append(file.name)
        best = source + regions.total_mask[..., None] * (truth.astype(np.float64) - source)
        for name, picture in (("untouched", source), ("run", target), ("ceiling of the masks", best)):
            figures[name].append(psnr(picture, truth, inside))
            masked[name].append(psnr(picture, truth, inside & (regions.total_mask > 0.5)))
            if name in apart:
                pair = [
                    torch.from_numpy(np.where(inside[..., None], p, 0)).permute(2, 0, 1)[None].float() / 127.5 - 1
                    for p in (picture, truth)
                ]
                with torch.no_grad():
                    apart[name].append(float(distance(*pair)))
    base = np.mean(figures["untouched"])
    print(f"{len(figures['run'])} faces, {len(missing)} without a pair {missing or ''}")
    for name, values in figures.items():
        line = f"{name:22} PSNR {np.mean(values):6.2f} dB  ({np.mean(values) - base:+.2f}, worst {min(values):.2f})"
        line += f"  where M > 0.5 {np.mean(masked[name]):.2f} dB"
        print(line + (f"  ST-LPIPS {np.mean(apart[name]):.4f}" if apart.get(name) else ""))
    print(f"bytes changed where M = 0: {background}")


if __name__ == "__main__":
    main()
