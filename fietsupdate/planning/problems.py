"""The text of every problem: what is wrong, and the commands that mend it.

The reader is an administrator at two in the morning: each message starts with names, does not guess, and ends with a
command to type.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fietsupdate.model import Adoption, Begun, Direction, Entry, Phase, Problem, Update
from fietsupdate.model.clock import shown_time
from fietsupdate.planning.history import Pairing
from fietsupdate.views import DatabaseView, FilesView, LockHolder, OpenRestore, OpenTransaction

SAME_MOMENT = "put both halves back to the same moment with a backup of both (`fietsupdate backup list` shows them)"
MANY = 5
"""The most suggestions that a message lists."""


def updating(holder: LockHolder) -> Problem:
    """Return the problem that another process is at work; a new lock may have no signature yet."""
    since = shown_time(holder.since)
    who = f": `{holder.command}`, pid {holder.pid} on {holder.host}, since {since}" if holder.pid else ""
    return Problem(
        "updating",
        f"Another process is at work{who}.",
        "Wait until it is done; `fietsupdate update` waits by itself.",
        blocks=False,
    )


def database_unseen() -> Problem:
    """Return the problem that the database was not read."""
    return Problem(
        "database_unseen",
        "The database was not looked at, so nothing is known about it.",
        "Make the database reachable and type `fietsupdate status` again.",
    )


def interrupted(begun: Begun, update: Update | None, resume: str, way_back: str = "") -> Problem:
    """Return the problem that a non-atomic update was interrupted.

    Args:
        begun: The interrupted update as the database records it.
        update: Its script; ``None`` where the script is not installed.
        resume: The command that resumes it.
        way_back: The name of a backup from before it; "" for none.
    """
    done = ", ".join(begun.finished) or "none"
    failure = f" It failed: {begun.failure}" if begun.failure else ""
    what = "Version hook" if begun.direction is Direction.VERSION else "Update"
    way = _WAYS[begun.direction]
    return Problem(
        "interrupted",
        f"{what} {begun.update_id} was interrupted{way}; {begun.actor} began it at {shown_time(begun.started_at)}, "
        f"finished phases: {done}.{failure}",
        _how_to_resume(begun, update, resume, way_back),
        blocks=update is None,
    )


_WAYS = {
    Direction.UP: " on its way up",
    Direction.DOWN: " while it was being reverted",
    Direction.STAMP: "",
    Direction.VERSION: "",
}


def _how_to_resume(begun: Begun, update: Update | None, resume: str, way_back: str) -> str:
    back = "restore a backup of both halves from before (`fietsupdate backup list` shows them)"
    if way_back:
        back = f"type `fietsupdate restore {way_back}`, which takes both halves back to before it"
    if update is None:
        what = f"update {begun.update_id}"
        if begun.direction is Direction.VERSION:
            what = f"version hook {begun.update_id}, see that version_hooks names its module or plugin"
        return f"Install the version of the application that has {what}, and type `{resume}`." + (
            f" Or {back}." if way_back else ""
        )
    left = [phase for phase in Phase if phase not in begun.finished]
    where = f"goes on at phase {left[0]}" if left else "records it as done"
    if begun.running and way_back:  # a revision that failed half way cannot run again
        return f"{back[0].upper()}{back[1:]}; or mend the cause and type `{resume}`, which {where}."
    return f"Mend the cause, then type `{resume}`, which {where}; or {back}."


def open_transaction(transaction: OpenTransaction, *, committed: bool) -> Problem:
    """Return the problem of an interrupted run whose journal is left; the database decides how recovery ends it."""
    then = (
        "after the database had committed it; its journal is still to be put away"
        if committed
        else "before the database committed it; its file changes are still to be undone"
    )
    return Problem(
        "interrupted",
        f"{_what(transaction)} was interrupted {then}.",
        "Type `fietsupdate recover`; `fietsupdate update` does the same by itself before it begins.",
        blocks=False,
    )


def restore_interrupted(restore: OpenRestore) -> Problem:
    """Return the problem that a restore was interrupted; each half may be from before or after the restore."""
    if restore.damaged:
        return Problem("restore_interrupted", restore.damaged, "Until this is settled nothing is touched.")
    return Problem(
        "restore_interrupted",
        f"The restore of the backup {restore.backup}, begun at {shown_time(restore.began_at)}, was interrupted: one "
        "half may be restored, and the other not. Do not start the application.",
        "Type `fietsupdate recover`: it finishes the restore. What was live before is kept until then.",
    )


def _what(transaction: OpenTransaction) -> str:
    if transaction.direction is Direction.STAMP:
        return "A stamp"
    if transaction.direction is Direction.VERSION:
        return f"Version hook {transaction.update_id}"
    return f"Update {transaction.update_id} ({transaction.direction})"


def transaction_doubt(name: str, reason: str) -> Problem:
    """Return the problem that an open transaction does not provably belong to this database; nothing may be changed."""
    return Problem(
        "transaction_doubt",
        f"The data directory holds the open transaction {name}, and {reason}.",
        "Check that the URL names the right database and that the right volume is mounted, then type "
        "`fietsupdate recover`. Until then nothing is touched.",
    )


def header_unreadable(files: FilesView) -> Problem:
    """Return the problem of an open transaction with an unreadable header.

    Only a backup or the administrator can help.
    """
    folder = files.data_dir / ".fietsupdate" / "txn" / files.unreadable_header
    return Problem(
        "transaction_doubt",
        f"The data directory holds the open transaction {files.unreadable_header}, and its header or "
        "journal cannot be read.",
        f"{_same_moment(files)}; `fietsupdate recover` tells what can be done without one. Until then nothing is "
        f"touched. What was replaced and removed is in {folder}.",
    )


def ledger_damaged(files: FilesView) -> Problem:
    """Return the problem that the data directory's ledger or VERSION is unreadable; `damaged` names the file."""
    return Problem(
        "ledger_damaged",
        f"The data directory does not tell where the instance is. {files.damaged}",
        f"{_same_moment(files)}. If only this one file is damaged, move it away and type "
        "`fietsupdate stamp ID` with the updates that the instance is at; `fietsupdate history` shows the "
        "database's ledger.",
    )


