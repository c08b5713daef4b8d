"""Channels of lessons, offline: rows in a table, content in files. Plugins add to it."""
