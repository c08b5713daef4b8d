"""Repositories behind a web page: rows in a table, the repositories themselves in a folder."""
