"""Access to PostgreSQL through its own programs: URLs become libpq's parameters, psql executes, errors have a SQLSTATE.

`Server` creates and drops databases, `PostgreSQLClient` reads one.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import sqlalchemy as sa

from fietsupdate.database.dump import programs
from fietsupdate.database.dump.client import DatabaseClient
from fietsupdate.database.dump.programs import Call, secret_file
from fietsupdate.database.identity import ASKED
from fietsupdate.database.quoting import literal
from fietsupdate.errors import DatabaseError

SSL_MODES = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
CONNECT_TIMEOUT = "15"
_PASSED_ON = frozenset(
    (
        *("hostaddr", "passfile", "connect_timeout", "options", "service", "target_session_attrs", "channel_binding"),
        *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
        *("sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslcrldir", "sslsni", "sslnegotiation"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version", "sslcertmode", "requirepeer", "require_auth"),
        *("krbsrvname", "gsslib", "gssencmode", "gssdelegation", "load_balance_hosts"),
    )
)
"""Parameters that libpq knows under the same name
(https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS)."""
_SECRET = ("password", "sslpassword")
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]]+)(?::(\d+))?")


def database_of(url: sa.URL) -> str:
    """Return the name of the database, as libpq determines it: the user's name where none is given."""
    return _one(url, "dbname") or url.database or _one(url, "user") or url.username or os.environ.get("PGDATABASE", "")


def at(url: sa.URL, database: str) -> sa.URL:
    """Return the URL of another database on the same server."""
    return url.difference_update_query(["dbname"]).set(database=database)


def parameters(url: sa.URL) -> dict[str, str]:
    """Return libpq's parameters for a URL, without passwords; parameters that libpq does not know are left out."""
    values = {name: _one(url, name) for name in _PASSED_ON}
    values["dbname"] = database_of(url)
    values["user"] = _one(url, "user") or url.username or ""
    values["host"], values["port"] = _hosts(url)
    if not values["sslmode"] and _one(url, "ssl") in SSL_MODES:  # asyncpg's name for it
        values["sslmode"] = _one(url, "ssl")
    if not values["connect_timeout"] and "PGCONNECT_TIMEOUT" not in os.environ:
        values["connect_timeout"] = CONNECT_TIMEOUT
    return {name: value for name, value in values.items() if value}


def conninfo(values: Mapping[str, str]) -> str:
    """Return parameters as one connection string."""
    quoted = (value.replace("\\", "\\\\").replace("'", "\\'") for value in values.values())
    return " ".join(f"{name}='{value}'" for name, value in zip(values, quoted, strict=True))


@contextlib.contextmanager
def calling(url: sa.URL, program: str, *arguments: str, hint: str = "") -> Iterator[Call]:
    """Yield the call of a program on a database; its password is in a file that only the program can open."""
    values = parameters(url)
    password = _one(url, "password") or url.password or ""
    key_password = _one(url, "sslpassword")
    environment: dict[str, str | None] = {"PGCLIENTENCODING": "UTF8", "PGAPPNAME": "fietsupdate"}
    descriptors: tuple[int, ...] = ()
    with contextlib.ExitStack() as stack:
        if password:
            text = "*:*:*:*:" + password.replace("\\", "\\\\").replace(":", "\\:") + "\n"
            path, descriptors = stack.enter_context(secret_file(text))
            environment |= {"PGPASSFILE": path, "PGPASSWORD": None}  # the variable would override the file
            values.pop("passfile", None)
        if key_password and "service" not in values:
            path, more = stack.enter_context(secret_file(f"[fietsupdate]\nsslpassword={key_password}\n"))
            values["service"], descriptors = "fietsupdate", (*descriptors, *more)
            environment["PGSERVICEFILE"] = path
        yield Call(
            (program, "--no-password", *arguments, f"--dbname={conninfo(values)}"),
            environment,
            descriptors,
            tuple(secret for secret in (password, key_password) if secret),
            hint,
        )


