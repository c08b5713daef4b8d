"""Turns values into text, without any decisions."""
