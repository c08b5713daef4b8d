"""Keep our bookkeeping out of ``alembic revision --autogenerate`` and ``alembic check``.

Alembic loads this module for every project in the same Python, through the entry point group
``alembic.plugins``. Hence it imports nothing but Alembic, and nothing in it may fail.

Source: Alembic's documentation, "Plugins" (since 1.18). Its wildcard ``alembic.autogenerate.*`` enables us by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

from alembic.operations import ops
from alembic.util import DispatchPriority, PriorityDispatchResult

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from alembic.runtime.plugins import Plugin

OWN_TABLES = frozenset({"fietsupdate_ledger", "fietsupdate_instance", "fietsupdate_rehearsal"})
"""The tables that belong to us; they live in the schema of Alembic's version table. The last one marks a clone."""


def _is_ours(operation: object) -> bool:
    """Tell whether an operation is about a table of ours; other version tables' ledgers have their name at the end."""
    if not isinstance(operation, (ops.DropTableOp, ops.ModifyTableOps)):
        return False
    return any(operation.table_name == own or operation.table_name.startswith(f"{own}_") for own in OWN_TABLES)


def _leave_out_own_tables(
    _context: AutogenContext, upgrade_ops: ops.UpgradeOps, _schemas: set[str | None]
) -> PriorityDispatchResult:
    upgrade_ops.ops[:] = [operation for operation in upgrade_ops.ops if not _is_ours(operation)]
    return PriorityDispatchResult.CONTINUE


class _PluginModule(ModuleType):
    """A plugin that every Alembic since 1.18 can load.

    Alembic before the change #1873 iterates over what the entry point gives; later versions ask for a module.
    """

    def __iter__(self) -> Iterator[_PluginModule]:
        yield self

    @staticmethod
    def setup(plugin: Plugin) -> None:
        """Register the comparator; it runs when all others have had their say."""
        plugin.add_autogenerate_comparator(_leave_out_own_tables, "schema", priority=DispatchPriority.LAST)


plugin = _PluginModule(__name__)
