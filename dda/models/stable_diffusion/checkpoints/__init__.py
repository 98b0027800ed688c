"""Checkpoints that adapt Stable Diffusion to makeup, in every known format: recognized, checked and applied.

May import what dda.models may import, dda.models.residuals and dda.models.stable_diffusion.image_projection.
"""

from dda.models.stable_diffusion.checkpoints.applied_checkpoint import AppliedCheckpoint
from dda.models.stable_diffusion.checkpoints.loader import apply_checkpoint, digest_checkpoint

__all__ = ["AppliedCheckpoint", "apply_checkpoint", "digest_checkpoint"]
