"""The model card of a trained checkpoint: the README.md that the hub shows."""

from collections.abc import Mapping, Sequence
from pathlib import Path


def write_card(folder: Path, styles: Sequence[str], facts: Mapping[str, object], figures: Mapping[str, float]) -> None:
    """Write ``folder/README.md``.

    Args:
        folder: of the checkpoint.
        styles: names of its styles.
        facts: how it was trained, by name.
        figures: what was measured, by name.
    """
    lines = [
        "---",
        "library_name: diffusers",
        "tags: [makeup, paired-data, residual-diffusion]",
        "---",
        "",
        "# Compact residual diffusion model for makeup",
        "",
        "Paints a makeup residual onto the canonical crop of a face, given its region masks and a style in each.",
        "Load it with `dda.models.compact.CompactResidualModel.from_pretrained(FOLDER)`, or amplify with",
        "`python run_amplify.py model.checkpoint=FOLDER style_set=checkpoint`.",
        "",
        "## Styles",
        "",
        *(f"- {style}" for style in styles),
        "",
        "## Training",
        "",
        *(f"- {name}: {value}" for name, value in facts.items()),
    ]
    if figures:
        lines += ["", "## Figures", "", *(f"- {name}: {value:.2f}" for name, value in figures.items())]
    folder.joinpath("README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
