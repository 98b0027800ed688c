"""Checkpoints of the Stable Diffusion DDA, in our format and in foreign ones: recognised, checked, applied."""

from dda.models.formats.applied import AppliedCheckpoint
from dda.models.formats.recognise import apply_checkpoint, digest

__all__ = ["AppliedCheckpoint", "apply_checkpoint", "digest"]
