"""Residual diffusion models, their makeup module and their checkpoints."""
