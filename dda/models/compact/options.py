"""Options of the compact model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dda.models.options import ModelOptions
from dda.options import PATH, between, one_of, option

if TYPE_CHECKING:  # torch takes seconds to import
    import torch

    from dda.models.compact.pipeline import CompactPipeline


@dataclass(kw_only=True)
class CompactOptions(ModelOptions):
    """A pixel-space residual diffusion model of 3.7 million parameters; its weights come with the package."""

    name: str = option("The model.", "compact", limit=one_of("compact"))
    checkpoint: str | None = option(
        "A folder that run_train.py wrote; null: the weights that come with the package.",
        None,
        limit=PATH,
        is_path=True,
    )
    steps: int = option("Denoising steps.", 1, limit=between(1, 1000))

    def styles(self) -> list[str]:
        """As :meth:`ModelOptions.styles`."""
        from dda.models.compact.checkpoint import read_style_names

        return read_style_names(self.checkpoint)

    def open(self, device: "torch.device") -> "CompactPipeline":
        """As :meth:`ModelOptions.open`."""
        from dda.models.compact.checkpoint import load_compact_model
        from dda.models.compact.pipeline import CompactPipeline

        return CompactPipeline(load_compact_model(self.checkpoint), self.steps, device)

    def fingerprint(self, device: "torch.device") -> dict[str, object]:
        """As :meth:`ModelOptions.fingerprint`."""
        from dda.models.compact.checkpoint import digest_checkpoint

        return super().fingerprint(device) | {"checkpoint": digest_checkpoint(self.checkpoint)}
