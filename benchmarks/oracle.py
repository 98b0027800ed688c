"""Benchmark against true targets: PSNR and shift-tolerant LPIPS inside the face, PSNR under the masks.

    python benchmarks/oracle.py RUN ORACLE

RUN is a folder of run_amplify.py with ORACLE/source as its dataset; ORACLE/target holds the true targets and
ORACLE/face the masks of the faces (white inside), all of the same names. All faces of ORACLE count: a face without a
pair counts as its untouched source.
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


def compute_psnr(picture: np.ndarray, truth: np.ndarray, inside: np.ndarray) -> float:
    """Return the PSNR in dB of two pictures (H, W, 3) in [0, 255] over the pixels ``inside`` (H, W)."""
    a, b = (torch.from_numpy(p.astype(np.float64)).permute(2, 0, 1)[None] / 255 for p in (picture, truth))
    return float(masked_psnr(a, b, torch.from_numpy(inside)[None, None].double()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("oracle", type=Path)
    options = parser.parse_args()
    rows = {row["path"]: row for row in pq.read_table(options.run / "manifest.parquet").to_pylist()}
    detector, lpips = FaceDetector(), stlpips.LPIPS(net="alex", variant="shift_tolerant")
    face_psnr: dict[str, list[float]] = {"untouched": [], "run": [], "ceiling of the masks": []}
    masked_area_psnr: dict[str, list[float]] = {name: [] for name in face_psnr}
    face_lpips: dict[str, list[float]] = {"untouched": [], "run": []}
    missing, background_bytes = [], 0
    for file in sorted((options.oracle / "source").iterdir()):
        source, truth = read_image(file), read_image(options.oracle / "target" / file.name)
        inside = read_image(options.oracle / "face" / file.name)[..., 0] > 127
        regions = draw_region_masks(source, detector(source)[0])
        target = source
        if file.name in rows:
            target = read_image(options.run / rows[file.name]["target"])
            background_bytes += int((target != source)[regions.total_mask == 0].sum())
        else:
            missing.append(file.name)
        ceiling = source + regions.total_mask[..., None] * (truth.astype(np.float64) - source)
        for name, picture in (("untouched", source), ("run", target), ("ceiling of the masks", ceiling)):
            face_psnr[name].append(compute_psnr(picture, truth, inside))
            masked_area_psnr[name].append(compute_psnr(picture, truth, inside & (regions.total_mask > 0.5)))
            if name in face_lpips:
                pair = [
                    torch.from_numpy(np.where(inside[..., None], p, 0)).permute(2, 0, 1)[None].float() / 127.5 - 1
                    for p in (picture, truth)
                ]
                with torch.no_grad():
                    face_lpips[name].append(float(lpips(*pair)))
    untouched = np.mean(face_psnr["untouched"])
    print(f"{len(face_psnr['run'])} faces, {len(missing)} without a pair {missing or ''}")
    for name, values in face_psnr.items():
        gain = np.mean(values) - untouched
        line = f"{name:22} PSNR {np.mean(values):6.2f} dB  ({gain:+.2f}, worst {min(values):.2f})"
        line += f"  where M > 0.5 {np.mean(masked_area_psnr[name]):.2f} dB"
        print(line + (f"  ST-LPIPS {np.mean(face_lpips[name]):.4f}" if face_lpips.get(name) else ""))
    print(f"bytes changed where M = 0: {background_bytes}")


if __name__ == "__main__":
    main()
