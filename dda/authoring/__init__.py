"""Seed pairs painted by recipe, where no retoucher is at hand.

May import: faces, images, regions, styles, files, png, options, console, errors. Run it as ``python -m dda.authoring``.
"""
