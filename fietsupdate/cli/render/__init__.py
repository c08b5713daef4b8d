"""Turn values into text, without any decisions."""
