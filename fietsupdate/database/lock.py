"""The database's own lock: one transaction of ours at a time, whichever process begins it.

The lock is polled, never waited for inside a statement: a session that waits inside a statement deadlocks with ``CREATE
INDEX CONCURRENTLY`` on PostgreSQL (protocol, 4). On PostgreSQL and SQLite the transaction itself holds the lock, so it
lasts exactly as long as its COMMIT may still run; on MariaDB and MySQL the session holds it.
"""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection, text

from fietsupdate.views import MYSQL

PYSQLITE_BUSY = ("database is locked", "database table is locked", "database schema is locked")

LONGEST_WAIT = 60
"""Seconds that a schema change waits for another session's locks."""


def lock_name(table: str, schema: str | None) -> str:
    """Return the name of the lock, derived from the ledger's table; at most 64 characters, as MySQL requires."""
    return "fietsupdate:" + hashlib.sha256(f"{schema or ''}.{table}".encode()).hexdigest()[:48]


def try_lock(connection: Connection, name: str) -> bool:
    """Take the lock without waiting; return True when it is ours, even if it was ours before."""
    match connection.dialect.name:
        case "postgresql":
            key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
            return bool(connection.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": key}))
        case "mysql" | "mariadb":
            mine = text("SELECT GET_LOCK(CONCAT(:name, LEFT(MD5(DATABASE()), 4)), 0)")
            return bool(connection.scalar(mine, {"name": name}) == 1)
        case _:  # SQLite: BEGIN IMMEDIATE was the lock
            return True


def unlock(connection: Connection, name: str) -> None:
    """Release a lock that belongs to the session."""
    if connection.dialect.name in MYSQL:
        connection.scalar(text("SELECT RELEASE_LOCK(CONCAT(:name, LEFT(MD5(DATABASE()), 4)))"), {"name": name})


def limit_waits(connection: Connection) -> None:
    """Let a schema change fail when another session holds its table, instead of waiting for ever.

    A hook or an env.py that leaks a connection leaves it "idle in transaction" (seen in published applications).
    """
    match connection.dialect.name:
        case "postgresql":
            if connection.exec_driver_sql("SHOW lock_timeout").scalar() == "0":
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LONGEST_WAIT}s'")
        case "mysql" | "mariadb":
            connection.exec_driver_sql(f"SET SESSION lock_wait_timeout = {LONGEST_WAIT}")


def waited_in_vain(error: BaseException | None) -> bool:
    """Return whether a statement gave up waiting for another session."""
    text = str(getattr(error, "orig", None) or error or "")
    return "lock timeout" in text or "Lock wait timeout exceeded" in text


def idle_sessions(connection: Connection) -> str:
    """Return the sessions that are idle in an open transaction, as the database lists them."""
    if connection.dialect.name == "postgresql":
        rows = connection.exec_driver_sql(
            "SELECT pid, usename, application_name, state FROM pg_stat_activity "
            "WHERE datname = current_database() AND state LIKE 'idle in transaction%%' AND pid <> pg_backend_pid()"
        )
        return ", ".join(f"pid {row.pid} ({row.usename}, {row.application_name or 'unnamed'})" for row in rows)
    rows = connection.exec_driver_sql(
        "SELECT t.trx_mysql_thread_id AS id, p.user FROM information_schema.innodb_trx t "
        "JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id WHERE p.command = 'Sleep'"
    )
    return ", ".join(f"connection {row.id} ({row.user})" for row in rows)


def is_busy(error: BaseException) -> bool:
    """Return whether an error means that another process holds SQLite's write lock."""
    origin = getattr(error, "orig", None) or error
    return type(origin).__name__ == "OperationalError" and any(words in str(origin) for words in PYSQLITE_BUSY)
