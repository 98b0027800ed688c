"""Face parsers: they find the faces of a picture and make the region masks of an aligned face.

May import what dda.faces may import, and the modules of dda.faces except dataset and preparation.
"""
