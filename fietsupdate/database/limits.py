"""Time limits of the server that an update would run into while it works on files.

A hook may move files for an hour, and the connection, with its transaction open, is idle meanwhile. Servers and
providers end such sessions. A limit of the session is lifted for the length of our transaction. A limit that is set
elsewhere (a proxy, a right that is missing) is named by the error, so that the administrator can raise it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from fietsupdate.errors import causes

POSTGRESQL = ("idle_in_transaction_session_timeout", "transaction_timeout", "statement_timeout")
"""Lifted on PostgreSQL; the second exists since 17."""

OWN_WISH = frozenset({"session", "client"})
"""Sources of a value that env.py set itself, by SET or in its URL; such a limit for statements stays."""

MYSQL_LIMITS = {
    "wait_timeout": 604800,
    "idle_transaction_timeout": 0,
    "idle_write_transaction_timeout": 0,
    "idle_readonly_transaction_timeout": 0,
    "net_write_timeout": 86400,
    "max_statement_time": 0,
}
"""Set on MariaDB and MySQL, as far as they exist, where a lower value is in force; 0 is no limit, the rest are seconds.

`net_write_timeout` is how long the server waits for a client that takes the rows of a SELECT one by one.
"""

SQLSTATES: Mapping[str, str] = {
    "25P03": "idle_in_transaction_session_timeout",
    "25P04": "transaction_timeout",
    "57P05": "idle_session_timeout",
}
"""The limit behind an error code of PostgreSQL."""

MESSAGES = {
    "idle-in-transaction timeout": "idle_in_transaction_session_timeout",
    "transaction timeout": "transaction_timeout",
    "idle-session timeout": "idle_session_timeout",
    "statement timeout": "statement_timeout",
    "idle transaction timeout": "idle_transaction_timeout of PgBouncer",
    "query timeout": "query_timeout of PgBouncer",
}
"""The limit behind a text, where a driver passes no code on."""

NUMBERS = {
    1969: "max_statement_time",
    3024: "max_execution_time",
    4031: "wait_timeout",
}
"""The limit behind an error number of MariaDB or MySQL."""

LOST_NUMBERS = frozenset({2006, 2013, 2055})
"""The error numbers of MySQL's drivers for a lost connection."""

LOST_MESSAGES = (
    "server closed the connection unexpectedly",
    "connection was closed in the middle",
    "connection is closed",
    "terminating connection",
)
"""The texts of PostgreSQL's drivers for the same."""


def lift(connection: Connection) -> Mapping[str, str]:
    """Lift the limits of this session, on PostgreSQL for this transaction.

    Returns:
        The values that `restore` has to set again.
    """
    match connection.dialect.name:
        case "postgresql":
            _lift_postgresql(connection)
        case "mysql" | "mariadb":
            return _lift_mysql(connection)
    return {}


def _lift_postgresql(connection: Connection) -> None:
    names = ", ".join(f"'{name}'" for name in POSTGRESQL)
    rows = connection.exec_driver_sql(
        f"SELECT name, setting, source FROM pg_settings WHERE name IN ({names})"  # noqa: S608  # our own constants
    )
    for name, setting, source in rows.all():
        if setting != "0" and not (name == "statement_timeout" and source in OWN_WISH):
            connection.exec_driver_sql(f"SET LOCAL {name} = 0")


def _lift_mysql(connection: Connection) -> Mapping[str, str]:
    names = ", ".join(f"'{name}'" for name in MYSQL_LIMITS)
    rows = connection.exec_driver_sql(f"SHOW SESSION VARIABLES WHERE Variable_name IN ({names})")
    before = {name: value for name, value in rows.all() if 0 < float(value) < (MYSQL_LIMITS[name] or math.inf)}
    restore(connection, {name: str(MYSQL_LIMITS[name]) for name in before})
    return before


def restore(connection: Connection, values: Mapping[str, str]) -> None:
    """Set variables of a session of MariaDB or MySQL to the values that `lift` returned."""
    if values:
        connection.exec_driver_sql("SET SESSION " + ", ".join(f"{name} = {value}" for name, value in values.items()))


def hint(error: BaseException | None) -> str:
    """Return the hint for an error that a time limit has caused, or may have caused; "" for any other error."""
    origins = [cause.orig for cause in causes(error) if isinstance(cause, DBAPIError) and cause.orig is not None]
    for name in filter(None, map(_limit, origins)):
        return f"The limit {name} ended it: raise it for this user, or lift it, then run the same command again."
    if any(map(_is_lost, origins)):
        return (
            "See that the server is well, then run the same command again. If the connection was lost because a hook "
            "works on files for long: raise what ends idle sessions, wait_timeout, idle_transaction_timeout or "
            "idle_in_transaction_session_timeout of the server, or the limit of a proxy in between."
        )
    return ""


def _limit(origin: BaseException) -> str:
    """Return the setting behind a driver's error, or ""."""
    state = getattr(origin, "sqlstate", None) or getattr(origin, "pgcode", None)
    said = (name for words, name in MESSAGES.items() if words in str(origin))
    return SQLSTATES.get(state or "") or NUMBERS.get(_number(origin), "") or next(said, "")


def _number(origin: BaseException) -> int:
    number = getattr(origin, "errno", None) or next(iter(origin.args), None)
    return number if isinstance(number, int) else 0


def _is_lost(origin: BaseException) -> bool:
    return _number(origin) in LOST_NUMBERS or any(words in str(origin) for words in LOST_MESSAGES)
