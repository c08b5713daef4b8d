"""Determine whether the transaction that began is still open, by asking the driver or the database itself.

SQLAlchemy does not know: a driver's own ``commit()``, a statement like SQLite's ``INSERT OR ROLLBACK``, or a deadlock
on MariaDB ends the transaction without its knowledge.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from fietsupdate.database import sqlite
from fietsupdate.views import MYSQL

_IN_TRANSACTION = 1
"""The bit of MySQL's server status that is set while a transaction is open."""


_IN_ERROR = 3
"""libpq's PQTRANS_INERROR."""


class HeldTransaction:
    """A transaction that must stay open.

    This base class knows nothing about it, and serves where there is no transaction.
    """

    @property
    def has_failed(self) -> bool:
        """Whether a statement has failed so that the transaction can only be rolled back."""
        return False

    def lasts(self, *, failed: bool = False) -> bool | None:  # noqa: ARG002  # for those that know something
        """Return whether the transaction is still open; None where only the ledger row can tell.

        Args:
            failed: Whether a statement has just failed.
        """
        return True


def hold(connection: Connection, txn: str) -> HeldTransaction:
    """Return the observer of a connection's transaction, in which something was already written."""
    dialect = connection.dialect.name
    if dialect == "sqlite" and sqlite.in_transaction(connection):
        return _Sqlite(connection)
    if dialect == "postgresql":
        return _Postgresql(connection, txn)
    return _Mysql(connection) if dialect in MYSQL else HeldTransaction()


class _Sqlite(HeldTransaction):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def lasts(self, *, failed: bool = False) -> bool | None:  # noqa: ARG002  # it costs nothing to ask always
        return sqlite.in_transaction(self._connection)


class _Postgresql(HeldTransaction):
    """Identified by a setting that is local to the transaction, whose changes the server reports to its client.

    So the check costs no round trip. Where the driver or a pooler in between does not pass the setting on, the id of
    the transaction is queried.
    """

    def __init__(self, connection: Connection, txn: str) -> None:
        self._connection = connection
        self._name = f"fietsupdate {txn}"
        self._id = self._ask(f"txid_current(), set_config('application_name', '{self._name}', true)")

    def lasts(self, *, failed: bool = False) -> bool | None:
        if self._reported() == self._name:
            return True
        try:
            return failed or self._ask("txid_current_if_assigned()") == self._id
        except Exception:  # noqa: BLE001  # drivers have errors of their own: a transaction that failed answers nothing
            return True

    @property
    def has_failed(self) -> bool:
        info = getattr(self._connection.connection.driver_connection, "info", None)
        return getattr(info, "transaction_status", None) == _IN_ERROR

    def _ask(self, what: str) -> object:
        """Query through the driver, so that SQLAlchemy begins no transaction and calls no listener."""
        cursor = self._connection.connection.cursor()
        try:
            cursor.execute(f"SELECT {what}")
            return list(cursor.fetchone() or ())[:1]
        finally:
            cursor.close()

    def _reported(self) -> str:
        driver: Any = self._connection.connection.driver_connection
        if (info := getattr(driver, "info", None)) is not None:  # psycopg, psycopg2
            return str(info.parameter_status("application_name"))
        if (settings := getattr(driver, "get_settings", None)) is not None:  # asyncpg
            return str(getattr(settings(), "application_name", ""))
        return ""


class _Mysql(HeldTransaction):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def lasts(self, *, failed: bool = False) -> bool | None:
        driver: Any = self._connection.connection.driver_connection
        status = getattr(driver, "server_status", _IN_TRANSACTION)
        is_open = isinstance(status, int) and bool(status & _IN_TRANSACTION)
        return None if failed or not is_open else True
