"""Model card of a trained checkpoint: the README.md that the Hugging Face hub shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ModelCard:
    """The parts of a card that all checkpoints of a model share.

    Attributes:
        metadata: lines of YAML for the hub.
        title: the heading.
        description: lines of text: what the model does, and how to load it.
    """

    metadata: tuple[str, ...]
    title: str
    description: tuple[str, ...]

    def write(
        self, folder: Path, styles: Sequence[str], training: Mapping[str, object], metrics: Mapping[str, float]
    ) -> None:
        """Write ``folder/README.md``.

        Args:
            folder: folder of the checkpoint.
            styles: names of its styles.
            training: how it was trained, by name.
            metrics: what was measured, by name.
        """
        lines = [
            "---",
            *self.metadata,
            "---",
            "",
            f"# {self.title}",
            "",
            *self.description,
            "",
            "## Styles",
            "",
            *(f"- {style}" for style in styles),
            "",
            "## Training",
            "",
            *(f"- {name}: {value}" for name, value in training.items()),
        ]
        if metrics:
            rows = [f"- {name}: {format_metric(value)}" for name, value in metrics.items()]
            lines += ["", "## Evaluation", "", *rows]
        folder.joinpath("README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def format_metric(value: float) -> str:
    """Format a number with two decimals, or with three significant digits below 1."""
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"
