"""How near a run of the shipped weights comes to the recipes they learnt: PSNR where masks reach, and strength.

    python benchmarks/recipes.py RUN

RUN is a folder of run_amplify.py in named styles with `style_assignment=all`. The makeup artist paints each pair's
recipe onto its source. Strength is the share of the recipe's change that the target has, in each region and where the
recipe changes the eyes most (liner and lashes): sum t w / sum w w of the target's change t and the wanted one w.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from dda.authoring.artist import paint
from dda.authoring.recipes import named_recipes
from dda.faces.face_mesh import FaceDetector
from dda.faces.parsing.mesh_masks import draw_region_masks
from dda.faces.region_masks import RegionMasks
from dda.images import read_image, to_tensor
from dda.metrics.psnr import masked_psnr
from dda.regions import REGIONS

LINE = 60
"""Mean change of the channels, in gray levels, beyond which a recipe draws a line on the eyes."""


def parts(regions: RegionMasks, wanted: np.ndarray) -> dict[str, np.ndarray]:
    """Where strength is measured, (H, W) bool each."""
    found = {region: regions[region] > 0.5 for region in REGIONS}
    return found | {"liner": (np.abs(wanted).mean(-1) > LINE) & (regions["eyes"] > 0.3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    detector, recipes = FaceDetector(), named_recipes()
    near: dict[str, list[float]] = defaultdict(list)
    untouched: dict[str, list[float]] = defaultdict(list)
    products: dict[tuple[str, str], np.ndarray] = defaultdict(lambda: np.zeros(2))
    regions: dict[str, RegionMasks] = {}
    for row in pq.read_table(run / "manifest.parquet").to_pylist():
        style, source, target = row["style"], read_image(run / row["source"]), read_image(run / row["target"])
        if row["content_hash"] not in regions:
            regions[row["content_hash"]] = draw_region_masks(source, detector(source)[0])
        face = regions[row["content_hash"]]
        recipe = paint(source, face, recipes[style])
        reached = torch.from_numpy(face.total_mask > 0.5)[None, None].double()
        for figures, picture in ((near, target), (untouched, source)):
            pair = (to_tensor(side).double()[None] for side in (picture, recipe))
            figures[style].append(float(masked_psnr(*pair, reached)))
        wanted, painted = (picture.astype(float) - source for picture in (recipe, target))
        for part, where in parts(face, wanted).items():
            w, t = wanted[where], painted[where]
            products[style, part] += (t * w).sum(), (w * w).sum()
    print(f"{len(regions)} faces; PSNR where M > 0.5, and strength")
    for style in near:
        strengths = {part: products[style, part] for part in (*REGIONS, "liner")}
        told = "  ".join(f"{part} {tw / ww:.2f}" for part, (tw, ww) in strengths.items() if ww)
        print(f"{style:18} {np.mean(near[style]):6.2f} dB (untouched {np.mean(untouched[style]):.2f})  {told}")
    print(f"{'mean':18} {np.mean([np.mean(values) for values in near.values()]):6.2f} dB")


if __name__ == "__main__":
    main()
