"""The compact model: a pixel-space residual diffusion model, its pipeline, checkpoints and options.

May import what dda.models may import, and the modules of dda.models except painting, pretrained and stable_diffusion.
"""
