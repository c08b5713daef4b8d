"""Templates for the paths that rows name: a text with columns in braces makes a path from the values of a row.

``tracks/{id}/track.gpx`` names a column, ``{id:06d}`` formats it as Python does, ``{id:hex}`` and ``{id:uuid}`` write
bytes and UUIDs as their digits, ``{created:%Y/%m}`` a time, and ``{id[:2]}`` takes a part of the resulting text.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fietsupdate.model.patterns import is_below_root

Value = str | bytes
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|([{}])")
_FIELD = re.compile(r"([^\[\]:!.{}]+)(?:\[(-?\d*):(-?\d*)\])?(?::([^\[\]]+))?")
_UNTIDY = re.compile(rb"(?:\A|/)(?:\.{0,2}|\.fietsupdate)(?=/|\Z)|\0")
_UUID_DIGITS = re.compile(r"[0-9a-fA-F]{32}")


class ReferencePathError(ValueError):
    """The values of a row make no path below its root; the text says why, `path` is the result."""

    def __init__(self, why: str, path: bytes = b"") -> None:
        super().__init__(why)
        self.path = path


@dataclass(frozen=True, slots=True)
class Field:
    """A column in a template."""

    column: str
    spec: str = ""
    start: int | None = None
    stop: int | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the value is used unchanged."""
        return not self.spec and self.start is None and self.stop is None

    def text(self, value: Any) -> Value:
        """Return the text for a value in the path.

        Raises:
            ReferencePathError: The value does not fit the format.
        """
        if isinstance(value, memoryview | bytearray):
            value = bytes(value)
        try:
            found = _formatted(value, self.spec)
        except (ValueError, TypeError) as error:
            raise ReferencePathError(
                f"{self.column} is {value!r}, which {{{self.column}:{self.spec}}} cannot write"
            ) from error
        return found if self.is_plain else found[self.start : self.stop]


@dataclass(frozen=True)
class Template:
    """A parsed template.

    Args:
        text: The text in the script.
        pieces: Texts, and columns between them.
    """

    text: str
    pieces: tuple[str | Field, ...]

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that a path needs, each once."""
        return tuple(dict.fromkeys(piece.column for piece in self.pieces if isinstance(piece, Field)))

    @cached_property
    def folder(self) -> str:
        """The folder of all paths of this template, with a slash at its end; "" is the root."""
        first = self.pieces[0] if self.pieces and isinstance(self.pieces[0], str) else ""
        return first[: first.rfind("/") + 1]

    def maker(self) -> Callable[[Sequence[Any]], bytes | None]:
        """Return a function that makes the path of a row from the values of `columns`; further values are ignored.

        The function returns ``None`` if a column is NULL or an empty text, which name no file.
        """
        places = {column: number for number, column in enumerate(self.columns)}
        pieces = [(None, piece) if isinstance(piece, str) else (piece, places[piece.column]) for piece in self.pieces]

        def slowly(row: Sequence[Any]) -> bytes | None:
            parts: list[Value] = []
            for field, what in pieces:
                if field is None:
                    parts.append(str(what))
                    continue
                value = row[what]  # type: ignore[index]
                if value is None or value in ("", b""):
                    return None
                parts.append(field.text(value))
            return tidy(b"".join(part if isinstance(part, bytes) else encoded(part) for part in parts))

        fields = [piece for piece in self.pieces if isinstance(piece, Field)]
        if not all(field.is_plain for field in fields) or len(fields) != len(self.columns):
            return slowly
        return self._quickly(slowly, len(fields))

    def _quickly(
        self, slowly: Callable[[Sequence[Any]], bytes | None], width: int
    ) -> Callable[[Sequence[Any]], bytes | None]:
        """Return a faster function for numbers and texts without a format, which nearly all are."""
        probe = "".join(piece if isinstance(piece, str) else "x" for piece in self.pieces)
        is_plain = "/." not in f"/{probe}"  # then only a value can lead elsewhere, and no letters and digits do
        form = "".join(piece.replace("%", "%%") if isinstance(piece, str) else "%s" for piece in self.pieces)
        untidy = _UNTIDY.search

        def make(row: Sequence[Any]) -> bytes | None:
            values = row[:width]
            tame = is_plain
            for value in values:
                if type(value) is str:
                    if not value:
                        return None
                    tame = tame and value.isalnum()
                elif type(value) is not int:
                    return slowly(row)
            try:
                path = (form % tuple(values)).encode()
            except UnicodeEncodeError:
                return slowly(row)
            return path if tame or not untidy(path) else slowly(row)

        return make


def read(text: str) -> Template:
    """Parse a template.

    Raises:
        ValueError: The text is not valid; the error says why.
    """
    template = Template(text, tuple(_pieces(text)))
    probe = "".join(piece if isinstance(piece, str) else "x" for piece in template.pieces)
    if text.endswith("/"):
        raise ValueError("it names a folder; name the file")
    if not is_below_root(probe):
        raise ValueError("it is no path below a root")
    return template


def tidy(path: bytes) -> bytes:
    """Return a path without empty parts and ``.``.

    Raises:
        ReferencePathError: The path leads out of its root, or into our own folder.
    """
    if not _UNTIDY.search(path):
        return path
    parts = path.split(b"/")
    why = ""
    if b"\0" in path:
        why = "it contains a NUL byte"
    elif path.startswith(b"/"):
        why = "it is absolute"
    elif b".." in parts:
        why = "it contains '..'"
    elif b".fietsupdate" in parts:
        why = "it leads into .fietsupdate"
    kept = b"/".join(part for part in parts if part not in {b"", b"."})
    if why or not kept:
        raise ReferencePathError(why or "it is empty", path)
    return kept


def encoded(text: str) -> bytes:
    """Return the bytes of a name: UTF-8, and the original bytes for surrogates (PEP 383).

    Raises:
        ReferencePathError: A character of the name has no bytes.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise ReferencePathError("it has a character that no name can have") from error


