"""Metrics of pairs and of sets of pairs, one a file: what each measures, in which unit, and what it cannot tell."""