def data_dir_missing(data_dir: Path) -> Problem:
    """Return the problem that the data directory does not exist, although the database is in use."""
    return Problem(
        "data_dir_missing",
        f"The data directory {data_dir} does not exist, but the database is in use. Is the volume mounted?",
        f"Mount it, or correct `data_dir`. If the application never had files, type `mkdir {data_dir}`.",
    )


def data_dir_awaited(data_dir: Path) -> Problem:
    """Return the problem that the data directory of a new instance does not exist yet."""
    return Problem(
        "data_dir_missing",
        f"The data directory {data_dir} does not exist yet.",
        f"Mount it, correct `data_dir`, or type `mkdir -p {data_dir}` for a new instance.",
    )


def files_without_ledger(files: FilesView, pairing: Pairing, current: Sequence[str]) -> Problem:
    """Return the problem that the database has a ledger, and the existing data directory has none."""
    return Problem(
        "files_without_ledger",
        f"The data directory {files.data_dir} has no ledger, but the database's goes on to {_named(pairing)[1]}. "
        "Is the right volume mounted?",
        f"Mount it, or correct `data_dir`. {_same_moment(files)}, if the data directory was lost. If only "
        f"{files.data_dir / '.fietsupdate'} was, type `fietsupdate stamp {_args(current)}`: it copies the ledger.",
    )


def database_without_ledger(files: FilesView, pairing: Pairing, shown_url: str) -> Problem:
    """Return the problem that the data directory has a ledger, and the database has none."""
    return Problem(
        "database_without_ledger",
        f"The database {shown_url} has no ledger, but the one in {files.data_dir} goes on to {_named(pairing)[0]}. "
        "Is it the right database?",
        f"Correct the URL. {_same_moment(files)}, if the database was restored or made anew.",
    )


