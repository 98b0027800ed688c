"""Checkpoints of the Stable Diffusion DDA, in our format and in foreign ones: recognized, checked, applied."""

from dda.models.stable_diffusion.checkpoints.applied_checkpoint import AppliedCheckpoint
from dda.models.stable_diffusion.checkpoints.loader import apply_checkpoint, digest

__all__ = ["AppliedCheckpoint", "apply_checkpoint", "digest"]
