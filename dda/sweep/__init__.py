"""Sweeps: the jobs of a multirun side by side."""