def database_missing(files: FilesView, database: DatabaseView) -> Problem:
    """Return the problem that the SQLite file is missing, but the data directory has a history."""
    return Problem(
        "database_missing",
        f"The database file {database.file or database.shown_url} does not exist, but {files.data_dir} belongs to an "
        "instance that had one.",
        f"Correct the URL, or bring the file back. {_same_moment(files)}, if it was lost.",
    )


def half_older(files: FilesView, pairing: Pairing, older: str, newer: str) -> Problem:
    """Return the problem that one ledger is the beginning of the other."""
    ours, theirs = _named(pairing)
    last, ahead = (ours, theirs) if older == "data directory" else (theirs, ours)
    code = "files_older" if older == "data directory" else "database_older"
    entries = "1 entry" if pairing.behind == 1 else f"{pairing.behind} entries"
    return Problem(
        code,
        f"The {older} is older than the {newer}: its ledger ends at {last}, {entries} behind {ahead}. "
        "It was restored alone, or it is an old copy.",
        f"{_same_moment(files)}, or bring the {older} of now back.",
    )


def diverged(pairing: Pairing) -> Problem:
    """Return the problem that the ledgers differ, and neither is the beginning of the other."""
    ours, theirs = _named(pairing)
    start = (
        f"agree up to {_entry(pairing.common)} and then went different ways"
        if pairing.common
        else "belong to different instances"
    )
    return Problem(
        "diverged",
        f"Data directory and database {start}: next comes {ours} in the data directory, {theirs} in the database.",
        f"Check `data_dir` and the database's URL. If both are right: {SAME_MOMENT}.",
    )


def version_disagrees(files: FilesView, current: Sequence[str], *, ours: bool) -> Problem:
    """Return the problem that VERSION contradicts the ledgers; `ours` is true when VERSION holds a known id."""
    says = f"{files.version_path} names {_list(files.version or ())}, but the ledger says {_list(current)}."
    if not ours:
        return Problem(
            "version_foreign",
            f"{says} The file seems to belong to another program.",
            "Name another file with the setting `version_file`, or none: `version_file =`. It is never overwritten.",
        )
    return Problem(
        "version_disagrees",
        f"{says} Another tool, or a hand, changed it.",
        f"If the ledger is right, type `fietsupdate stamp {_args(current)}`; if VERSION is, "
        f"`fietsupdate stamp {_args(files.version or ())}`.",
    )


def version_foreign(files: FilesView) -> Problem:
    """Return the problem that VERSION is the file of another program."""
    return Problem(
        "version_foreign",
        f"{files.version_path} holds no update id ({_list(files.version or ())}): it belongs to another program.",
        "Name another file with the setting `version_file`, or none: `version_file =`. It is never overwritten.",
    )


def version_unknown(files: FilesView, unknown: Sequence[str], heads: Sequence[str], rest: Sequence[str]) -> Problem:
    """Return the problem that VERSION, without a ledger, names unknown updates.

    `rest` are the known ones that it names.
    """
    path = files.version_path
    message = (
        f"The instance is at {_list(unknown)} according to {path}, which this code does not know; "
        f"it knows {up_to('updates', heads)}."
    )
    if rest:
        return Problem("too_new", message, _how_to_know(unknown, rest))
    return Problem(
        "version_unknown",
        message,
        f"Install the version of the application that has {_list(unknown)}. If {path} belongs to another program, name "
        "another file with the setting `version_file`; it is never overwritten. Only if the application no longer has "
        "these scripts on purpose: move it away and type `fietsupdate stamp ID` with the updates that the instance is "
        "at.",
    )


def too_new(unknown: Sequence[str], heads: Sequence[str], rest: Sequence[str]) -> Problem:
    """Return the problem that the ledger names updates without a script.

    `rest` is the position without these updates.
    """
    return Problem(
        "too_new",
        f"The instance has had {_list(unknown)}, which this code does not know; it knows {up_to('updates', heads)}.",
        _how_to_know(unknown, rest),
    )


def up_to(what: str, ids: Sequence[str]) -> str:
    """Return up to where the code knows something: "updates up to c", or "no updates at all"."""
    return f"{what} up to {', '.join(ids)}" if ids else f"no {what} at all"


