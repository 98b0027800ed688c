"""LoRA training of Stable Diffusion: low-rank matrices in the attention of the U-Net learn all styles, told by prompt.

May import: what `dda.training` may, accelerate and peft.
"""
