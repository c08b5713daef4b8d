"""Keep our own tables out of ``alembic revision --autogenerate`` and ``alembic check``.

Alembic loads this module for every project in the same Python, through the entry point group ``alembic.plugins``. So it
imports nothing heavy except Alembic, and nothing in it may fail.

Source: Alembic's documentation, "Plugins" (since 1.18). Its wildcard ``alembic.autogenerate.*`` enables us by name.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

from alembic.operations import ops
from alembic.util import DispatchPriority, PriorityDispatchResult

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from alembic.runtime.plugins import Plugin

OWN_TABLES = frozenset({"fietsupdate_ledger", "fietsupdate_instance", "fietsupdate_rehearsal"})
"""Our own tables; they are in the schema of Alembic's version table. The last one marks a clone."""


REMARKS = "alembic.autogenerate.compare.tables"
"""Alembic's logger for tables that are missing in the models; it is called before our comparator runs."""


def _is_own(table: str) -> bool:
    """Return whether a table is ours; the tables of other version tables' ledgers have that name as a suffix."""
    return any(table == own or table.startswith(f"{own}_") for own in OWN_TABLES)


def _is_ours(operation: object) -> bool:
    return isinstance(operation, (ops.DropTableOp, ops.ModifyTableOps)) and _is_own(operation.table_name)


def _is_worth_telling(record: logging.LogRecord) -> bool:
    """Suppress "Detected removed table 'fietsupdate_ledger'", with or without a schema: no revision drops the table."""
    table = str(record.args[0]) if isinstance(record.args, tuple) and record.args else ""
    return not (str(record.msg).startswith("Detected removed table") and _is_own(table.rpartition(".")[2]))


def _leave_out_own_tables(
    _context: AutogenContext, upgrade_ops: ops.UpgradeOps, _schemas: set[str | None]
) -> PriorityDispatchResult:
    upgrade_ops.ops[:] = [operation for operation in upgrade_ops.ops if not _is_ours(operation)]
    return PriorityDispatchResult.CONTINUE


class _PluginModule(ModuleType):
    """A plugin that every Alembic since 1.18 can load.

    Alembic before the change #1873 iterates over the object of the entry point; later versions require a module.
    """

    def __iter__(self) -> Iterator[_PluginModule]:
        yield self

    @staticmethod
    def setup(plugin: Plugin) -> None:
        """Register the comparator, which runs after all others."""
        plugin.add_autogenerate_comparator(_leave_out_own_tables, "schema", priority=DispatchPriority.LAST)
        logging.getLogger(REMARKS).addFilter(_is_worth_telling)


plugin = _PluginModule(__name__)
