"""What a directory holds, as plain values; the pytest plugin compares them, too."""

from fietsupdate.testing.content import Node, contents, tree

__all__ = ["Node", "contents", "tree"]
