"""The package buckets."""
