"""The Python API: what `import dda` offers. It may import everything but the stages, the command line and Hydra."""