def _how_to_know(unknown: Sequence[str], rest: Sequence[str]) -> str:
    script, they, them = ("script was", "it", "it") if len(unknown) == 1 else ("scripts were", "they", "them")
    return (
        f"If the code is older than the data, or a package is missing: install what has {_list(unknown)}. Only if the "
        f"{script} deleted on purpose, and what {they} did shall stay: type `fietsupdate stamp {_args(rest)}`, which "
        f"forgets {them}."
    )


def unrecorded(current: Sequence[str], fits: Sequence[tuple[str, ...]]) -> Problem:
    """Return the problem that there is an Alembic version, but no record of which updates were applied."""
    message = (
        f"The database is at Alembic revision {_list(current)}, but neither VERSION nor a ledger says which updates "
        "it has had."
    )
    if not fits:
        return Problem("unrecorded", message, _STAMP_UNFIT)
    commands = ", ".join(f"`fietsupdate stamp {_args(ids)}`" for ids in fits[:MANY])
    more = f", or {len(fits) - MANY} older ones" if len(fits) > MANY else ""
    hint = f"Type what its files are at: {commands}{more}. No hook runs then."
    return Problem("unrecorded", message, hint)


_STAMP_UNFIT = (
    "No update's `alembic_revision` fits. Take the database with `alembic upgrade` or `alembic downgrade` to the "
    "revision of the update that its files are at (`fietsupdate history` and `fietsupdate graph` show them), then "
    "type `fietsupdate stamp ID`."
)


def not_adopted(adoption: Adoption, update: str) -> Problem:
    """Return the problem of an instance without a ledger; the command `update` writes the first entries."""
    runs = f", after Alembic has run {', '.join(adoption.revisions)}" if adoption.revisions else ""
    return Problem(
        "not_adopted",
        f"The instance is not adopted yet: {adoption.reason}.",
        f"Nothing is wrong: `{update}` records it{runs}.",
        blocks=False,
    )


def maintenance_left(path: Path) -> Problem:
    """Return the problem that a run was killed before it could remove its maintenance file."""
    return Problem(
        "maintenance_left",
        f"The maintenance file {path} was left by a run that was killed.",
        "Type `fietsupdate recover`, which removes it; the next `fietsupdate update` does, too.",
        blocks=False,
    )


def version_missing(path: Path) -> Problem:
    """Return the problem that VERSION is missing, although both ledgers are complete."""
    return Problem(
        "version_missing",
        f"{path} does not exist; the ledgers of both halves are complete.",
        "The next update writes it again.",
        blocks=False,
    )


def gap(holes: Sequence[tuple[str, str]], current: Sequence[str]) -> Problem:
    """Return the problem that updates are applied that build on updates that are not."""
    said = "; ".join(f"{above} is applied, but {below}, on which it builds, is not" for above, below in holes)
    return Problem(
        "gap",
        f"The ledger has a gap: {said}.",
        f"Correct `previous` in the script; or, if the work was done by other means, type "
        f"`fietsupdate stamp {_args(current)}`, which records what comes before as well.",
    )


def _same_moment(files: FilesView) -> str:
    """Return the beginning of a sentence that tells how to bring the halves together, by which backup if one fits."""
    if files.way_back:
        return f"Put both halves back to the same moment with `fietsupdate restore {files.way_back}`"
    return f"{SAME_MOMENT[0].upper()}{SAME_MOMENT[1:]}"


def _named(pairing: Pairing) -> tuple[str, str]:
    return _entry(pairing.files_entry), _entry(pairing.database_entry)


def _entry(entry: Entry | None) -> str:
    if entry is None:
        return "nothing"
    return f"entry {entry.seq} ({entry.direction} {entry.update_id}, {shown_time(entry.finished_at)})"


def _list(ids: Sequence[str]) -> str:
    return ", ".join(ids) or "nothing"


def _args(ids: Sequence[str]) -> str:
    return " ".join(ids) or "base"