def without_secrets(url: sa.URL) -> str:
    """Return a URL for messages: passwords are masked wherever they occur."""
    hidden = {name: "***" for name in url.query if name in _SECRET}
    return url.update_query_dict(hidden).render_as_string(hide_password=True)


def _hosts(url: sa.URL) -> tuple[str, str]:
    """Return host and port, several in libpq's form: ``a,b`` and ``5432,5433``; a folder is that of a socket."""
    if socket := _one(url, "unix_sock"):  # pg8000: the socket itself
        folder, _, name = socket.rpartition("/")
        return folder, name.rpartition(".")[2]
    given = url.query.get("host", ())
    named = [host for part in ([given] if isinstance(given, str) else given) for host in part.split(",")]
    ports = ",".join([port] if isinstance(port := url.query.get("port", ()), str) else port)
    if not named:
        default = "localhost" if url.get_driver_name() == "pg8000" else ""
        return url.host or default, ports or str(url.port or "")
    pairs = [_HOST_AND_PORT.fullmatch(host) for host in named]
    if not ports and any(pair and pair[2] for pair in pairs):
        ports = ",".join((pair[2] or "") if pair else "" for pair in pairs)
    hosts = ",".join(pair[1].strip("[]") if pair else host for pair, host in zip(pairs, named, strict=True))
    return hosts, ports or str(url.port or "")


def _one(url: sa.URL, name: str) -> str:
    value = url.query.get(name, "")
    return value if isinstance(value, str) else value[-1]


# -- Access to a PostgreSQL server through psql; errors are distinguished by their SQLSTATE.


PSQL = ("--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1", "--set=VERBOSITY=verbose")
MAINTENANCE = ("postgres", "template1")
"""Databases that every server has, from which other databases are created, renamed and dropped."""
INSTALL = "Install PostgreSQL's client programs of the server's version (Debian: postgresql-client)."
IN_USE, NOT_ALLOWED = "55006", "42501"

Rows = list[tuple[str | None, ...]]
T = TypeVar("T")

_PATIENT = "SET statement_timeout = 0;\nSET default_transaction_read_only = off;\n"
"""Settings of the role or the database are meant for the application's own statements."""
_CONNECTION_FAILED = 2
"""The exit status of psql when it could not connect."""
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


class PostgreSQLStatementError(DatabaseError):
    """A statement failed, or psql could not connect; then `sqlstate` is ""."""

    def __init__(self, failure: programs.ProgramFailedError) -> None:
        matches = [_SAID.match(line) for line in failure.said]
        coded = [match for match in matches if match and match[1]]
        self.sqlstate = coded[0][1] if coded else ""
        self.text = (coded[0][2] if coded else " ".join(failure.said)).rstrip(".")
        self.exit_status = failure.exit_status
        detail = next((match[2] for match in matches if match and match[0].startswith("DETAIL")), "").rstrip(".")
        super().__init__(
            f"PostgreSQL said: {self.text}.{f' {detail}.' if detail else ''}",
            hint=_HINTS.get(self.sqlstate, failure.hint),
        )


def psql(url: sa.URL, sql: str, *options: str) -> bytes:
    """Execute statements; return their output.

    Raises:
        PostgreSQLStatementError: A statement failed, or the database cannot be reached.
    """
    program = programs.find(["psql"], INSTALL)
    with calling(url, program, *PSQL, *options, "--file=-", hint=_UNREACHED) as call:
        try:
            return programs.output_of(call, _PATIENT + sql)
        except programs.ProgramFailedError as failure:
            raise PostgreSQLStatementError(failure) from failure


def select(url: sa.URL, sql: str, *, before: str = "") -> Rows:
    """Return the rows of a SELECT, read by COPY, the only format of psql in which every value can be read back.

    Args:
        url: The database.
        sql: One SELECT.
        before: Statements that are executed before it, in the same session.
    """
    output = psql(url, f"{before}COPY ({sql.strip().rstrip(';')}\n) TO STDOUT;\n").decode(errors="surrogateescape")
    return [tuple(meant(value) for value in line.split("\t")) for line in output.split("\n")[:-1]]


