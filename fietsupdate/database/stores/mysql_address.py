"""Where a MariaDB or MySQL database is, in the words of its own programs: from any driver's URL to an option file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import sqlalchemy as sa

from fietsupdate.database.programs import Call, secret_file

CONNECT_TIMEOUT = "15"
NATIVE = frozenset({"mysqldb", "mariadbconnector", "pyodbc"})
"""Drivers on the C library, for which ``localhost`` is a socket; for all others it is an address."""
_FILES = ("ssl_ca", "ssl_capath", "ssl_cert", "ssl_key", "ssl_cipher")
_VERIFYING = ("ssl_verify_identity", "ssl_check_hostname", "ssl_verify_cert")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b"}


def at(url: sa.URL, database: str) -> sa.URL:
    """Give the URL of another database on the same server."""
    return url.set(database=database)


def options(url: sa.URL) -> str:
    """Write the option file: all that the programs need to connect, the password too.

    Options that only one family of programs knows are ``loose``: the other passes them over.
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
    """Give the call of a program on a server; all that is secret lies in a file that only the program can open.

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
