"""A small library of GPX tracks: users, their tracks, and tags; the recordings are files."""

__version__ = "2.0"
