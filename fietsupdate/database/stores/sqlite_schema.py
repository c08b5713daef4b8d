"""SQLite's schema as text that can be compared: accidents of quoting and layout are taken out.

``ALTER TABLE ... RENAME`` puts quotes around names, and a batch migration writes a definition anew: the text in
sqlite_master changes where the schema does not.
"""

from __future__ import annotations

import re
import sqlite3

_MASTER = """
SELECT type, name, sql FROM sqlite_master
 WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY type, name
"""
_PIECE = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | \[[^\]]*\] | `[^`]*` | --[^\n]* | \w+ | \s+ | .""", re.VERBOSE | re.DOTALL
)
_PLAIN = re.compile(r"""["`\[]([A-Za-z_]\w*)["`\]]""")


def definitions(connection: sqlite3.Connection) -> str:
    """Give every definition, ordered by type and name, each column of a table in a line of its own."""
    rows = connection.execute(_MASTER).fetchall()
    return "".join(f"{_one(sql, split=kind == 'table')};\n" for kind, _name, sql in rows)


def _one(sql: str, *, split: bool) -> str:
    written, depth, space = "", 0, False
    for piece in _PIECE.findall(sql):
        if piece.isspace() or piece.startswith("--"):
            space = True
            continue
        depth -= piece == ")"
        closes = split and piece == ")" and depth == 0
        if closes or written.endswith("\n  "):
            written = f"{written.rstrip()}\n)" if closes else written + _bare(piece)
        else:
            written += f"{' ' * (space and not written.endswith('(') and piece not in '),')}{_bare(piece)}"
        depth += piece == "("
        if split and depth == 1 and piece in "(,":
            written += "\n  "
        space = False
    return written


def _bare(piece: str) -> str:
    plain = _PLAIN.fullmatch(piece)
    return plain[1] if plain else piece
