"""Where a PostgreSQL database is, in the words of its own programs: from any driver's URL to libpq's parameters."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping

import sqlalchemy as sa

from fietsupdate.database.programs import Call, secret_file

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
"""What libpq knows under the same name
(https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS)."""
_SECRET = ("password", "sslpassword")
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]]+)(?::(\d+))?")


def database_of(url: sa.URL) -> str:
    """Name the database, as libpq would: it is the user's name where none is given."""
    return _one(url, "dbname") or url.database or _one(url, "user") or url.username or os.environ.get("PGDATABASE", "")


def at(url: sa.URL, database: str) -> sa.URL:
    """Give the URL of another database on the same server."""
    return url.difference_update_query(["dbname"]).set(database=database)


def parameters(url: sa.URL) -> dict[str, str]:
    """Translate a URL into libpq's parameters, without passwords; what libpq does not know is left out."""
    found = {name: _one(url, name) for name in _PASSED_ON}
    found["dbname"] = database_of(url)
    found["user"] = _one(url, "user") or url.username or ""
    found["host"], found["port"] = _hosts(url)
    if not found["sslmode"] and _one(url, "ssl") in SSL_MODES:  # asyncpg's name for it
        found["sslmode"] = _one(url, "ssl")
    if not found["connect_timeout"] and "PGCONNECT_TIMEOUT" not in os.environ:
        found["connect_timeout"] = CONNECT_TIMEOUT
    return {name: value for name, value in found.items() if value}


def conninfo(values: Mapping[str, str]) -> str:
    """Write parameters as one connection string."""
    quoted = (value.replace("\\", "\\\\").replace("'", "\\'") for value in values.values())
    return " ".join(f"{name}='{value}'" for name, value in zip(values, quoted, strict=True))


@contextlib.contextmanager
def calling(url: sa.URL, program: str, *arguments: str, hint: str = "") -> Iterator[Call]:
    """Give the call of a program on a database; its password lies in a file that only the program can open."""
    values = parameters(url)
    password = _one(url, "password") or url.password or ""
    key_password = _one(url, "sslpassword")
    environment: dict[str, str | None] = {"PGCLIENTENCODING": "UTF8", "PGAPPNAME": "fietsupdate"}
    descriptors: tuple[int, ...] = ()
    with contextlib.ExitStack() as stack:
        if password:
            text = "*:*:*:*:" + password.replace("\\", "\\\\").replace(":", "\\:") + "\n"
            path, descriptors = stack.enter_context(secret_file(text))
            environment |= {"PGPASSFILE": path, "PGPASSWORD": None}  # the variable would win over the file
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
    """Render a URL for people: passwords are masked wherever they stand."""
    hidden = {name: "***" for name in url.query if name in _SECRET}
    return url.update_query_dict(hidden).render_as_string(hide_password=True)


def _hosts(url: sa.URL) -> tuple[str, str]:
    """Give host and port as libpq takes several: ``a,b`` and ``5432,5433``; a folder is a socket's."""
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
