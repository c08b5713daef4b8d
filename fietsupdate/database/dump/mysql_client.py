"""Translate any driver's URL of a MariaDB or MySQL database into an option file for the database's own programs."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cache

import sqlalchemy as sa

from fietsupdate.database.dump import programs
from fietsupdate.database.dump.programs import Call, secret_file
from fietsupdate.database.quoting import backquoted, mysql_literal
from fietsupdate.errors import DatabaseError
from fietsupdate.masks import masked

CONNECT_TIMEOUT = "15"
NATIVE = frozenset({"mysqldb", "mariadbconnector", "pyodbc"})
"""Drivers on the C library, for which ``localhost`` is a socket; for all others it is an address."""
_FILES = ("ssl_ca", "ssl_capath", "ssl_cert", "ssl_key", "ssl_cipher")
_VERIFYING = ("ssl_verify_identity", "ssl_check_hostname", "ssl_verify_cert")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b"}


def at(url: sa.URL, database: str) -> sa.URL:
    """Return the URL of another database on the same server."""
    return url.set(database=database)


def options(url: sa.URL) -> str:
    """Return the option file: everything that the programs need to connect, including the password.

    Options that only one family of programs knows are ``loose``: the other family ignores them.
    """
    named = {
        "user": url.username or "",
        "host": url.host or "",
        "port": str(url.port or ""),
        "password": _password(url),
    }
    named["socket"] = _one(url, "unix_socket")
    if not named["socket"] and url.get_driver_name() not in NATIVE:
        named["protocol"] = "tcp"
    named |= {name.replace("_", "-"): _one(url, name) for name in _FILES}
    lines = [f"{name}={_quoted(value)}" for name, value in named.items() if value]
    included = [f"!include {file}"] if (file := _one(url, "read_default_file")) else []
    own = ["default-character-set=utf8mb4", *_encryption(url)]
    client = ["[mysql]", f"connect-timeout={_one(url, 'connect_timeout') or CONNECT_TIMEOUT}"]
    return "\n".join([*included, "[client]", *lines, *own, *client, ""])


@contextlib.contextmanager
def calling(url: sa.URL, program: str, *arguments: str, hint: str = "") -> Iterator[Call]:
    """Yield the call of a program on a server; all secrets are in a file that only the program can open.

    No other option file is read: an administrator's own user and password are not the application's.
    """
    with secret_file(options(url)) as (path, descriptors):
        password = _password(url)
        yield Call(
            (program, f"--defaults-file={path}", *arguments),
            {"MYSQL_PWD": None},
            descriptors,
            (password,) if password else (),
            hint,
        )


def _encryption(url: sa.URL) -> list[str]:
    mode = _one(url, "ssl_mode").upper()
    if mode == "DISABLED" or _is_true(_one(url, "ssl_disabled")):
        return ["loose-skip-ssl", "loose-ssl-mode=DISABLED"]
    if mode == "VERIFY_IDENTITY" or any(_is_true(_one(url, name)) for name in _VERIFYING):
        return ["loose-ssl", "loose-ssl-verify-server-cert", "loose-ssl-mode=VERIFY_IDENTITY"]
    if mode in {"REQUIRED", "VERIFY_CA"} or _is_true(_one(url, "ssl")):
        return ["loose-ssl", f"loose-ssl-mode={mode or 'REQUIRED'}"]
    if any(_one(url, name) for name in _FILES):
        return ["loose-ssl"]
    return ["loose-disable-ssl-verify-server-cert"]  # MariaDB's programs verify since 11.4, where the drivers do not


def _password(url: sa.URL) -> str:
    return _one(url, "password") or _one(url, "passwd") or url.password or ""


def _quoted(value: str) -> str:
    return '"' + "".join(_ESCAPES.get(character, character) for character in value) + '"'


def _is_true(value: str) -> bool:
    return value.lower() in {"1", "true", "yes", "on"}


def _one(url: sa.URL, name: str) -> str:
    value = url.query.get(name, "")
    return value if isinstance(value, str) else value[-1]


# -- Access to a MariaDB or MySQL server through its command line client.


EVENTS = "SELECT event_name FROM information_schema.events WHERE event_schema = {} ORDER BY 1"

Rows = list[tuple[str | None, ...]]

INSTALL = "Install the database's client programs (Debian: mariadb-client, or mysql-client for MySQL)."
UNREACHED = "See that the server can be reached with the URL that env.py opens."
CLIENTS = {"mariadb": ("mariadb", "mysql"), "mysql": ("mysql", "mariadb")}
DUMPERS = {"mariadb": ("mariadb-dump", "mysqldump"), "mysql": ("mysqldump", "mariadb-dump")}
LONGEST_WAIT = 60
"""Seconds that a statement waits for another transaction; MariaDB's default is a day."""
LARGEST = "--max-allowed-packet=1G"

