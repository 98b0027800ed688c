"""Evaluation: from the files of pairs to numbers, a summary of the set, plots and a report."""
