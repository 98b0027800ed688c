"""Faces: datasets of face pictures, detection, alignment and region masks.

May import dda.errors, dda.files, dda.images, dda.options, dda.png, dda.regions and dda.system.
"""
