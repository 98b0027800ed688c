"""Training data: the seed pairs of all styles, and the pairs to validate on."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from dda.errors import OptionError
from dda.training.seed_pairs import SeedPair


@dataclass(frozen=True)
class TrainingData:
    """Pairs to train and to validate on.

    Attributes:
        styles: names of the styles; `SeedPair.style` is an index into them.
        pairs: the seed pairs.
        held_out: pairs of other people in the same styles; without any, training is validated on the seed pairs.
    """

    styles: list[str]
    pairs: list[SeedPair]
    held_out: list[SeedPair] = field(default_factory=list)

    @property
    def validation_pairs(self) -> list[SeedPair]:
        """The pairs to validate on."""
        return self.held_out or self.pairs

    @property
    def validation_split(self) -> str:
        """Name of those pairs in metrics: "held-out" or "seed"."""
        return "held-out" if self.held_out else "seed"

    @property
    def content_hashes(self) -> list[str]:
        """Content hash of each seed pair."""
        return [pair.content_hash for pair in self.pairs]


def match_styles(styles: Sequence[str], held_out_styles: Sequence[str], held_out: Sequence[SeedPair]) -> list[SeedPair]:
    """Return held-out pairs with their styles numbered as the trained ones.

    A single trained style matches a single held-out style of any name.

    Args:
        styles: names of the trained styles.
        held_out_styles: names of the styles of ``held_out``.
        held_out: the pairs.

    Raises:
        OptionError: a style was not trained.
    """
    if len(styles) == len(held_out_styles) == 1:
        return list(held_out)
    if unknown := [style for style in held_out_styles if style not in styles]:
        raise OptionError(
            "holdout", f"its style {unknown[0]} is not one of the styles of the seed pairs: {', '.join(styles)}"
        )
    return [replace(pair, style=styles.index(held_out_styles[pair.style])) for pair in held_out]
