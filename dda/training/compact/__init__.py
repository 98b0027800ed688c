"""Training of the compact model: all of its weights, on canonical crops of the pairs.

May import: what `dda.training` may.
"""