_PATIENCE = f"SET SESSION lock_wait_timeout = {LONGEST_WAIT};\n"
_PLAIN = "SET SESSION sql_mode = '';\n"
"""Keeps the server's rules for quotes and backslashes from applying to our own statements."""
_VERSION = re.compile(r"(?:Distrib|from|Ver) (?!10\.1[0-9] Distrib)(\d+(?:\.\d+)*)")
_SAID = re.compile(r"ERROR (\d+) \([0-9A-Z]{5}\)(?: at line \d+)?: (.*)")
_ROW = re.compile(r"<row>(.*?)</row>", re.DOTALL)
_FIELD = re.compile(r'<field name="[^"]*"(?: xsi:nil="true" />|>(.*?)</field>)', re.DOTALL)
_XML = (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&"))
_CONFUSING = frozenset("'\"\\")
"""Characters in a database's name that mariadb-dump 10.11 escapes once too often when it looks for events."""
_HIDDEN = re.compile(r"insufficient privileges to SHOW CREATE (PROCEDURE|FUNCTION|PACKAGE)")
_DENIED = frozenset({1044, 1045, 1142, 1370})
_WAITED = 1205
_REFERRED = (
    "A foreign key of another database leads here. As an administrator: SELECT constraint_schema, table_name, "
    "constraint_name FROM information_schema.referential_constraints "
    "WHERE unique_constraint_schema <> constraint_schema; drop it there, and add it again, to the table of that name "
    "in the live database."
)
_HINTS = {
    _WAITED: "Stop the application and whatever else has a transaction open, and run the same command again.",
    1217: _REFERRED,
    1451: _REFERRED,
    1227: "What belongs to another user can be made by a user with SET USER only (SUPER on MySQL): GRANT SET USER ON "
    "*.* TO this user, or restore as a user who has it.",
    1418: "SET GLOBAL log_bin_trust_function_creators = 1, or restore as a user with SUPER.",
    1419: "SET GLOBAL log_bin_trust_function_creators = 1, or restore as a user with SUPER.",
    1449: "CREATE USER makes the one that is missing; nothing needs to be granted to it.",
}
"""Hints by the server's error number."""
_CLIENTS_OWN = 2
"""The thousand of the numbers that the client gives to its own errors."""


class MySQLStatementError(DatabaseError):
    """A statement failed, or the server cannot be reached; `number` is the server's own, 0 where it gave none."""

    def __init__(self, url: sa.URL, failure: programs.ProgramFailedError) -> None:
        first = next((match for line in failure.said if (match := _SAID.match(line))), None)
        self.number = int(first[1]) if first else 0
        text = (first[2] if first else " ".join(failure.said)).rstrip(".")
        hint = failure.hint
        if self.number in _DENIED:
            hint = (
                "Databases are made beside the live one, under names that begin with its own: "
                f"GRANT ALL ON {backquoted(beside(url.database or ''))}.* TO this user."
            )
        super().__init__(f"The database said: {text}.", hint=_HINTS.get(self.number, hint))

    @property
    def is_answer(self) -> bool:
        """Whether the server itself refused; otherwise the connection broke, and the statement may still run."""
        return self.number != 0 and self.number // 1000 != _CLIENTS_OWN


families: dict[str, tuple[str, tuple[int, ...], str]] = {}
"""The results of `family`, by the URL of the server without its password, so that no password is kept."""


def family(url: str) -> tuple[str, tuple[int, ...], str]:
    """Return the server of a URL: ``mariadb`` or ``mysql``, its version as numbers, and its version as text."""
    parsed = sa.make_url(url).set(database="")
    server = masked(parsed.render_as_string(hide_password=True))
    if server not in families:
        families[server] = _family(parsed)
    return families[server]


def _family(url: sa.URL) -> tuple[str, tuple[int, ...], str]:
    text = str(select(url, "SELECT VERSION()")[0][0])
    numbers = re.search(r"\d+(?:\.\d+)*", text.removeprefix("5.5.5-"))
    version = tuple(int(part) for part in numbers[0].split(".")) if numbers else ()
    return ("mariadb" if "mariadb" in text.lower() else "mysql"), version, text


def is_mariadb(url: sa.URL) -> bool:
    """Return whether the server of a URL is MariaDB."""
    return family(_server(url))[0] == "mariadb"


def program_version(program: str) -> tuple[int, ...]:
    """Return the version of the release that a client program belongs to."""
    return programs.version(program, _VERSION)


def execute(url: sa.URL, statements: Iterable[str]) -> None:
    """Execute statements on a server, one after the other; in the database of the URL, if it names one.

    Raises:
        MySQLStatementError: A statement failed; those before it were executed.
    """
    script = "".join(f"{statement};\n" for statement in statements)
    if script:
        _answer(url, _PATIENCE + _PLAIN + script)


def execute_script(url: sa.URL, script: bytes) -> None:
    """Execute a script as mariadb-dump writes it, with its DELIMITER lines.

    Raises:
        MySQLStatementError: A statement failed; those before it were executed.
    """
    if script:
        _answer(url, _PATIENCE.encode() + script, "--binary-mode")


def select(url: sa.URL, sql: str) -> Rows:
    """Return the rows of a statement, read as XML, the only format of the client with an unambiguous NULL."""
    text = _answer(url, f"{_PATIENCE}{_PLAIN}{sql.strip().rstrip(';')}\n;\n", "--xml").decode(errors="surrogateescape")
    return [tuple(_meant(field) for field in _FIELD.finditer(row[1])) for row in _ROW.finditer(text)]


@contextmanager
def loading(url: sa.URL) -> Iterator[programs.Call]:
    """Yield the call of the client that loads a dump into the URL's database.

    Raises:
        MySQLStatementError: A statement of the dump failed.
    """
    hint = "If the server has gone away: a row is larger than its max_allowed_packet allows; raise that, and try again."
    with _client(url, "--binary-mode", LARGEST, hint=hint) as call:
        try:
            yield call
        except programs.ProgramFailedError as failure:
            if failure.details.get("program") != call.name:
                raise
            raise MySQLStatementError(url, failure) from failure


def dumping(url: sa.URL, *arguments: str, names: Sequence[str] = ()) -> AbstractContextManager[programs.Call]:
    """Return the call of the dump program on the URL's database, or on some of its tables."""
    program = programs.find(DUMPERS[family(_server(url))[0]], INSTALL)
    hint = "See that this user may read everything in the database, and that no schema change is running."
    database = url.database or ""
    is_confusing = "--events" in arguments and _CONFUSING & set(database)
    if is_confusing and not select(url, EVENTS.format(mysql_literal(database))):
        arguments = tuple(argument for argument in arguments if argument != "--events")
    fixed = ("--no-tablespaces", "--skip-lock-tables", LARGEST, *_only_mysql(program))
    return calling(url, program, *fixed, *arguments, "--", database, *names, hint=hint)


@contextmanager
def dumping_routines(url: sa.URL) -> Iterator[programs.Call]:
    """Yield the call of the dump program for routines only; those that are hidden from this user are left out."""
    bare = ("--no-data", "--no-create-info", "--skip-triggers")
    with dumping(url, *bare, "--routines", "--force") as call:
        yield replace(call, forgiven=_HIDDEN)


@cache
def _only_mysql(program: str) -> tuple[str, ...]:
    """Return the options with which a dump of MySQL's own program can be loaded beside the original, and by MariaDB."""
    is_mariadb = b"MariaDB" in programs.output_of(programs.Call((program, "--version")))
    return () if is_mariadb else ("--set-gtid-purged=OFF", "--column-statistics=0")


def _server(url: sa.URL) -> str:
    return url.set(database="").render_as_string(hide_password=False)


def _client(url: sa.URL, *arguments: str, hint: str = UNREACHED) -> AbstractContextManager[programs.Call]:
    program = programs.find(CLIENTS[url.get_backend_name()], INSTALL)
    database = [f"--database={url.database}"] if url.database else []
    return calling(url, program, "--batch", *arguments, *database, hint=hint)


def _answer(url: sa.URL, text: str | bytes, *arguments: str) -> bytes:
    with _client(url, *arguments) as call:
        try:
            return programs.output_of(call, text)
        except programs.ProgramFailedError as failure:
            raise MySQLStatementError(url, failure) from failure


def _meant(field: re.Match[str]) -> str | None:
    value = field[1]
    if value is not None:
        for code, character in _XML:
            value = value.replace(code, character)
    return value


def beside(database: str) -> str:
    """Return the pattern for grants on a database and on those that restores and clones create beside it."""
    return re.sub(r"([%_])", r"\\\1", database) + "%"
