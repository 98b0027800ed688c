"""Tracking of jobs with Weights & Biases (W&B), which may fail but never stops a job, nor holds it up."""
