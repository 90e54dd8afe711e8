"""The version of the package, by the name that other modules import without importing the package itself."""

__version__ = "0.1.0"
