"""The model card of a trained checkpoint: the README.md that the hub shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Kind:
    """What is said of every checkpoint of one kind: ``facts`` for the hub (YAML lines), ``title``, ``about``."""

    facts: tuple[str, ...]
    title: str
    about: tuple[str, ...]


COMPACT = Kind(
    ("library_name: diffusers", "tags: [makeup, paired-data, residual-diffusion]"),
    "Compact residual diffusion model for makeup",
    (
        "Paints a makeup residual onto the canonical crop of a face, given its region masks and a style in each.",
        "Load it with `dda.models.compact.network.CompactResidualModel.from_pretrained(FOLDER)`, or amplify with",
        "`python run_amplify.py model.checkpoint=FOLDER style_set=checkpoint`.",
    ),
)


def write_card(
    folder: Path, kind: Kind, styles: Sequence[str], facts: Mapping[str, object], figures: Mapping[str, float]
) -> None:
    """Write ``folder/README.md``.

    Args:
        folder: of the checkpoint.
        kind: of the checkpoint.
        styles: names of its styles.
        facts: how it was trained, by name.
        figures: what was measured, by name.
    """
    lines = [
        "---",
        *kind.facts,
        "---",
        "",
        f"# {kind.title}",
        "",
        *kind.about,
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
        lines += ["", "## Figures", "", *(f"- {name}: {short(value)}" for name, value in figures.items())]
    folder.joinpath("README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def short(value: float) -> str:
    """A figure to read: two places behind the point, or three digits of a small one."""
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"
