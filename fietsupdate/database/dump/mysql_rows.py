r"""Read the rows of one small table from a dump of MariaDB or MySQL, without a server.

The dump programs write a table's columns, one a line, and its rows as ``INSERT INTO `t` VALUES (...),(...);``, in one
line or one a row. A string contains no line end, which is written as ``\n``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_VALUE = re.compile(rb"\s*(?:(?:_binary )?'((?:[^'\\]|\\.|'')*)'|([^\s,()']+))\s*([,)])", re.DOTALL)
"""A string without its quotes, or a number or NULL; and the character after it."""
_ESCAPED = re.compile(rb"\\(.)|''", re.DOTALL)
_MEANT = {b"0": b"\0", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"Z": b"\x1a"}
"""The meanings of letters after a backslash; any other letter means itself."""


def rows_in(dump: Path, table: str) -> list[dict[str, str | None]]:
    """Return the rows of a table, by column; an empty list where the dump does not contain the table.

    Args:
        dump: A dump that mariadb-dump or mysqldump wrote.
        table: The table's name.
    """
    name = b"`" + table.replace("`", "``").encode() + b"`"
    with open(dump, "rb") as file:
        columns = _columns(file, name)
        inserts = b"".join(_inserts(file, name)) if columns else b""
    return [dict(zip(columns, values, strict=True)) for values in _tuples(inserts)]


def _columns(lines: Iterator[bytes], name: bytes) -> list[str]:
    """Read on to the table's definition, and return the names of its columns."""
    begin = b"CREATE TABLE " + name + b" ("
    if next((line for line in lines if line.startswith(begin)), None) is None:
        return []
    columns = []
    for line in lines:
        if not line.startswith(b"  `"):
            break
        columns.append(line[3:].partition(b"` ")[0].replace(b"``", b"`").decode())
    return columns


def _inserts(lines: Iterator[bytes], name: bytes) -> Iterator[bytes]:
    """Yield the rows in the statements that fill the table, up to the end of the table's section."""
    begin, end = b"INSERT INTO " + name + b" VALUES", b"-- Table structure for "
    is_inside = False
    for line in lines:
        if line.startswith(end):
            return
        if line.startswith(begin):
            is_inside, line = True, line[len(begin) :]  # noqa: PLW2901  # the rest of the same line
        if is_inside:
            yield line
            is_inside = not line.endswith(b";\n")


def _tuples(text: bytes) -> Iterator[list[str | None]]:
    """Yield the values of each row."""
    values: list[str | None] = []
    start = text.find(b"(")
    while start >= 0:
        position = start + 1
        while (match := _VALUE.match(text, position)) is not None:
            values.append(_text(match))
            position = match.end()
            if match[3] == b")":
                break
        yield values
        values, start = [], text.find(b"(", position)


def _text(match: re.Match[bytes]) -> str | None:
    if match[1] is None:
        return None if match[2] == b"NULL" else match[2].decode()
    return _ESCAPED.sub(lambda one: _MEANT.get(one[1], one[1]) if one[1] else b"'", match[1]).decode(errors="replace")
