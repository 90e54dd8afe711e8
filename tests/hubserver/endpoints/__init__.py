"""The endpoints, by subject. Importing this package enters them all into the table of `hubserver.wire`."""

from . import commits, discussions, files, models, repositories, uploads

__all__ = ["commits", "discussions", "files", "models", "repositories", "uploads"]
