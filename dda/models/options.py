"""Options that all models have, and what can be asked of them before a model is loaded."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dda.options import Choice, fingerprint_options, option

if TYPE_CHECKING:  # torch takes seconds to import
    import torch

    from dda.models.residual_pipeline import ResidualPipeline


@dataclass(kw_only=True)
class ModelOptions(Choice, ABC):
    """A model to amplify with."""

    name: str = option("The model.")

    @abstractmethod
    def styles(self) -> list[str] | None:
        """Return the names of the styles that the checkpoint was trained on, without loading its weights.

        None: the model takes any style, as a prompt.

        Raises:
            OptionError: the checkpoint is not of this model's form.
        """

    @abstractmethod
    def open(self, device: "torch.device") -> "ResidualPipeline":
        """Load the model, ready to run on ``device``.

        Raises:
            OptionError: weights are missing, damaged or of another model, or an option is not possible with them.
        """

    def fingerprint(self, device: "torch.device") -> dict[str, object]:
        """Return everything that decides pixels on ``device``; files and folders by their content.

        Raises:
            OptionError: the checkpoint is not of this model's form, or a picture cannot be read.
        """
        return fingerprint_options(self)
