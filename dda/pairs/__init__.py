"""Pair bookkeeping: which pair is made of what, and the files of a run."""
