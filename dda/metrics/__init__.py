"""Metrics of pairs and of sets of pairs, one a file; imports `system`, and modules of `dda/` itself."""