def decoded(path: bytes) -> str:
    """Return the text of a name, which `encoded` turns into the same bytes again."""
    return path.decode("utf-8", "surrogateescape")


def _pieces(text: str) -> Iterator[str | Field]:
    constant, end = "", 0
    for found in _TOKEN.finditer(text):
        constant += text[end : found.start()]
        end = found.end()
        if found[0] in {"{{", "}}"}:
            constant += found[0][0]
        elif found[2]:
            raise ValueError(f"a single {found[2]!r} stands in it; write it twice where it is meant")
        else:
            if constant:
                yield constant
            constant = ""
            yield _field(found[1])
    if constant + text[end:]:
        yield constant + text[end:]


def _field(text: str) -> Field:
    found = _FIELD.fullmatch(text)
    if found is None:
        raise ValueError(f"{{{text}}} is no column; write {{column}}, {{column:02x}} or {{column[:2]}}")
    column, start, stop, spec = found.groups()
    return Field(column.strip(), spec or "", int(start) if start else None, int(stop) if stop else None)


def _formatted(value: Any, spec: str) -> Value:
    if not spec:
        return value if isinstance(value, bytes | str) else str(value)
    if spec in {"hex", "uuid"}:
        return _digits(value, spec)
    if spec.startswith("%"):
        moment = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
        if not isinstance(moment, dt.date):
            raise TypeError
        return format(moment, spec)
    return format(int(value) if not isinstance(value, int | str | float) and value == int(value) else value, spec)


def _digits(value: Any, spec: str) -> str:
    """Return the hexadecimal digits of bytes or of a UUID, in whatever form a database stores it."""
    if isinstance(value, bytes):
        digits = value.hex()
    elif isinstance(value, str):
        digits = value.replace("-", "").lower()
    else:
        digits = uuid.UUID(str(value)).hex
    if spec == "hex":
        return bytes.fromhex(digits).hex()
    if not _UUID_DIGITS.fullmatch(digits):
        raise ValueError(digits)
    return str(uuid.UUID(digits))
