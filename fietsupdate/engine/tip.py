"""The position of an instance between two transactions: the ledger's tip, the applied updates, Alembic's revisions.

It is read once, advanced by each finished transaction, and compared with the database under the lock before the next
one begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fietsupdate.model import BASE, Begun, Direction, Entry, Step, fingerprint
from fietsupdate.planning.applied import AppliedSet
from fietsupdate.planning.graph import Dag, Graph
from fietsupdate.planning.history import applied_set
from fietsupdate.views import DatabaseView, OpenTransaction


class Tip:
    """The position from which the next transaction begins."""

    def __init__(self, graph: Graph, view: DatabaseView) -> None:
        self.graph = graph
        self.tree = Dag(view.revisions)
        self.entries = list(view.entries)
        self.applied = AppliedSet.of(applied_set(view.entries, graph), graph)
        self.have = self._known(view.alembic_current)
        self.instance_id = view.instance_id
        self.begun: Begun | None = view.begun

    def _known(self, heads: Iterable[str]) -> frozenset[str]:
        """Return the revisions of a database at these heads; heads that the tree does not know are left out."""
        return self.tree.ancestors(head for head in heads if head in self.tree)

    def fits(self, heads: Sequence[str], rows: Sequence[Entry | Begun]) -> bool:
        """Return whether a look under the lock found the instance where it was when the plan was made.

        After an interrupted update the schema may be anywhere between two revisions; only the row is compared then.

        Args:
            heads: The content of Alembic's version table.
            rows: The ledger's rows from the last known one on.
        """
        expected = [entry.txn for entry in self.entries[-1:]] + ([self.begun.txn] if self.begun else [])
        if [row.txn for row in rows] != expected:
            return False
        return self.begun is not None or self._known(heads) == self.have

    def have_after(self, step: Step) -> frozenset[str]:
        """Return the revisions that the database has when the step's own have run."""
        return self.have | set(step.revisions) if step.direction == Direction.UP else self.have - set(step.revisions)

    def reached(self, heads: Sequence[str], step: Step) -> bool:
        """Return whether Alembic's version table shows that the step's revisions have run."""
        return self._known(heads) == self.have_after(step)

    def _applied_after(self, step: Step) -> AppliedSet:
        change = self.applied.plus if step.direction == Direction.UP else self.applied.minus
        return change(step.update.update_id)

    def current_after(self, step: Step) -> tuple[str, ...]:
        """Return the current updates after the step."""
        return self._applied_after(step).current

    def leads_to(self, step: Step) -> str:
        """Return the target that Alembic's own command line would be given for a step."""
        heads = self.tree.heads(self.have_after(step))
        return heads[0] if len(heads) == 1 else "heads" if heads else BASE

    @property
    def heads(self) -> tuple[str, ...]:
        """The Alembic revisions that the database is at, sorted."""
        return tuple(sorted(self.tree.heads(self.have)))

    @property
    def current(self) -> tuple[str, ...]:
        """The current updates at this moment."""
        return self.applied.current

    def folded(self, entries: Sequence[Entry]) -> tuple[str, ...]:
        """Return the current updates after further entries."""
        return AppliedSet.of(applied_set(entries, self.graph, self.applied.ids), self.graph).current

    def header(self, txn: str, step: Step | None) -> OpenTransaction:
        """Return the header of a transaction that begins here; a stamp if there is no step."""
        return OpenTransaction(
            txn=txn,
            instance_id=self.instance_id,
            tip_seq=len(self.entries),
            tip_hash=fingerprint(tuple(self.entries[-1:])),
            update_id=step.update.update_id if step else BASE,
            direction=step.direction if step else Direction.STAMP,
            atomic=step is None or not step.not_atomic,
            own_connections=step is not None and not step.update.atomic,
        )

    def fold(self, entries: Sequence[Entry], revisions: Iterable[str] = ()) -> None:
        """Take finished entries into account, and the revisions that ran before them."""
        self.entries.extend(entries)
        self.applied = AppliedSet.of(applied_set(entries, self.graph, self.applied.ids), self.graph)
        self.have = self.have | set(revisions)
        self.begun = None

    def advance(self, step: Step, entry: Entry) -> None:
        """Take a finished step into account."""
        self.have = self.have_after(step)
        self.entries.append(entry)
        self.applied = self._applied_after(step)
        self.begun = None
