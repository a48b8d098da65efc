"""The package's version, on its own so that no module has to import the package's face for it."""

__version__ = "0.1.0"
