"""DDA: amplify a handful of retouched pairs into thousands of (face, same face with makeup) pairs."""

__version__ = "0.1.0"
