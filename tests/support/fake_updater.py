"""A stand-in for the updater, for tests of parsing, asking and printing: it records calls and returns ready values.

It is also a program (``python fake_updater.py ...``), for tests that need a terminal.
"""

import sys
from pathlib import Path
from typing import ClassVar

from fietsupdate.cli.main import main
from fietsupdate.cli.session import Session
from fietsupdate.commands.init import Initialised
from fietsupdate.commands.rehearsal.report import Outlook
from fietsupdate.model import Direction, Entry, Event, Plan, Report, Status, Step, Update, UpdateState
from fietsupdate.planning.graph import build


def make_update(update_id, *previous, summary="", revisions=(), atomic=True, folder="updates"):
    path = Path(f"/srv/app/updates/upd_{update_id}.py")
    return Update(update_id, previous, tuple(revisions), folder, path, "ab" * 32, atomic=atomic, summary=summary)


FIRST = make_update("v0.1.0", summary="First release", revisions=["aaa111"])
TRACKS = make_update("30ppwg8zi4ujb46f", "v0.1.0", summary="Move tracks out of the database", revisions=["bbb222"])
SECOND = make_update("v0.2.0", "30ppwg8zi4ujb46f", summary="Second release")
GRAPH = build([FIRST, TRACKS, SECOND], ["updates"])
STEPS = tuple(Step(update, Direction.UP, update.alembic_revisions) for update in (TRACKS, SECOND))
PLAN = Plan(Direction.UP, ("v0.2.0",), STEPS, current=("v0.1.0",), result=("v0.2.0",))
NOTHING = Plan(Direction.UP, ("v0.2.0",), (), current=("v0.2.0",), result=("v0.2.0",))
ENTRY = Entry(1, "txn-1", "v0.1.0", Direction.UP, "ab", "2026-11-21T20:00:37.123Z", 1234, "1.0", "0.1.0", "fiets@web1")
OUTDATED = Status(
    UpdateState.OUTDATED,
    current=("v0.1.0",),
    heads=("v0.2.0",),
    pending=(TRACKS, SECOND),
    unknown=(),
    problems=(),
    alembic_current=("aaa111",),
    alembic_heads=("bbb222",),
    data_dir=Path("/srv/app/data"),
    database="postgresql://fiets:***@db/fiets",
    applied=("v0.1.0",),
)


class FakeUpdater:
    """Set class attributes to change what it answers; read `calls` to see what it was asked."""

    calls: ClassVar[list] = []
    answer = OUTDATED
    planned = PLAN
    known = Outlook()
    rehearsed = None
    error = None
    events = (
        Event("plan", "2026-11-21T20:00:37.123Z", details={"steps": ["30ppwg8zi4ujb46f", "v0.2.0"]}),
        Event("tell", "2026-11-21T20:00:38.123Z", update_id="v0.2.0", text="told"),
    )

    @classmethod
    def from_config(cls, *files, section=None, x=(), options=None):
        cls.calls.append(("from_config", files, section, x))
        return cls()

    @classmethod
    def init(cls, *files, section=None, x=(), data_dir="", alembic_config=""):
        cls.calls.append(("init", files, section, x, data_dir))
        return Initialised(Path("alembic.ini"), "fietsupdate", Path("updates"), Path("updates/upd_base.py"))

    def _note(self, *call):
        self.calls.append(call)
        if self.error is not None:
            raise self.error

    def status(self, *, imports=False):
        self._note("status")
        return self.answer

    def plan(
        self,
        target=None,
        *,
        direction=Direction.UP,
        checks=False,
        as_root=True,
        backup=None,
        below_baseline=False,
        on_event=None,
        answers=None,
        unattended=True,
    ):
        self._note("plan", target, direction, checks, as_root, *filter(None, [backup, below_baseline]))
        return self.planned

    def outlook(self, plan, *, ask=False, answers=None):
        return self.known

    def rehearse(self, target=None, *, round_trip=False, on_event=None, lock_timeout=None, as_root=False, answers=None):
        self._note("rehearse", target, round_trip, lock_timeout, as_root)
        return self.rehearsed

    def update(
        self,
        target=None,
        *,
        agreed=None,
        on_event=None,
        lock_timeout=None,
        as_root=False,
        backup=None,
        below_baseline=False,
        answers=None,
        unattended=True,
        command="update",
    ):
        self._note(command, target, agreed, lock_timeout, as_root, *filter(None, [backup, below_baseline]))
        for event in self.events:
            on_event(event)
        return Report(self.planned, tuple(step.update.update_id for step in self.planned.steps), ("v0.2.0",), 1500)

    def downgrade(self, target, *, command="downgrade", **options):
        return self.update(target, command=command, **options)

    def stamp(self, update_ids, *, with_alembic=None, **options):
        return self.update(tuple(update_ids), command="stamp", **options)

    def stampable(self, update_ids):
        return tuple(update_ids)

    def recover(self, *, accept, purge, on_event, lock_timeout, as_root):
        self._note("recover", accept, purge, lock_timeout, as_root)
        return Report(NOTHING, (), ("v0.1.0",))

    def graph(self):
        self._note("graph")
        return GRAPH

    def history(self):
        self._note("history")
        return (ENTRY,)

    def heads(self):
        self._note("heads")
        return (SECOND,)

    def show(self, update_id):
        self._note("show", update_id)
        return FIRST, True, (ENTRY,)

    def revision(self, update_id=None, **options):
        self._note("revision", update_id, options)
        return Path("updates/upd_new.py")

    def ahead_of(self, path):
        return ""


if __name__ == "__main__":
    sys.exit(main(session=Session(updater_class=lambda: FakeUpdater)))