class Server:
    """The server of a database, reached through one of its maintenance databases."""

    def __init__(self, url: sa.URL) -> None:
        self._url = url
        self._maintenance: tuple[str, ...] = MAINTENANCE

    def ask(self, sql: str) -> Rows:
        """Return the rows of a SELECT."""
        return self._reached(lambda url: select(url, sql))

    def administer(self, sql: str) -> None:
        """Execute statements, each committed by itself."""
        self._reached(lambda url: psql(url, f"{sql};\n"))

    def _reached(self, action: Callable[[sa.URL], T]) -> T:
        failure: PostgreSQLStatementError | None = None
        for name in self._maintenance:
            try:
                answer = action(at(self._url, name))
            except PostgreSQLStatementError as error:
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


DUMPED_TABLES = """
SELECT n.nspname, c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
   AND NOT EXISTS (SELECT FROM pg_depend e
                    WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
"""
"""The query for the tables in a dump, which does not contain those of extensions."""

_TABLES = f"""
SELECT CASE nspname WHEN 'public' THEN relname ELSE nspname || '.' || relname END, format('%I.%I', nspname, relname)
  FROM ({DUMPED_TABLES}) dumped WHERE relkind = 'r' ORDER BY 1
"""  # noqa: S608  # our own text


class PostgreSQLClient(DatabaseClient):
    """One database on a PostgreSQL server, as psql reaches it."""

    def __init__(self, url: str, *, is_ours: bool = False) -> None:
        self.url = url
        self.is_ours = is_ours
        self._parsed = sa.make_url(url)
        self.name = database_of(self._parsed)
        self._server = Server(self._parsed)

    @property
    def shown(self) -> str:
        """The URL with its passwords masked, including those in its query."""
        return without_secrets(self._parsed)

    def identity(self) -> tuple[str, ...]:
        """Return the server's answer to the same query through psql."""
        return tuple(value or "" for value in self.query(ASKED["postgresql"])[0])

    def exists(self) -> bool:
        """Return whether the server lists the database."""
        return bool(self._server.ask(f"SELECT 1 FROM pg_database WHERE datname = {literal(self.name)}"))  # noqa: S608

    def size(self) -> int:
        """Return the bytes of the database on disk, as the server counts them."""
        sql = f"SELECT pg_database_size(oid) FROM pg_database WHERE datname = {literal(self.name)}"  # noqa: S608
        return int((self._server.ask(sql) or [("0",)])[0][0] or 0)

    def run(self, sql: str) -> None:
        """Execute statements, all of them in one transaction."""
        psql(self._parsed, f"{sql}\n;\n", "--single-transaction")

    def query(self, sql: str) -> list[tuple[str | None, ...]]:
        """Return the rows of one SELECT (or VALUES, or TABLE), each value in PostgreSQL's own text form."""
        return select(self._parsed, sql)

    def tables(self) -> list[str]:
        """Return the tables with rows, without those of extensions."""
        return [name for name, _ in self._all_tables()]

    def row_counts(self) -> dict[str, int]:
        """Count the rows of every table, in one statement."""
        tables = self._all_tables()
        if not tables:
            return {}
        counts = (f"SELECT {number}, count(*) FROM {table}" for number, (_, table) in enumerate(tables))  # noqa: S608
        rows = self.query(" UNION ALL ".join(counts) + " ORDER BY 1")
        return {name: int(count or 0) for (name, _), (_, count) in zip(tables, rows, strict=True)}

    def analyze(self) -> None:
        """Update the statistics of the planner, which no dump contains; the server would do so itself, but later."""
        if tables := self._all_tables():
            psql(self._parsed, f"ANALYZE {', '.join(table for _, table in tables)};")

    def _all_tables(self) -> list[tuple[str, str]]:
        return [(name or "", table or "") for name, table in self.query(_TABLES)]


def meant(value: str) -> str | None:
    """Return the meaning of a value in COPY's text format; None for NULL."""
    if value == "\\N":
        return None
    return _ESCAPED.sub(lambda match: _MEANT.get(match[1], match[1]), value) if "\\" in value else value
