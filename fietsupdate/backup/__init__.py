"""Paired backups of both halves: made, kept, found, verified, and restored."""
