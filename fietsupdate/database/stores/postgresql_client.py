"""Talks to a PostgreSQL server through psql, and tells its errors by their SQLSTATE."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from fietsupdate.database import programs
from fietsupdate.database.stores import postgresql_address as address
from fietsupdate.errors import DatabaseError

PSQL = ("--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1", "--set=VERBOSITY=verbose")
MAINTENANCE = ("postgres", "template1")
"""Databases that every server has, from which others are made, renamed and dropped."""
INSTALL = "Install PostgreSQL's client programs of the server's version (Debian: postgresql-client)."
IN_USE, NOT_ALLOWED = "55006", "42501"

Rows = list[tuple[str | None, ...]]
T = TypeVar("T")

_PATIENT = "SET statement_timeout = 0;\nSET default_transaction_read_only = off;\n"
"""What is set for the role or the database is meant for the application's own statements."""
_CONNECTION_FAILED = 2
"""What psql ends with when it could not connect."""
_SAID = re.compile(r"(?:psql:\S+ )?[A-Z]+:\s+(?:([0-9A-Z]{5}): )?(.*)")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_MEANT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_HINTS = {
    NOT_ALLOWED: "Databases are made, renamed and dropped by their owner with CREATEDB: ALTER ROLE name CREATEDB.",
    IN_USE: "Stop the application and whatever else is connected (pg_stat_activity names it), and run the same again.",
}
_UNREACHED = (
    "See that the server runs and can be reached with the URL that env.py opens. If the password is not in that URL, "
    "libpq's programs need it in ~/.pgpass."
)


class StatementFailedError(DatabaseError):
    """A statement failed, or psql could not connect; `sqlstate` is "" then."""

    def __init__(self, failure: programs.ProgramFailedError) -> None:
        found = [_SAID.match(line) for line in failure.said]
        coded = [match for match in found if match and match[1]]
        self.sqlstate = coded[0][1] if coded else ""
        self.text = (coded[0][2] if coded else " ".join(failure.said)).rstrip(".")
        self.exit_status = failure.exit_status
        detail = next((match[2] for match in found if match and match[0].startswith("DETAIL")), "").rstrip(".")
        super().__init__(
            f"PostgreSQL said: {self.text}.{f' {detail}.' if detail else ''}",
            hint=_HINTS.get(self.sqlstate, failure.hint),
        )


def psql(url: sa.URL, sql: str, *options: str) -> bytes:
    """Execute statements; give what they write.

    Raises:
        StatementFailedError: one of them failed, or the database cannot be reached.
    """
    program = programs.find(["psql"], INSTALL)
    with address.calling(url, program, *PSQL, *options, "--file=-", hint=_UNREACHED) as call:
        try:
            return programs.output_of(call, _PATIENT + sql)
        except programs.ProgramFailedError as failure:
            raise StatementFailedError(failure) from failure


def select(url: sa.URL, sql: str, *, before: str = "") -> Rows:
    """Give the rows of a SELECT; COPY is the one form in which psql writes every value so that it can be read back.

    Args:
        url: The database.
        sql: One SELECT.
        before: Statements that are executed before it, in the same session.
    """
    output = psql(url, f"{before}COPY ({sql.strip().rstrip(';')}\n) TO STDOUT;\n").decode(errors="surrogateescape")
    return [tuple(meant(value) for value in line.split("\t")) for line in output.split("\n")[:-1]]


class Server:
    """The server of a database, reached from one of its maintenance databases."""

    def __init__(self, url: sa.URL) -> None:
        self._url = url
        self._maintenance: tuple[str, ...] = MAINTENANCE

    def ask(self, sql: str) -> Rows:
        """Give the rows of a SELECT."""
        return self._reached(lambda url: select(url, sql))

    def administer(self, sql: str) -> None:
        """Execute statements, each committed by itself."""
        self._reached(lambda url: psql(url, f"{sql};\n"))

    def _reached(self, action: Callable[[sa.URL], T]) -> T:
        failure: StatementFailedError | None = None
        for name in self._maintenance:
            try:
                answer = action(address.at(self._url, name))
            except StatementFailedError as error:
                if error.exit_status != _CONNECTION_FAILED:
                    raise
                failure = failure or error
            else:
                self._maintenance = (name,)
                return answer
        raise DatabaseError(
            f"None of the databases {', '.join(MAINTENANCE)} can be reached: {failure.text if failure else ''}.",
            hint="Databases are made and renamed from there: allow this user to connect (pg_hba.conf, GRANT CONNECT).",
        ) from failure


def meant(value: str) -> str | None:
    """Read a value of COPY's text format."""
    if value == "\\N":
        return None
    return _ESCAPED.sub(lambda match: _MEANT.get(match[1], match[1]), value) if "\\" in value else value
