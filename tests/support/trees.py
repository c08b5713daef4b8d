"""What a directory holds, as plain values; the pytest plugin compares them, too."""

from fietsupdate.testing.trees import Node, contents, tree

__all__ = ["Node", "contents", "tree"]
