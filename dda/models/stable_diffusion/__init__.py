"""Stable Diffusion as a residual diffusion model: base model, conditions, schedulers, pipeline and options.

May import what dda.models may import, and the modules of dda.models except painting, pretrained and compact.
"""
