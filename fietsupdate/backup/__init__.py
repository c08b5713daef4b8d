"""Paired copies of both halves: made, kept, found, verified, and brought back."""
