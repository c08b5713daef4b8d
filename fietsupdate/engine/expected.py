"""Collect the files that rows name, by references and by hooks of scripts, inside of one visit to the database."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fietsupdate.database.references import MissingTableError, Query, UndecodableError, query_of, rows
from fietsupdate.engine import hooks
from fietsupdate.engine.spool import Expected, Spool, key_of, plain
from fietsupdate.errors import FietsupdateError, ScriptError, UpdateFailedError
from fietsupdate.model import Direction, Update
from fietsupdate.model.references import FindingKind, Reference, ReferenceCount, ReferenceRule
from fietsupdate.model.templates import ReferencePathError, encoded, tidy
from fietsupdate.planning.references import HOOK, Declarations

if TYPE_CHECKING:
    from sqlalchemy import Connection

DIGEST_BYTES = 32
CallHook = Callable[[Update], Iterator[Any]]
"""Yields what the hook of a script yields."""


@dataclass
class ReferenceSource:
    """One reference, declared or from a hook, and its counts."""

    table: str
    path: str
    root: str
    keys: tuple[str, ...]
    optional: bool
    rows: int = 0
    wrong: Counter[FindingKind] = field(default_factory=Counter)

    @property
    def count(self) -> ReferenceCount:
        """The counts of this reference."""
        kinds = FindingKind.MISSING, FindingKind.SIZE, FindingKind.DIGEST
        missing, size, digest = (self.wrong[kind] for kind in kinds)
        return ReferenceCount(self.table, self.path, self.root, self.rows, missing, size, digest)


@dataclass
class Expectation:
    """Reads the paths that rows name.

    Args:
        connection: The connection of a visit.
        call_hook: Calls the hook of a script.
        roots: The names of the roots.
        streams: Whether results can be streamed; see `fietsupdate.database.references.rows`.
        lenient: Whether to skip a reference whose table or columns do not exist (yet).
    """

    connection: Connection
    call_hook: CallHook
    roots: Collection[str]
    streams: bool = True
    lenient: bool = False
    sources: list[ReferenceSource] = field(default_factory=list)

    def fill(self, spool: Spool, declarations: Declarations, *, digests: bool) -> None:
        """Put the paths that rows name into a spool.

        Args:
            spool: The spool.
            declarations: The valid declarations.
            digests: Whether to read the digests in the rows.

        Raises:
            ScriptError: A reference names a table, a column or a root that does not exist.
            DatabaseError: The database cannot be read.
            UpdateFailedError: A hook failed.
        """
        for rule, update in declarations.rules:
            self._check_root(rule.root, update, str(rule))
            with self._attempt(spool):
                query = self._query(rule, update, digests=digests)
                self._fill_by_rule(spool, query, digests=digests)
        for one, update in declarations.owners:
            self._check_root(one.root, update, str(one))
        for update in declarations.hooks:
            with self._attempt(spool):
                self._fill_by_hook(spool, update, digests=digests)

    @contextmanager
    def _attempt(self, spool: Spool) -> Iterator[None]:
        """If lenient, skip a reference that cannot be read, and remove what was read of it."""
        if not self.lenient:
            yield
            return
        before = len(self.sources)
        try:
            with self.connection.begin_nested():
                yield
        except FietsupdateError:
            for number in range(before, len(self.sources)):
                spool.forget(number)
                self.sources[number].rows = 0

    def _check_root(self, root: str, update: Update, what: str) -> None:
        if root not in self.roots:
            raise _no_root(root, what, update)

    def _query(self, rule: ReferenceRule, update: Update, *, digests: bool) -> Query:
        try:
            return query_of(self.connection, rule, digests=digests)
        except MissingTableError as error:
            place = f"{update.path}:{update.declares.line}"
            raise ScriptError(
                f"{place}: {error.message[:-1]}, which the reference {rule.path!r} needs.",
                hint="Declare in a later update what is true now: `references = [...]`.",
            ) from error

    def _fill_by_rule(self, spool: Spool, query: Query, *, digests: bool) -> None:
        rule, number = query.rule, len(self.sources)
        source = ReferenceSource(rule.name, rule.path, rule.root, query.keys, rule.optional)
        self.sources.append(source)
        read = _Reader(spool, query, number, digests=digests)
        try:
            source.rows = spool.expect(rule.root, read(rows(self.connection, query, streams=self.streams)))
        except UndecodableError:
            spool.forget(number)
            again = rows(self.connection, query, streams=self.streams, bytewise=True)
            source.rows = spool.expect(rule.root, read(again))
        source.rows += read.refused

    def _fill_by_hook(self, spool: Spool, update: Update, *, digests: bool) -> None:
        known: dict[tuple[object, ...], int] = {}
        where = f"{hooks.CLASSES[Direction.UP]}.{HOOK} of {update.update_id}"
        by_root: dict[str, list[Expected]] = {}
        for one in self.call_hook(update):
            if not isinstance(one, Reference):
                raise UpdateFailedError(f"{where} gave {one!r}; it must yield fietsupdate.Reference(path, row=...).")
            self._check_root(one.root, update, where)
            names, key = _named(one.row)
            what = (one.table, one.root, one.optional, names)
            if what not in known:
                known[what] = len(self.sources)
                self.sources.append(ReferenceSource(one.table, where, one.root, names, one.optional))
            number = known[what]
            self.sources[number].rows += 1
            path = os.fspath(one.path)
            try:
                text = tidy(path if isinstance(path, bytes) else encoded(path))
                digest = digest_of(one.sha256) if digests else None
            except ReferencePathError as error:
                spool.refuse(one.root, error.path or str(path).encode("utf-8", "replace"), number, key, str(error))
                continue
            held = by_root.setdefault(one.root, [])
            held.append((text, number, key, one.size, digest))
            if len(held) >= AT_ONCE:
                spool.expect(one.root, held)
                held.clear()
        for root, held in by_root.items():
            spool.expect(root, held)


AT_ONCE = 1000
"""References of a hook that are put into the spool at a time."""


class _Reader:
    """Turns the rows of a reference into entries of the spool."""

    def __init__(self, spool: Spool, query: Query, number: int, *, digests: bool) -> None:
        self._spool, self._query, self._number = spool, query, number
        self._digest_place = query.place(query.rule.sha256) if digests else None
        self.refused = 0

    def __call__(self, found: Iterator[Any]) -> Iterator[Expected]:
        self.refused = 0
        query, number, digest_place = self._query, self._number, self._digest_place
        make, size_place = query.rule.template.maker(), query.place(query.rule.size)
        places = query.key_places
        first = places[0] if len(places) == 1 else -1
        for row in found:
            key = row[first] if first >= 0 and type(row[first]) is int else self._key(row)
            try:
                path = make(row)
                size = None if size_place is None else size_of(row[size_place])
                digest = None if digest_place is None else digest_of(row[digest_place])
            except ReferencePathError as error:
                self.refused += 1
                shown = error.path or query.rule.path.encode()
                self._spool.refuse(query.rule.root, shown, number, key_of([key]) if first >= 0 else key, str(error))
                continue
            if path is not None:
                yield path, number, key, size, digest

    def _key(self, row: Any) -> Any:
        return key_of([row[place] for place in self._query.key_places])


def size_of(value: Any) -> int | None:
    """Return the size in a row.

    Raises:
        ReferencePathError: The value is no size.
    """
    if value is None or type(value) is int:
        return value
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise ReferencePathError(f"its row says {value!r}, which is no size") from error


def digest_of(value: Any) -> bytes | None:
    """Return the digest in a row, which may be hexadecimal digits or bytes.

    Raises:
        ReferencePathError: The value is no SHA-256.
    """
    if value is None or value == "":
        return None
    found = bytes(value) if isinstance(value, bytes | bytearray | memoryview) else str(value).strip()
    try:
        if isinstance(found, bytes) and len(found) != DIGEST_BYTES:
            found = found.decode("ascii")
        digest = found if isinstance(found, bytes) else bytes.fromhex(found)
    except ValueError:
        digest = b""
    if len(digest) != DIGEST_BYTES:
        raise ReferencePathError(f"its row says {value!r}, which is no SHA-256")
    return digest


def _named(row: object) -> tuple[tuple[str, ...], Any]:
    """Return the names and the key of the row that a hook yields."""
    if isinstance(row, Mapping):
        return tuple(map(str, row)), key_of(list(row.values()))
    return ("row",), key_of([plain(row)])


def _no_root(root: str, what: str, update: Update) -> ScriptError:
    return ScriptError(
        f"{update.path}:{update.declares.line}: {what} is below the root {root!r}, which is not configured.",
        hint=f"Name it in the configuration: extra_dirs = {root}=/the/folder",
    )
