"""The package communities."""
