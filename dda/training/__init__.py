"""Training of the models on seed pairs.

May import: models, faces, metrics, pairs, report, tracking, system, and the modules of the package itself.
"""
