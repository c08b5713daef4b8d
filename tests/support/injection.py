"""What the pytest plugin breaks a process with, and two things more: lost database sessions, and lines of output."""

from __future__ import annotations

import codecs
import os
import sqlite3
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from fietsupdate.testing import injection
from fietsupdate.testing.injection import COMMIT, COMMITTED, FILES, ROLLBACK, SQL, short
from support.databases import MARIADB, POSTGRESQL, server_url

__all__ = ["ALONE", "COMMIT", "COMMITTED", "FILES", "OUTPUT", "ROLLBACK", "SQL", "USER", "Injection", "cut"]

OUTPUT = "output"
ALONE = "alone"
"""As a kind: forks of the process are left alone."""
USER = "FIETSUPDATE_TEST_USER"
"""The environment variable with the number of the ordinary user, and of his group, who runs a command of a project."""


@dataclass
class Injection(injection.Injection):
    """See `fietsupdate.testing.injection.Injection`.

    One more action: ``cut`` ends the database session from another one (SQLite, which has none, fails as if the disk
    did). One more kind: lines of output.
    """

    def install(self) -> None:
        if user := int(os.environ.pop(USER, "0")):
            for name in ("ascii", "idna", "latin-1"):  # an interpreter in root's home loads nothing any more
                codecs.lookup(name)
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
        super().install()
        if OUTPUT in self.kinds:
            self._watch_output()
        if ALONE in self.kinds:
            os.register_at_fork(after_in_child=self.rest)

    def strike(self, kind: str, label: str, connection: Any) -> None:
        if self.action != "cut":
            super().strike(kind, label, connection)
        elif kind == SQL:
            cut(connection, answered=label != COMMITTED)

    def _watch_output(self) -> None:
        from fietsupdate.cli.render.output import Output

        real = Output.write

        def write(output: Output, text: str) -> None:
            self.point(OUTPUT, f"before {short(text)}")
            real(output, text)
            self.point(OUTPUT, f"after {short(text)}")

        Output.write = write  # type: ignore[method-assign]


def cut(connection: Any, *, answered: bool) -> None:
    """End a database session as an administrator would; without `answered` its last answer is lost on the way."""
    if isinstance(connection, sqlite3.Connection):
        raise sqlite3.OperationalError("disk I/O error")
    raw = getattr(connection, "_connection", connection)
    kind = MARIADB if hasattr(raw, "thread_id") else POSTGRESQL
    engine = sa.create_engine(server_url(kind), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as other:
        if kind == MARIADB:
            other.exec_driver_sql(f"KILL {raw.thread_id()}")
            alive = f"SELECT count(*) FROM information_schema.processlist WHERE id = {raw.thread_id()}"
            while other.exec_driver_sql(alive).scalar():
                pass
        else:
            pid = raw.get_server_pid() if hasattr(raw, "get_server_pid") else raw.info.backend_pid
            other.exec_driver_sql(f"SELECT pg_terminate_backend({pid}, 5000)")
    if not answered:
        raise _lost(raw, kind)


def _lost(raw: Any, kind: str) -> Exception:
    if kind == MARIADB:
        import pymysql

        return pymysql.err.OperationalError(2013, "Lost connection to MySQL server during query")
    if hasattr(raw, "get_server_pid"):
        return ConnectionResetError("connection was lost")
    import psycopg

    return psycopg.OperationalError("server closed the connection unexpectedly")
