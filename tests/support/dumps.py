"""The full logical content of a database, as plain values; the pytest plugin compares them, too."""

from fietsupdate.testing.content import Dump, dump

__all__ = ["Dump", "dump"]
