"""Answers as text for a terminal of a given width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fietsupdate.cli.render import backups, packages, questions, steps, working
from fietsupdate.cli.render.layout import count, duration, labelled, several, table, wrapped
from fietsupdate.model import BASE, Direction, Entry, Failure, Plan, Problem, Status, Step, Update, UpdateState
from fietsupdate.model.clock import column_time, shown_time
from fietsupdate.model.leaves import listed

if TYPE_CHECKING:
    from fietsupdate.commands.init import Initialised

MOST_SHOWN = 20
"""Pending updates that `status` shows one by one."""

MEANINGS = {
    UpdateState.OKAY: "up to date",
    UpdateState.OUTDATED: "waiting for updates",
    UpdateState.TOO_NEW: "newer than this version of the application",
    UpdateState.UNKNOWN: "at a position that cannot be determined",
    UpdateState.DRIFTED: "not in one piece: database, data directory and updates do not fit together",
    UpdateState.INTERRUPTED: "in the middle of an update that was interrupted",
    UpdateState.UPDATING: "being updated by another process at this moment",
}
"""The meaning of each state: "The instance is ..."."""

NEXT = {
    UpdateState.OUTDATED: "Type `fietsupdate update`.",
    UpdateState.TOO_NEW: "Install the version of the application that knows these updates.",
    UpdateState.INTERRUPTED: "Type `fietsupdate update`.",
    UpdateState.UPDATING: "Wait until it has finished, and look again.",
}
"""What to do in a state if no problem has a hint."""


def status(answer: Status, width: int) -> str:
    """Return the position of the instance, what is pending, what is wrong, and what to do."""
    lines = labelled(_facts(answer), width)
    if answer.pending:
        lines += ["", f"Waiting, in this order ({count(len(answer.pending), 'update')}):", *_pending(answer, width)]
    if answer.hooks:
        lines += ["", f"{'Then' if answer.pending else 'Waiting'}, as the version changes:", *_hooks(answer, width)]
    if answer.last_failure is not None:
        lines += ["", *labelled([("Failed", failure(answer.last_failure))], width)]
    for problem in answer.problems:
        lines += ["", *_problem(problem, width)]
    if answer.state in NEXT and not any(problem.hint for problem in answer.problems):
        lines += ["", *labelled([("Next", NEXT[answer.state])], width)]
    return "\n".join(lines)


def _facts(answer: Status) -> list[tuple[str, str]]:
    unknown = f"{several(answer.unknown)} (applied, but there is no such script)" if answer.unknown else ""
    return [
        ("State", f"{answer.state} - {_meaning(answer)}"),
        ("Run", working.line(answer.run) if answer.run else ""),
        ("Current", several(answer.current, "no update yet")),
        ("Heads", several(answer.heads, "there are no updates")),
        *packages.facts(answer),
        ("Unknown", unknown),
        ("Version", steps.version(answer)),
        ("Alembic", _alembic(answer)),
        ("Database", answer.database),
        ("Data", str(answer.data_dir or "")),
    ]


def failure(what: Failure) -> str:
    """Return what failed and when, which nothing else in an instance records."""
    which = f"update {what.update_id}" if what.update_id else "the last run"
    way = f" ({what.direction}{f', phase {what.phase}' if what.phase else ''})" if what.update_id else ""
    return f"{shown_time(what.time)}, {which}{way}: {what.error}"


def _meaning(answer: Status) -> str:
    if any(problem.code == "restore_interrupted" for problem in answer.problems):
        return "half restored: a restore was interrupted"
    return MEANINGS[answer.state]


def _alembic(answer: Status) -> str:
    if answer.alembic_current == answer.alembic_heads:
        return several(answer.alembic_current, "no revisions")
    newest = f"the newest is {several(answer.alembic_heads)}" if answer.alembic_heads else "there are none here"
    return f"database at {several(answer.alembic_current, 'no revision')}; {newest}"


def _pending(answer: Status, width: int) -> list[str]:
    shown = answer.pending[:MOST_SHOWN]
    names = [packages.name(update, qualified=len(answer.packages) > 1) for update in shown]
    column = min(max(map(len, names)), 32)
    lines: list[str] = []
    for number, (update, name) in enumerate(zip(shown, names, strict=True), start=1):
        lines += _item(number, f"{name:{column}}", update.summary, width)
        if reason := _not_atomic(update, answer):
            lines += wrapped(f"not atomic: {reason}", width, " " * 6)
    if more := len(answer.pending) - len(shown):
        lines.append(f"   ... and {more} more; `fietsupdate update --dry-run` shows all")
    return lines


def _hooks(answer: Status, width: int) -> list[str]:
    return [
        line
        for number, hook in enumerate(answer.hooks, start=len(answer.pending) + 1)
        for line in _item(number, hook.update_id, hook.summary, width)
    ]


def _not_atomic(update: Update, answer: Status) -> str:
    return answer.not_transactional if update.atomic else "the script does not say `atomic = True`"


def _item(number: int, name: str, summary: str, width: int) -> list[str]:
    """Return ``  1. name  summary``; the part that is too long goes to the next lines."""
    start = f"{number:>3}. {name}"
    if not summary:
        return [start.rstrip()]
    if len(start) + 2 + len(summary) <= width:
        return [f"{start}  {summary}"]
    return [start.rstrip(), *wrapped(summary, width, " " * 6)]


def _problem(problem: Problem, width: int) -> list[str]:
    label = "Problem" if problem.blocks else "Note"
    return labelled([(label, f"{problem.message} [{problem.code}]"), ("Next", problem.hint)], width)


def check(answer: Status) -> str:
    """Return the state in one line."""
    subject = "no update can run: " if any(problem.blocks for problem in answer.problems) else ""
    if answer.state is UpdateState.OUTDATED:
        return f"{answer.state}: {subject}{steps.waiting(answer, several(answer.heads))}"
    reason = next((problem.message for problem in answer.problems), MEANINGS[answer.state])
    return f"{answer.state}: {' '.join(reason.split())}"


def plan(what: Plan, width: int) -> str:
    """Return what will be done, step by step."""
    if not what:
        return nothing_to_do(what)
    lines = _adoption(what, width)
    if what.steps:
        lines += [f"{steps.future(what)}:", ""]
    for number, step in enumerate(what.steps, start=1):
        lines += [*_item(number, f"{steps.verb(step)} {step.update.update_id}", step.update.summary, width)]
        lines += wrapped(_details(step), width, " " * 6)
    lines += ["", *labelled(_way(what), width)]
    return "\n".join(lines)


def _way(what: Plan) -> list[tuple[str, str]]:
    dropped = f"what the baseline's Alembic revisions made; the tables of today are {several(what.tables)}"
    return [
        ("From", _place(what.current)),
        ("To", _place(what.result)),
        ("Drops", dropped if what.tables else ""),
        ("Backup", backups.promise(what)),
    ]


def nothing_to_do(what: Plan) -> str:
    """Return that a plan is empty, and the position of the instance."""
    return f"Nothing to do: the instance is at {_place(what.current)}."


def _place(ids: Sequence[str]) -> str:
    return several(ids, f"{BASE} (no update)")


def _adoption(what: Plan, width: int) -> list[str]:
    if what.adoption is None:
        return []
    text = f"First the instance is recorded to be at {several(what.adoption.update_ids)}, without running scripts"
    if what.adoption.revisions:
        text = f"First Alembic runs {several(what.adoption.revisions)}, and {text[6:]}"
    reason = f": {what.adoption.reason}" if what.adoption.reason else "."
    return [*wrapped(f"{text}{reason}", width), ""]


def _details(step: Step) -> str:
    atomic = f"NOT atomic here: {step.not_atomic}" if step.not_atomic else "atomic"
    if step.direction is Direction.VERSION:
        return "" if step.only_records else atomic
    revisions = f"Alembic: {several(step.revisions)}" if step.revisions else "no Alembic revision"
    if step.present:
        alone = "; its hooks are empty, so it is only recorded" if step.update.is_empty and not step.revisions else ""
        revisions += f"; the database has {several(step.present)} already{alone}"
    lines = [f"{atomic}; {revisions}"] if not step.not_atomic else [revisions, atomic]
    if step.leaves:
        lines.append(f"stays on purpose: {listed(step.leaves)}")
    lines += questions.of_step(step)
    if step.finished:
        lines.append(f"resumed: {several(step.finished)} finished in an earlier run and will not run again")
    return "\n".join(lines)


def unchecked(*, checks_ran: bool) -> tuple[str, ...]:
    """Return what a dry run does not check, but the real run does."""
    if checks_ran:
        return ("whether each hook runs to its end", "whether another updater starts meanwhile")
    return (
        "what check hooks and the application's checks say (--checks runs them)",
        "whether each script can be imported and run",
        "whether another updater starts meanwhile",
    )


def dry_run(what: Plan, left: Sequence[str], width: int, outlook: str = "") -> str:
    """Return a plan that will not run, its estimates, and what was not checked."""
    known = [plan(what, width), "", *([outlook, ""] if outlook else [])]
    return "\n".join([*known, "Nothing was changed. Not checked:", *(f"  - {item}" for item in left)])


def history(entries: Sequence[Entry], width: int, last_failure: Failure | None = None) -> str:
    """Return the ledger as a table, oldest entry first, and the failure after it."""
    lines = [_ledger(entries, width)]
    if last_failure is not None:
        lines += ["", *labelled([("Failed", failure(last_failure))], width)]
    return "\n".join(lines)


def _ledger(entries: Sequence[Entry], width: int) -> str:
    if not entries:
        return "The ledger is empty: no update has run on this instance."
    titles = ("seq", "finished (UTC)", "what", "update", "took", "by", "app version")
    rows = [_entry_cells(entry) for entry in entries]
    lines = table(titles, rows)
    if max(map(len, lines)) <= width:
        return "\n".join(lines)
    narrow = table(titles[:4], [row[:4] for row in rows])
    more = [f"     took {row[4]}, by {row[5]}" + (f", app {row[6]}" if row[6] else "") for row in rows]
    return "\n".join([narrow[0], *(line for pair in zip(narrow[1:], more, strict=True) for line in pair)])


def _entry_cells(entry: Entry) -> tuple[str, ...]:
    took = "" if entry.direction is Direction.STAMP else duration(entry.duration_ms)
    when = column_time(entry.finished_at)
    return (str(entry.seq), when, entry.direction, entry.update_id, took or "-", entry.actor, entry.app_version)


def heads(updates: Sequence[Update], width: int) -> str:
    """Return updates, one a line, with their folders if there are several."""
    if not updates:
        return "There are no updates."
    column = max(len(update.update_id) for update in updates)
    folders = len({update.folder for update in updates}) > 1
    return "\n".join(
        line
        for update in updates
        for line in _wide_or_two(
            f"{update.update_id:{column}}", update.summary, f"[{update.folder}]" if folders else "", width
        )
    )


def _wide_or_two(name: str, summary: str, folder: str, width: int) -> list[str]:
    line = "  ".join(part for part in (name, summary, folder) if part).rstrip()
    if len(line) <= width:
        return [line]
    return [name.rstrip(), *wrapped("  ".join(part for part in (summary, folder) if part), width, "    ")]


def show(update: Update, entries: Sequence[Entry], width: int, *, applied: bool) -> str:
    """Return the description of one update with its entries in the ledger."""
    facts = [
        ("Update", update.update_id),
        ("Summary", update.summary),
        ("Applied", "yes" if applied else "no"),
        ("Previous", several(update.previous, "none: it begins a graph")),
        ("Alembic", several(update.alembic_revisions, "no revision required")),
        ("Atomic", "yes, where the database allows it" if update.atomic else "no: the script does not say so"),
        ("Reverts", "yes" if update.has_down else "no: the script has no class Down"),
        ("Leaves", listed(update.leaves)),
        ("Baseline", "yes" if update.baseline else ""),
        ("Script", str(update.path)),
        ("Broken", update.broken),
        ("Asks", questions.of_update(update)),
        ("Answers", questions.of_entries(entries)),
        ("Checksum", update.checksum),
    ]
    lines = labelled(facts, width)
    return "\n".join([*lines, "", history(entries, width)]) if entries else "\n".join(lines)


def report(done: Sequence[str], direction: Direction, current: Sequence[str], milliseconds: int) -> str:
    """Return what a run has done, in one line."""
    ran = "" if direction is Direction.STAMP else steps.past(done, direction)
    what = f"{ran} in {duration(milliseconds)}" if ran else "Recorded"
    return f"{what}. Current: {_place(current)}."


def initialised(done: Initialised) -> str:
    """Return what ``init`` has written, and what comes next."""
    if done.already:
        return f"Nothing to do: {done.file} has a section [{done.section}] already."
    others = done.other_data_dirs
    lines = [
        f"Added the section [{done.section}] to {done.file}.",
        f"Update scripts go to {done.folder}.",
        *([f"Wrote the baseline script {done.script}."] if done.script else []),
        *([f"The data directory is {done.data_dir}; it may also be {several(others)}."] if others else []),
        f"Next: look at data_dir in {done.file}, then type `fietsupdate status`.",
    ]
    return "\n".join(lines)
