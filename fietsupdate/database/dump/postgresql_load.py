"""Load a dump of PostgreSQL as any user: objects of roles that are not available are reported by name.

A dump names owners and grantees. On a new machine, or for an ordinary user, some of them do not exist, or this user may
not act for them; the data do not depend on that. So rights are granted one by one after the content is loaded, and the
loading user becomes the owner where the dump's owners are not available.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from fietsupdate.database.dump import postgresql_client as address
from fietsupdate.database.dump import programs
from fietsupdate.database.dump.postgresql_client import INSTALL, meant, psql, select
from fietsupdate.database.dump.store import OnBytes
from fietsupdate.database.quoting import literal
from fietsupdate.model.listeners import ignore

HINT = "Its extensions, and the roles that its policies name, must exist here; this user must be allowed to make them."
LONGEST = 200
"""The most characters of a statement that a message repeats."""
_RIGHTS = frozenset({"ACL", "DEFAULT ACL"})
_LAST = frozenset(
    {"MATERIALIZED VIEW DATA", "EVENT TRIGGER", "COMMENT - EVENT TRIGGER", "SECURITY LABEL - EVENT TRIGGER"}
)
"""Objects that are computed with the granted rights, and objects that would react to the grants."""
_ENTRY = re.compile(rf"\d+; \d+ \d+ ({'|'.join(sorted(_RIGHTS | _LAST, reverse=True))}|\S+) ")
_A_RIGHT = re.compile(
    r"(GRANT|REVOKE|ALTER DEFAULT PRIVILEGES|SET SESSION AUTHORIZATION|RESET SESSION AUTHORIZATION)\b"
)
_ROLES = "SELECT rolname::text FROM pg_roles WHERE pg_has_role(oid, 'MEMBER')"
_ATTEMPT = """DO $fietsupdate$ BEGIN EXECUTE {statement}; EXCEPTION WHEN OTHERS THEN
INSERT INTO pg_temp.fietsupdate_refused VALUES ({shown}, SQLERRM); END $fietsupdate$;
"""


_REFUSED = "CREATE TEMPORARY TABLE fietsupdate_refused (statement text, reason text);\n"
_WHICH = """
COPY (SELECT reason, count(*), min(statement) FROM pg_temp.fietsupdate_refused GROUP BY 1 ORDER BY 1) TO STDOUT;
"""


def load(url: sa.URL, dump: Path, moved: OnBytes, *, tablespaces: bool) -> tuple[str, ...]:
    """Load a dump into an empty database.

    Args:
        url: The database.
        dump: A dump in pg_dump's custom format.
        moved: Called with the number of bytes that were read since the last call.
        tablespaces: Whether the tablespaces of its tables can be used here.

    Returns:
        What could not be restored, in sentences.

    Raises:
        DatabaseError: The dump could not be loaded.
    """
    contents = entries(dump)
    foreign = _foreign_owners(contents, {role or "" for (role,) in select(url, _ROLES)})
    options = [*(["--no-owner"] if foreign else []), *([] if tablespaces else ["--no-tablespaces"])]
    _restore(url, dump, _listed(contents, leave=_RIGHTS | _LAST), *options, moved=moved)
    notes = list(attempted(url, _rights_in(dump, contents)))
    if last := _listed(contents, only=_LAST):
        _restore(url, dump, last, *options)
    if foreign:
        me = select(url, "SELECT current_user::text")[0][0]
        notes.insert(
            0, f"{me} may not act for {', '.join(foreign)}, to whom it belonged: everything belongs to {me} now"
        )
    return tuple(notes)


def entries(dump: Path) -> list[str]:
    """Return the lines of a dump's table of contents."""
    call = programs.Call((_program(), "--list", str(dump)), hint="The dump is not whole: verify the backup.")
    lines = programs.output_of(call).decode(errors="surrogateescape").split("\n")
    return [line for line in lines if _ENTRY.match(line)]


def attempted(url: sa.URL, statements: Iterable[str]) -> Iterator[str]:
    """Execute statements, each by itself.

    Yield the refused ones with the reason, those with the same reason together.
    """
    for reason, count, statement in refused(url, statements):
        more = f", and {int(count) - 1} more" if int(count) > 1 else ""
        yield f"{statement}{more}: {reason}"


def refused(url: sa.URL, statements: Iterable[str], before: str = "") -> list[tuple[str, str, str]]:
    """Execute statements, each by itself, after those in ``before``.

    Returns:
        For each reason of a refusal: the server's text, how many statements were refused, the first of them.
    """
    script = "".join(
        _ATTEMPT.format(statement=literal(one), shown=literal(" ".join(one.split())[:LONGEST])) for one in statements
    )
    if not script:
        return []
    lines = psql(url, f"{_REFUSED}{before}{script}{_WHICH}").decode(errors="replace").splitlines()
    return [(reason, count, statement) for reason, count, statement in (line.split("\t") for line in lines)]


def rows_in(dump: Path, schema: str, table: str) -> list[dict[str, str | None]]:
    """Read the rows of one small table from a dump, without loading it."""
    arguments = (_program(), "--data-only", f"--schema={schema}", f"--table={table}", "--file=-", str(dump))
    lines = programs.output_of(programs.Call(arguments)).decode(errors="surrogateescape").split("\n")
    start = next((number for number, line in enumerate(lines) if line.startswith("COPY ")), None)
    if start is None:
        return []
    names = [name.strip().strip('"') for name in lines[start].partition("(")[2].rpartition(")")[0].split(",")]
    rows = lines[start + 1 : lines.index("\\.", start)]
    return [dict(zip(names, map(meant, row.split("\t")), strict=True)) for row in rows]


def _restore(url: sa.URL, dump: Path, listed: str, *options: str, moved: OnBytes = ignore) -> None:
    with (
        programs.secret_file(listed) as (path, descriptors),
        address.calling(url, _program(), "--exit-on-error", f"--use-list={path}", *options, hint=HINT) as call,
    ):
        programs.from_file(replace(call, descriptors=(*call.descriptors, *descriptors)), dump, moved=moved)


def _rights_in(dump: Path, contents: Sequence[str]) -> Iterator[str]:
    """Yield the statements of a dump that grant and revoke rights."""
    listed = _listed(contents, only=_RIGHTS)
    if not listed:
        return
    with programs.secret_file(listed) as (path, descriptors):
        call = programs.Call((_program(), f"--use-list={path}", "--file=-", str(dump)), {}, descriptors)
        text = programs.output_of(call).decode(errors="surrogateescape")
    for statement in text.split(";\n"):
        plain = "\n".join(line for line in statement.split("\n") if not line.startswith("--")).strip()
        if _A_RIGHT.match(plain):
            yield plain


def _listed(contents: Sequence[str], *, only: Collection[str] = (), leave: Collection[str] = ()) -> str:
    """Return entries of a table of contents by their kinds, in the form that pg_restore reads."""
    kinds = [(line, _ENTRY.match(line)) for line in contents]
    return "".join(
        f"{line}\n" for line, kind in kinds if kind and kind[1] not in leave and (not only or kind[1] in only)
    )


def _foreign_owners(contents: Sequence[str], roles: Collection[str]) -> list[str]:
    """Return the owners in a table of contents that are none of these roles; a line ends with its entry's owner."""
    strange = {
        line.rpartition(" ")[2]
        for line in contents
        if not line.endswith(" ") and not any(line.endswith(f" {role}") for role in roles)
    }
    return sorted(strange)


def _program() -> str:
    return programs.find(["pg_restore"], INSTALL)
