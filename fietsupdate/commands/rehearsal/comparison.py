"""Looks at the real instance before the updates of a rehearsal run and after them: what is claimed was looked at."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from fietsupdate.commands.rehearsal.untouched import TreeSnapshot
from fietsupdate.database.dump.comparison import Facts, facts
from fietsupdate.database.dump.store import Store
from fietsupdate.errors import DatabaseError

WAL, JOURNAL = "-wal", "-journal"
"""What belongs to a SQLite file; reading one makes and removes its ``-shm``, which says nothing."""


@dataclass(frozen=True)
class Watch:
    """What the real instance was like.

    Attributes:
        tree: Its files.
        store: Its database, where that is on a server and there.
        facts: What was seen of it; ``None`` where it is a file.
        all_roles: Whether every role of a PostgreSQL server is looked at: no account keeps the updates from them.
        blind: Why the database was not looked at; "" where it was.
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
        """Look for the first time.

        Args:
            roots: The real roots.
            files: The SQLite files of the instance.
            left_out: What in the roots does not matter.
            store: The real database, where it is on a server.
            all_roles: See there.
        """
        all_files = [Path(f"{file}{ending}") for file in files for ending in ("", WAL, JOURNAL)]
        facts_before, blind = _facts(store, all_roles=all_roles)
        return cls(TreeSnapshot.take(roots, all_files, left_out), store, facts_before, all_roles, blind)

    def end(self) -> tuple[tuple[str, ...], tuple[str, ...], str]:
        """Look again.

        Returns:
            What is another one now; what was compared, in words; why the database was not, "" where it was.
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
