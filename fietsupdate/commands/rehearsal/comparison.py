"""Compare the real instance before the updates of a rehearsal and after them, so that its report states a fact."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from fietsupdate.commands.rehearsal.untouched import TreeSnapshot
from fietsupdate.database.dump.comparison import Facts, facts
from fietsupdate.database.dump.store import Store
from fietsupdate.errors import DatabaseError

WAL, JOURNAL = "-wal", "-journal"
"""The files of a SQLite database; its ``-shm`` is left out, since reading a database makes and removes it."""


@dataclass(frozen=True)
class Watch:
    """The state of the real instance before the updates.

    Attributes:
        tree: Its files.
        store: Its database, if that is on a server and exists.
        facts: The state of that database; ``None`` if it is a file.
        all_roles: Whether every role of a PostgreSQL server is compared: no account keeps the updates from them.
        blind: Why the database was not read; "" if it was.
    """

    tree: TreeSnapshot
    store: Store | None
    facts: Facts | None
    all_roles: bool
    blind: str

    @classmethod
    def begin(
        cls,
        roots: Collection[Path],
        files: Collection[Path],
        left_out: Collection[Path],
        store: Store | None,
        *,
        all_roles: bool,
    ) -> Watch:
        """Record the state of the real instance.

        Args:
            roots: The real roots.
            files: The SQLite files of the instance.
            left_out: Paths in the roots that are not compared.
            store: The real database, if it is on a server.
            all_roles: As the attribute.
        """
        all_files = [Path(f"{file}{ending}") for file in files for ending in ("", WAL, JOURNAL)]
        facts_before, blind = _facts(store, all_roles=all_roles)
        return cls(TreeSnapshot.take(roots, all_files, left_out), store, facts_before, all_roles, blind)

    def end(self) -> tuple[tuple[str, ...], tuple[str, ...], str]:
        """Compare the present state with the recorded one.

        Returns:
            What has changed; what was compared, in words; why the database was not compared, "" if it was.
        """
        changed, compared = list(self.tree.changed()), [f"{self.tree.count} files and folders, by their status"]
        now, blind = _facts(self.store, all_roles=self.all_roles)
        if self.facts is not None and now is not None:
            changed += self.facts.changed(now)
            compared.append(self._words(now))
        return tuple(changed), tuple(compared), self.blind or blind

    def _words(self, now: Facts) -> str:
        roles = ", roles" if self.store is not None and self.store.dialect == "postgresql" else ""
        text = f"the database's schema, settings, rights{roles}, and the rows of {now.read} tables"
        if now.counted:
            text += f" (of {', '.join(now.counted)}, which are large, what the server counts)"
        return text


def _facts(store: Store | None, *, all_roles: bool) -> tuple[Facts | None, str]:
    if store is None:
        return None, ""
    try:
        return facts(store, all_roles=all_roles), ""
    except DatabaseError as error:
        return None, error.message
