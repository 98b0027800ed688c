"""Evaluation: measured pairs, statistics and verdicts; imports `metrics` and the folders below it."""
