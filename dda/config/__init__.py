"""Configuration: its types, limits and checks, and the folders of runs."""
