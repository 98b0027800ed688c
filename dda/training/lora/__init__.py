"""LoRA training of Stable Diffusion: a few matrices in the U-Net's attention learn all styles, told apart in words."""
