"""Benchmark of the shipped weights against the recipes they were trained on: PSNR under the masks, and strength.

    python benchmarks/recipes.py RUN

RUN is a folder of run_amplify.py in named styles with `style_assignment=all`. The true target of a pair is its source
with the style's recipe painted on. Strength is the slope of the target's change t on the recipe's change w, the sum of
t w over the sum of w^2, in each region and where the recipe changes the eyes most (liner and lashes).
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from dda.authoring.recipes import load_packaged_recipes
from dda.authoring.renderer import render_recipe
from dda.faces.face_mesh import FaceDetector
from dda.faces.parsing.mesh_masks import draw_region_masks
from dda.faces.region_masks import RegionMasks
from dda.images import read_image, to_tensor
from dda.metrics.psnr import masked_psnr
from dda.regions import REGIONS

MIN_LINER_CHANGE = 60
"""Mean change of the channels, in gray levels, from which a pixel of the eyes belongs to liner or lashes."""


def measured_areas(regions: RegionMasks, recipe_change: np.ndarray) -> dict[str, np.ndarray]:
    """Return where strength is measured, (H, W) bool by name."""
    areas = {region: regions[region] > 0.5 for region in REGIONS}
    return areas | {"liner": (np.abs(recipe_change).mean(-1) > MIN_LINER_CHANGE) & (regions["eyes"] > 0.3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    detector, recipes = FaceDetector(), load_packaged_recipes()
    target_psnr: dict[str, list[float]] = defaultdict(list)
    source_psnr: dict[str, list[float]] = defaultdict(list)
    slope_sums: dict[tuple[str, str], np.ndarray] = defaultdict(lambda: np.zeros(2))
    regions_by_source: dict[str, RegionMasks] = {}
    for row in pq.read_table(run / "manifest.parquet").to_pylist():
        style, source, target = row["style"], read_image(run / row["source"]), read_image(run / row["target"])
        if row["content_hash"] not in regions_by_source:
            regions_by_source[row["content_hash"]] = draw_region_masks(source, detector(source)[0])
        regions = regions_by_source[row["content_hash"]]
        truth = render_recipe(source, regions, recipes[style])
        is_masked = torch.from_numpy(regions.total_mask > 0.5)[None, None].double()
        for psnr, picture in ((target_psnr, target), (source_psnr, source)):
            pair = (to_tensor(side).double()[None] for side in (picture, truth))
            psnr[style].append(float(masked_psnr(*pair, is_masked)))
        recipe_change, target_change = (picture.astype(float) - source for picture in (truth, target))
        for name, area in measured_areas(regions, recipe_change).items():
            w, t = recipe_change[area], target_change[area]
            slope_sums[style, name] += (t * w).sum(), (w * w).sum()
    print(f"{len(regions_by_source)} faces; PSNR where M > 0.5, and strength")
    for style in target_psnr:
        sums = {name: slope_sums[style, name] for name in (*REGIONS, "liner")}
        strengths = "  ".join(f"{name} {tw / ww:.2f}" for name, (tw, ww) in sums.items() if ww)
        psnr_text = f"{np.mean(target_psnr[style]):6.2f} dB (untouched {np.mean(source_psnr[style]):.2f})"
        print(f"{style:18} {psnr_text}  {strengths}")
    print(f"{'mean':18} {np.mean([np.mean(values) for values in target_psnr.values()]):6.2f} dB")


if __name__ == "__main__":
    main()
