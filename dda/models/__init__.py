"""Models that paint makeup as residuals, and the composition of their residuals with the source.

May import dda.faces, dda.errors, dda.files, dda.images, dda.options, dda.regions, dda.seeds and dda.styles.
"""
