"""Every command that a message proposes is typed in the state in which it is proposed: it works, and nothing is lost.

Each case brings an instance into a state, finds the proposals in what is printed there, types them, and looks at the
rows and the files afterwards. A proposal that no case covers fails `test_every_proposal_in_the_source_is_typed`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable

from support.notes import notes
from support.paths import TESTS
from support.projects import Project, Result
from support.proposals import proposals
from support.rows_and_files import SECTION, application

COVERED: set[str] = set()

KILL = "import os, signal; self.files.write('half', b'x'); os.kill(os.getpid(), signal.SIGKILL)"
WRITES = "self.files.write('made', b'x')"
FAIL = "self.files.write('half', b'x'); raise RuntimeError('broken')"


def types(*keys: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Say which proposals, ``module: command``, a case types."""
    COVERED.update(keys)

    def same(case: Callable[..., None]) -> Callable[..., None]:
        return case

    return same


def said(result: Result) -> str:
    """Return what a command printed, on one line."""
    return " ".join(result.output.split())


def proposes(result: Result, command: str) -> str:
    """Assert that a command is proposed; return it as it stands there, without the program's name."""
    pattern = re.escape(command).replace(r"\{\}", r"[^`'\s]+")
    found = re.search(rf"(?:[`']|Next:? +)({pattern})(?:[`'.,;]|\s|$)", said(result))
    assert found, f"{command!r} is not proposed in: {said(result)}"
    return found[1].removeprefix("fietsupdate ")


def type_in(project: Project, command: str, *more: str) -> Result:
    """Type a command of ours as it was proposed."""
    return project.run(*command.split(), *more)


def put_in(project: Project, text: str = "precious") -> None:
    """Write a row and a file, as the application does."""
    project.database.execute("INSERT INTO notes (text) VALUES (:text)", text=text)
    (project.data / f"{text}.txt").write_text(text)


def assert_kept(project: Project, text: str = "precious") -> None:
    """Assert that the row and the file are there."""
    assert project.database.execute("SELECT text FROM notes WHERE text = :text", text=text) == [(text,)]
    assert (project.data / f"{text}.txt").read_text() == text


def at_v1(project: Project, count: int = 1) -> Project:
    """Bring the small application to v1 (or further), with a row and a file in it."""
    notes(project, count)
    project.run("update", "--yes").succeeded()
    put_in(project)
    return project


def backup_of(project: Project) -> str:
    """Make a backup and return its name."""
    project.run("backup").succeeded()
    return project.run("backup", "list", "--json").json["backups"][0]["name"]


def current(project: Project) -> list[str]:
    """Return the current updates."""
    return project.run("status", "--json").json["current"]


# -- an update that was killed


def killed(project: Project) -> Project:
    """v1 - v2, whose hook was killed."""
    at_v1(project)
    project.update("v2", "v1", "r2", up_pre=KILL)
    project.run("update", "--yes").exited(-9)
    return project


@types("planning/problems.py: fietsupdate recover", "commands/rehearse.py: fietsupdate recover")
def test_a_killed_update_is_recovered_as_proposed(project):
    killed(project)
    type_in(project, proposes(project.run("status"), "fietsupdate recover")).succeeded()
    assert not (project.data / "half").exists()
    assert_kept(project)


@types("planning/problems.py: fietsupdate update", "commands/rehearse.py: fietsupdate update")
def test_a_killed_update_is_undone_by_the_next_one_as_proposed(project):
    killed(project)
    told = project.run("rehearse").exited(1)
    for command in ("fietsupdate recover", "fietsupdate update"):
        proposes(told, command)
    command = proposes(project.run("status"), "fietsupdate update")
    project.update("v2", "v1", "r2")
    type_in(project, command, "--yes").succeeded()
    assert current(project) == ["v2"]
    assert_kept(project)


# -- an update that is not atomic and broke off


def broken_off(project: Project, **hooks: str) -> tuple[Project, Result]:
    """v1 - v2 (not atomic), whose post hook fails after Alembic has committed."""
    at_v1(project)
    project.update("v2", "v1", "r2", atomic=False, **(hooks or {"up_post": FAIL}))
    return project, project.run("update", "--yes").exited(1)


@types("engine/failure.py: fietsupdate restore {}", "planning/problems.py: fietsupdate restore {}")
def test_an_update_that_broke_off_is_taken_back_by_the_backup_that_is_named(make_project):
    project, failed = broken_off(make_project(section={"backup": "auto"}))
    command = proposes(failed, "fietsupdate restore {}")
    assert proposes(project.run("status"), "fietsupdate restore {}") == command
    type_in(project, command, "--yes").succeeded()
    assert current(project) == ["v1"]
    assert_kept(project)


@types("planning/planner.py: fietsupdate update", "planning/planner.py: fietsupdate recover --accept")
def test_an_update_that_broke_off_is_gone_on_with_or_accepted(project):
    project, failed = broken_off(project)
    proposes(failed, "fietsupdate update")
    refused = project.run("downgrade", "v1", "--yes").exited(1)
    proposes(refused, "fietsupdate update")
    command = proposes(refused, "fietsupdate recover --accept")
    type_in(project, command, "--yes").succeeded()
    assert current(project) == ["v2"]
    assert_kept(project)


@types("planning/planner.py: fietsupdate downgrade {}")
def test_a_downgrade_that_broke_off_is_gone_on_with_as_proposed(project):
    notes(project, 1)
    path = project.update("v2", "v1", "r2", down_post=FAIL, atomic=False)
    project.run("update", "--yes").succeeded()
    put_in(project)
    failed = project.run("downgrade", "v1", "--yes").exited(1)
    command = proposes(failed, "fietsupdate downgrade {}")
    proposes(project.run("status"), "fietsupdate downgrade {}")
    refused = project.run("update", "--yes").exited(1)
    assert proposes(refused, "fietsupdate downgrade {}") == command
    path.write_text(path.read_text().replace("raise RuntimeError('broken')", "pass"))
    type_in(project, command, "--yes").succeeded()
    assert current(project) == ["v1"]
    assert_kept(project)


@types("planning/planner.py: fietsupdate downgrade TARGET")
def test_a_downgrade_whose_script_is_gone_asks_for_the_version_that_has_it(project):
    notes(project, 1)
    path = project.update("v2", "v1", "r2", down_post=FAIL, atomic=False)
    project.run("update", "--yes").succeeded()
    put_in(project)
    project.run("downgrade", "v1", "--yes").exited(1)
    text = path.read_text()
    path.unlink()
    told = project.run("status")
    assert "Install the version of the application that has update v2" in said(told)
    path.write_text(text.replace("raise RuntimeError('broken')", "pass"))  # it is installed
    type_in(project, proposes(told, "fietsupdate downgrade TARGET").replace("TARGET", "v1"), "--yes").succeeded()
    assert_kept(project)


# -- halves that do not fit together


@types("planning/problems.py: fietsupdate backup list", "planning/schema.py: fietsupdate backup list")
def test_without_a_backup_the_list_of_backups_is_what_is_proposed(project):
    at_v1(project, 2)
    project.alembic("downgrade", "r1")
    type_in(project, proposes(project.run("status"), "fietsupdate backup list")).succeeded()
    ledger = project.data / ".fietsupdate" / "ledger.jsonl"
    ledger.write_text(ledger.read_text().splitlines()[0] + "\n")
    type_in(project, proposes(project.run("status"), "fietsupdate backup list")).succeeded()
    assert_kept(project)


@types("planning/schema.py: alembic upgrade {}")
def test_a_schema_that_alembic_took_back_alone_is_brought_up_by_alembic(project):
    at_v1(project, 2)
    project.alembic("downgrade", "r1")
    command = proposes(project.run("status"), "alembic upgrade {}")
    assert project.alembic(*command.split()[1:]).code == 0
    project.run("check").succeeded()
    assert_kept(project)


@types(
    "planning/schema.py: alembic downgrade {}",
    "planning/schema.py: fietsupdate update",
    "planning/schema.py: fietsupdate stamp {}",
)
def test_a_schema_past_a_pending_update_goes_back_where_nothing_was_dropped(project):
    at_v1(project)
    project.update("v2", "v1", "r2", up_pre=WRITES)
    project.alembic("upgrade", "r2")
    told = project.run("status")
    proposes(told, "fietsupdate stamp {}")
    assert project.alembic(*proposes(told, "alembic downgrade {}").split()[1:]).code == 0
    type_in(project, proposes(told, "fietsupdate update"), "--yes").succeeded()
    assert current(project) == ["v2"]
    assert_kept(project)


def test_a_schema_that_alembic_took_back_alone_counts_as_no_backup_to_go_back_to(project):
    at_v1(project, 2)
    good = backup_of(project)
    project.alembic("downgrade", "r1")
    refused = project.run("backup").exited(1)
    type_in(project, proposes(refused, "fietsupdate backup --as-is")).succeeded()
    project.run("restore", "--latest", "--yes").succeeded()
    assert good in said(project.run("backup", "list"))
    project.run("check").succeeded()
    assert_kept(project)


@types("planning/schema.py: fietsupdate restore {}")
def test_a_schema_past_a_pending_update_goes_back_to_the_backup_that_is_named(project):
    at_v1(project)
    backup_of(project)
    project.update("v2", "v1", "r2", up_pre=WRITES)
    project.alembic("upgrade", "r2")
    type_in(project, proposes(project.run("status"), "fietsupdate restore {}"), "--yes").succeeded()
    project.run("update", "--yes").succeeded()
    assert_kept(project)


@types("planning/schema.py: alembic downgrade base")
def test_a_schema_past_the_first_update_that_needs_one_goes_back_to_base(project):
    notes(project, 1)
    project.update("v1", (), None)
    project.update("v2", "v1", "r1", up_pre=WRITES)
    project.run("update", "v1", "--yes").succeeded()
    project.alembic("upgrade", "r1")
    assert project.alembic(*proposes(project.run("status"), "alembic downgrade base").split()[1:]).code == 0
    project.run("update", "--yes").succeeded()


@types("planning/problems.py: fietsupdate stamp {}")
def test_a_data_directory_that_lost_our_folder_gets_its_ledger_back(project):
    at_v1(project)
    shutil.rmtree(project.data / ".fietsupdate")
    type_in(project, proposes(project.run("status"), "fietsupdate stamp {}"), "--yes").succeeded()
    project.run("check").succeeded()
    assert_kept(project)


@types("planning/problems.py: fietsupdate stamp ID", "planning/problems.py: fietsupdate history")
def test_a_damaged_ledger_that_is_moved_away_is_written_anew(project):
    at_v1(project)
    ledger = project.data / ".fietsupdate" / "ledger.jsonl"
    ledger.write_text("{ damaged")
    told = project.run("status")
    type_in(project, proposes(told, "fietsupdate history")).succeeded()
    ledger.rename(project.root / "moved away")
    type_in(project, proposes(told, "fietsupdate stamp ID").replace("ID", "v1"), "--yes").succeeded()
    project.run("check").succeeded()
    assert_kept(project)


def test_a_version_file_that_disagrees_is_settled_either_way(project):
    at_v1(project, 2)
    (project.data / "VERSION").write_text("v1")
    told = project.run("status")
    commands = re.findall(r"fietsupdate (stamp \w+)", said(told))
    assert commands == ["stamp v2", "stamp v1"]
    type_in(project, commands[0], "--yes").succeeded()
    project.run("check").succeeded()
    assert_kept(project)


def test_a_script_that_was_deleted_on_purpose_is_forgotten(project):
    at_v1(project, 2)
    (project.updates / "upd_v2.py").unlink()
    (project.root / "migrations" / "versions" / "r3_.py").unlink()
    type_in(project, proposes(project.run("status"), "fietsupdate stamp {}"), "--yes").succeeded()
    assert current(project) == ["v1"]
    assert_kept(project)


def test_a_gap_in_the_ledger_is_filled(project):
    at_v1(project)
    project.update("v0", (), None)
    project.update("v1", "v0", "r1")
    type_in(project, proposes(project.run("status"), "fietsupdate stamp {}"), "--yes").succeeded()
    project.run("check").succeeded()
    assert_kept(project)


@types(
    "planning/problems.py: alembic upgrade",
    "planning/problems.py: alembic downgrade",
    "planning/problems.py: fietsupdate graph",
)
def test_a_database_without_ledger_is_stamped_as_proposed(project):
    """At r1, with no word about updates: v1 fits. At r2, no update fits."""
    notes(project, 1)
    project.alembic("upgrade", "r1")
    put_in(project)
    type_in(project, proposes(project.run("status"), "fietsupdate stamp {}"), "--yes").succeeded()
    project.run("check").succeeded()
    assert_kept(project)


def test_a_database_that_no_update_fits_is_taken_to_one_and_stamped(project):
    """The database is at r1, before all that an update names."""
    notes(project, 0)
    project.update("v2", (), "r2")
    project.alembic("upgrade", "r1")
    put_in(project)
    told = project.run("status")
    for command in ("fietsupdate history", "fietsupdate graph"):
        type_in(project, proposes(told, command)).succeeded()
    proposes(told, "alembic downgrade")
    assert project.alembic(*proposes(told, "alembic upgrade").split()[1:], "r2").code == 0
    type_in(project, proposes(told, "fietsupdate stamp ID").replace("ID", "v2"), "--yes").succeeded()
    assert_kept(project)


@types("planning/schema.py: fietsupdate stamp heads --with-alembic", "commands/stamp.py: alembic stamp heads")
def test_tables_made_at_one_go_are_recorded(project):
    notes(project, 1)
    project.database.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text VARCHAR(100))")
    put_in(project)
    recorded = type_in(project, proposes(project.run("status"), "fietsupdate stamp heads --with-alembic"), "--yes")
    recorded.succeeded()
    assert project.alembic(*proposes(recorded, "alembic stamp heads").split()[1:]).code == 0
    project.run("check").succeeded()
    assert_kept(project)


# -- what is typed amiss


@types(
    "planning/target.py: fietsupdate downgrade {}",
    "planning/target.py: fietsupdate update {}",
    "planning/target.py: fietsupdate history",
    "planning/target.py: fietsupdate graph",
    "planning/target.py: fietsupdate status",
)
def test_a_target_in_the_wrong_direction_names_the_command(project):
    at_v1(project, 2)
    assert proposes(project.run("update", "base", "--yes").exited(2), "fietsupdate downgrade {}") == "downgrade base"
    command = proposes(project.run("update", "-1", "--yes").exited(2), "fietsupdate downgrade {}")
    assert proposes(project.run("update", "+9", "--yes").exited(2), "fietsupdate status") == "status"
    type_in(project, command, "--yes").succeeded()
    type_in(
        project, proposes(project.run("downgrade", "+1", "--yes").exited(2), "fietsupdate update {}"), "--yes"
    ).succeeded()
    for words, reading in ((("downgrade", "v9"), "graph"), (("update", "zz"), "graph")):
        type_in(project, proposes(project.run(*words, "--yes"), f"fietsupdate {reading}")).succeeded()
    project.update("v3", "v2", None)
    type_in(project, proposes(project.run("downgrade", "v3", "--yes").exited(2), "fietsupdate history")).succeeded()
    assert_kept(project)


@types(
    "planning/target.py: fietsupdate update heads",
    "planning/target.py: fietsupdate update ID",
    "planning/target.py: fietsupdate revision --merge",
    "commands/revision.py: fietsupdate revision --merge",
    "planning/diagnosis.py: fietsupdate update{}",
)
def test_two_heads_are_applied_or_joined(project):
    at_v1(project)
    project.update("v2", "v1", "r2")
    project.update("w2", "v1", "r1")
    refused = project.run("update", "--yes").exited(1)
    type_in(project, proposes(refused, "fietsupdate update ID").replace("ID", "w2"), "--yes").succeeded()
    type_in(project, proposes(refused, "fietsupdate update heads"), "--yes").succeeded()
    again = project.run("revision", "v4").exited(2)
    type_in(project, proposes(again, "fietsupdate revision --merge")).succeeded()
    project.run("update", "--yes").succeeded()
    assert_kept(project)


@types("planning/planner.py: fietsupdate backup list")
def test_an_update_without_a_way_down_sends_to_the_backups(project):
    notes(project, 1)
    project.update("v2", "v1", "r2", has_down=False)
    project.run("update", "--yes").succeeded()
    type_in(project, proposes(project.run("downgrade", "v1", "--yes").exited(1), "fietsupdate backup list")).succeeded()


@types("commands/stamp.py: fietsupdate stamp base")
def test_base_is_stamped_alone(project):
    at_v1(project)
    type_in(
        project, proposes(project.run("stamp", "base", "v1", "--yes").exited(2), "fietsupdate stamp base"), "--yes"
    ).succeeded()
    assert_kept(project)


@types(
    "engine/executor.py: fietsupdate status",
    "commands/backup.py: fietsupdate backup",
    "commands/backup.py: fietsupdate backup list",
    "commands/backup.py: fietsupdate update",
)
def test_reading_commands_that_are_proposed_answer(project):
    notes(project, 1)
    type_in(project, proposes(project.run("backup").exited(1), "fietsupdate update"), "--yes").succeeded()
    put_in(project)
    type_in(project, proposes(project.run("backup", "verify").exited(2), "fietsupdate backup")).succeeded()
    type_in(project, proposes(project.run("backup", "verify", "none").exited(2), "fietsupdate backup list")).succeeded()
    type_in(project, proposes(project.run("recover", "--accept", "--yes").exited(1), "fietsupdate status")).succeeded()
    assert_kept(project)


# -- rows and files


@types("planning/references.py: fietsupdate revision --merge")
def test_two_heads_that_declare_differently_are_merged_as_proposed(project):
    notes(project, 1)
    project.run("update", "--yes").succeeded()
    put_in(project)
    for update_id in ("a", "b"):
        project.update(update_id, "v1", "r1", head=f"owned = ['{update_id}/**']")
    refused = project.run("update", "heads", "--yes").exited(1)
    command = proposes(refused, "fietsupdate revision --merge")
    type_in(project, command).succeeded()
    merge = next(path for path in project.updates.iterdir() if path.name not in {"upd_a.py", "upd_b.py", "upd_v1.py"})
    merge.write_text(merge.read_text().replace("atomic =", "owned = ['a/**', 'b/**']\natomic =", 1))
    project.run("update", "--yes").succeeded()
    assert_kept(project)


@types("engine/run_audit.py: fietsupdate audit")
def test_files_that_did_not_match_before_an_update_are_named_as_proposed(project):
    at_v1(project)
    head = "references = [{'table': 'notes', 'path': '{text}.txt'}]"
    project.update("v2", "v1", "r1", head=head)
    project.database.execute("INSERT INTO notes (text) VALUES ('gone')")
    told = project.run("update", "--yes").succeeded()
    result = type_in(project, proposes(told, "fietsupdate audit")).exited(9)
    assert "missing  gone.txt" in result.stdout
    assert_kept(project)


@types("commands/audit.py: fietsupdate status")
def test_an_audit_of_halves_that_do_not_fit_leads_to_status(project):
    notes(project, 1)
    project.run("update", "--yes").succeeded()
    put_in(project)
    (project.data / "VERSION").write_text("elsewhere")
    command = proposes(project.run("audit"), "fietsupdate status")
    assert "drifted" in said(type_in(project, command).succeeded())
    assert_kept(project)


# -- backups and restores


@types("commands/backup.py: fietsupdate backup", "cli/restore.py: fietsupdate backup list")
def test_a_restore_without_a_name_and_its_question_send_to_the_backups(project):
    at_v1(project)
    name = backup_of(project)
    type_in(
        project, proposes(project.run("restore", "--yes", input="").exited(2), "fietsupdate backup list")
    ).succeeded()
    put_in(project, "later")
    type_in(project, proposes(project.run("restore", name, "--dry-run").succeeded(), "fietsupdate backup")).succeeded()
    project.run("restore", name, "--yes").succeeded()
    newest = project.run("backup", "list", "--json").json["backups"][0]["name"]
    project.run("restore", newest, "--yes").succeeded()
    assert_kept(project)
    assert_kept(project, "later")


@types("commands/backup.py: fietsupdate backup --as-is")
def test_halves_that_do_not_fit_are_kept_as_they_are_before_a_restore(project):
    at_v1(project)
    good = backup_of(project)
    project.update("v2", "v1", "r2")
    project.run("update", "--yes").succeeded()
    put_in(project, "later")
    ledger = project.data / ".fietsupdate" / "ledger.jsonl"
    ledger.write_text(ledger.read_text().splitlines()[0] + "\n")
    proposes(project.run("backup").exited(1), "fietsupdate backup --as-is")
    question = project.run("restore", good, "--dry-run").succeeded()
    type_in(project, proposes(question, "fietsupdate backup --as-is")).succeeded()
    kept, older = (backup["name"] for backup in project.run("backup", "list", "--json").json["backups"])
    assert older == good
    project.run("restore", "--latest", "--yes").succeeded()
    assert current(project) == ["v1"]
    project.run("restore", kept, "--yes").succeeded()
    assert_kept(project, "later")
    project.run("check").exited(6)


@types(
    "commands/restore.py: fietsupdate backup list",
    "commands/bring_back.py: fietsupdate backup list",
    "backup/staging.py: fietsupdate backup list",
)
def test_a_damaged_backup_sends_to_the_others(project):
    at_v1(project)
    good = backup_of(project)
    bad = backup_of(project)
    (copy,) = (project.data / ".fietsupdate" / "backups" / bad).rglob("precious.txt")
    copy.write_text("cut")
    refused = project.run("restore", bad, "--yes").exited(1)
    type_in(project, proposes(refused, "fietsupdate backup list")).succeeded()
    project.run("restore", good, "--yes").succeeded()
    assert_kept(project)


@types("backup/policy.py: fietsupdate backup list", "cli/render/backups.py: fietsupdate backup prune")
def test_a_dump_that_leads_nowhere_is_pruned_and_sends_to_the_others(make_project):
    project, _ = broken_off(make_project(section={"backup": "auto"}))
    path = project.updates / "upd_v2.py"
    path.write_text(path.read_text().replace("raise RuntimeError('broken')", "pass"))
    project.run("update", "--yes").succeeded()
    dump = project.run("backup", "list", "--json").json["backups"][0]["name"]
    kept = project.data / ".fietsupdate" / "kept"
    shutil.rmtree(kept)
    refused = project.run("restore", dump, "--yes").exited(1)
    listing = type_in(project, proposes(refused, "fietsupdate backup list")).succeeded()
    type_in(project, proposes(listing, "fietsupdate backup prune")).succeeded()
    assert project.run("backup", "list", "--json").json["backups"] == []
    assert_kept(project)


@types(
    "filesystem/journal/header.py: fietsupdate backup list",
    "filesystem/journal/header.py: fietsupdate history",
    "planning/problems.py: fietsupdate backup list",
)
def test_a_transaction_without_a_readable_header_is_taken_back_by_a_backup(project):
    at_v1(project)
    name = backup_of(project)
    project.update("v2", "v1", "r2", up_pre=KILL)
    project.run("update", "--yes").exited(-9)
    header = next(project.data.glob(".fietsupdate/txn/*/header"))
    header.write_text("damaged")
    told = project.run("recover").exited(1)
    type_in(project, proposes(told, "fietsupdate history")).succeeded()
    type_in(project, proposes(told, "fietsupdate backup list")).succeeded()
    project.run("restore", name, "--yes").succeeded()
    assert current(project) == ["v1"]
    assert_kept(project)


@types("filesystem/journal/opening.py: fietsupdate backup list")
def test_a_copy_in_the_place_of_a_killed_data_directory_is_taken_back_by_a_backup(project):
    at_v1(project)
    name = backup_of(project)
    project.update("v2", "v1", "r2", up_pre=KILL)
    project.run("update", "--yes").exited(-9)
    project.data.rename(project.root / "original")
    shutil.copytree(project.root / "original", project.data, symlinks=True)
    type_in(project, proposes(project.run("recover").exited(1), "fietsupdate backup list")).succeeded()
    project.run("restore", name, "--yes").succeeded()
    assert_kept(project)


@types("filesystem/journal/undone.py: fietsupdate backup list")
def test_what_the_vault_has_lost_comes_back_from_a_backup(project):
    at_v1(project)
    name = backup_of(project)
    removed = "self.files.remove('precious.txt')"
    project.update("v2", "v1", "r2", up_pre=f"{removed}; {KILL}")
    project.run("update", "--yes").exited(-9)
    for path in project.data.glob(".fietsupdate/txn/*/vault/*"):
        path.unlink()
    type_in(project, proposes(project.run("recover").exited(1), "fietsupdate backup list")).succeeded()
    project.run("restore", name, "--yes").succeeded()
    assert_kept(project)


# -- set-up, and what developers type


@types(
    "config/config.py: fietsupdate init",
    "cli/render/text.py: fietsupdate status",
    "config/config.py: fietsupdate -c {}",
)
def test_a_project_without_our_section_is_initialised_as_proposed(project, tmp_path):
    text = project.ini.read_text()
    project.ini.write_text(text.partition("\n[fietsupdate]")[0])
    told = type_in(project, proposes(project.run("status").exited(1), "fietsupdate init")).succeeded()
    type_in(project, proposes(told, "fietsupdate status")).succeeded()
    project.ini.rename(project.root / "elsewhere.ini")
    command = proposes(project.run("status").exited(1), "fietsupdate -c FILE")
    type_in(project, command.replace("FILE", "elsewhere.ini"), "status").succeeded()


@types(
    "cli/render/text.py: fietsupdate update",
    "cli/render/text.py: fietsupdate update --dry-run",
    "cli/render/rehearsal.py: fietsupdate rehearse",
    "filesystem/space.py: fietsupdate rehearse",
)
def test_what_waits_is_shown_rehearsed_and_applied_as_proposed(project):
    at_v1(project)
    for number in range(2, 24):
        project.update(f"v{number}", f"v{number - 1}", "r2")
    status = project.run("status")
    dry = type_in(project, proposes(status, "fietsupdate update --dry-run"), "--checks").succeeded()
    type_in(project, proposes(dry, "fietsupdate rehearse")).succeeded()
    type_in(project, proposes(status, "fietsupdate update"), "--yes").succeeded()
    assert current(project) == ["v23"]
    assert_kept(project)


@types("planning/script_problems.py: fietsupdate revision", "planning/schema.py: fietsupdate revision")
def test_a_developer_writes_the_update_that_is_asked_for(project):
    at_v1(project)
    path = project.updates / "upd_v1.py"
    path.write_text(path.read_text() + "# changed\n")
    type_in(project, proposes(project.run("status"), "fietsupdate revision"), "v2").succeeded()


@types("planning/metadata.py: alembic history", "planning/revisions.py: alembic history")
def test_a_revision_that_is_none_sends_to_alembics_history(project):
    notes(project, 1)
    project.update("v2", "v1", "nonsense")
    command = proposes(project.run("update", "--yes").exited(1), "alembic history")
    assert project.alembic(*command.split()[1:]).code == 0


@types("engine/checks.py: fietsupdate downgrade TARGET", "engine/checks.py: fietsupdate backup list")
def test_a_failing_post_check_sends_back(make_project):
    project = make_project(section={"checks": "application_checks"})
    (project.root / "application_checks.py").write_text("def post_check(config): raise RuntimeError('not well')\n")
    notes(project, 2)
    told = project.run("update", "--yes").exited(1)
    put_in(project)
    type_in(project, proposes(told, "fietsupdate backup list")).succeeded()
    command = proposes(told, "fietsupdate downgrade TARGET").replace("TARGET", "v1")
    type_in(project, command, "--yes")
    assert current(project) == ["v1"]
    assert_kept(project)


# -- single files


@types(
    "backup/selection.py: fietsupdate backup list",
    "commands/restore_files.py: fietsupdate backup list",
    "commands/restore_files.py: fietsupdate status",
)
def test_a_file_that_cannot_be_brought_back_leads_to_the_backups(project):
    name = backup_of(at_v1(project))
    nowhere = project.run("restore", "--only", "nothing", "--yes").exited(2)
    not_there = project.run("restore", name, "--only", "nothing", "--yes").exited(2)
    ours = project.run("restore", "--only", "VERSION", "--yes").exited(2)
    assert name in type_in(project, proposes(nowhere, "fietsupdate backup list")).succeeded().stdout
    assert name in type_in(project, proposes(not_there, "fietsupdate backup list")).succeeded().stdout
    type_in(project, proposes(ours, "fietsupdate status")).succeeded()
    (project.data / "precious.txt").unlink()
    project.run("restore", name, "--only", "precious.txt", "--yes").succeeded()
    assert_kept(project)


# -- strays


def with_strays(make_project: Callable[..., Project], count: int) -> Project:
    """Rows and files that match, and files that no row names."""
    project = application(make_project(section=SECTION), 20)
    for number in range(count):
        (project.data / "tracks" / f"stray{number}").write_text("precious")
    return project


@types("planning/strays.py: fietsupdate audit", "planning/strays.py: fietsupdate quarantine --strays {}")
def test_many_strays_are_looked_at_and_moved_as_proposed(make_project):
    project = with_strays(make_project, 9)
    told = project.run("quarantine", "--yes").exited(1)
    assert type_in(project, proposes(told, "fietsupdate audit")).exited(9).stdout.count("stray") >= 9
    done = type_in(project, proposes(told, "fietsupdate quarantine --strays {}"), "--yes").succeeded()
    assert_released(project, done, 9)


@types(
    "cli/render/quarantines.py: fietsupdate quarantine release", "commands/quarantines.py: fietsupdate quarantine list"
)
def test_what_is_in_quarantine_is_listed_and_released_as_proposed(make_project):
    project = with_strays(make_project, 1)
    done = project.run("quarantine", "--yes").succeeded()
    nothing = project.run("quarantine", "release", "tracks/nothing").exited(2)
    assert "1 file" in type_in(project, proposes(nothing, "fietsupdate quarantine list")).succeeded().stdout
    assert_released(project, done, 1)


def assert_released(project: Project, done: Result, count: int) -> None:
    """Bring the strays back as proposed, and assert that they are there."""
    assert not list((project.data / "tracks").glob("stray*"))
    type_in(project, proposes(done, "fietsupdate quarantine release")).succeeded()
    assert [path.read_text() for path in (project.data / "tracks").glob("stray*")] == ["precious"] * count


@types("planning/strays.py: fietsupdate status", "planning/strays.py: fietsupdate audit")
def test_an_empty_table_leads_to_the_database_and_a_volume_that_is_not_mounted_to_its_files(make_project):
    project = with_strays(make_project, 1)
    away = project.data / "away"
    (project.data / "tracks").rename(away)
    (project.data / "tracks").mkdir()
    (project.data / "tracks" / "stray").write_text("precious")
    told = project.run("quarantine", "--yes").exited(1)
    assert "missing" in type_in(project, proposes(told, "fietsupdate audit")).exited(9).stdout
    project.database.execute("DELETE FROM tracks")
    (project.data / "tracks" / "stray").rename(away / "stray")
    (project.data / "tracks").rmdir()
    away.rename(project.data / "tracks")
    told = project.run("quarantine", "--yes").exited(1)
    type_in(project, proposes(told, "fietsupdate status")).succeeded()
    assert (project.data / "tracks" / "stray").read_text() == "precious"


# -- the account


HABIT = "test_plain_alembic_upgrade_is_refused_while_updates_wait_and_changes_nothing"
KILLED_FILES = "test_a_restore_of_single_files_killed_before_any_event_is_done_or_is_undone"
ELSEWHERE = {
    "cli/render/audit.py: fietsupdate quarantine": "test_people_read_rows_by_their_keys_and_what_matches_by_reference",
    "commands/audit.py: fietsupdate audit": "test_restore_and_recover_tell_what_does_not_match",
    "config/config.py: fietsupdate init --alembic-config package.module:callable": (
        "test_init_serves_an_application_that_makes_alembics_configuration_in_code"
    ),
    "database/revisions.py: alembic revision -m first": (
        "test_a_tree_that_is_empty_outside_and_out_of_reach_inside_is_no_tree_without_revisions"
    ),
    "commands/pending.py: alembic upgrade": HABIT,
    "commands/pending.py: alembic -x {} upgrade ...": HABIT,
    "backup/create.py: fietsupdate backup prune": "test_space_is_checked_first_and_a_reserve_stays_free",
    "commands/backup.py: fietsupdate backup prune": "test_backup_prune_takes_away_the_oldest",
    "config/config.py: alembic init": "test_init_without_alembic_is_refused",
    "database/inspect.py: alembic current": "test_of_two_databases_the_configured_one_is_taken_back",
    "database/errors.py: alembic current": "test_an_env_that_swallows_errors_is_a_failure",
    "database/revisions.py: alembic merge heads": "test_several_alembic_heads_are_told_with_the_way_out",
    "database/revisions.py: fietsupdate update": "test_when_one_fails_neither_is_left",
    "commands/revision.py: fietsupdate stamp {}": (
        "test_an_update_with_hooks_whose_revisions_are_there_is_stamped_as_was_told"
    ),
    "commands/revision.py: fietsupdate update": "test_an_update_without_hooks_whose_revisions_are_there_is_recorded",
    "filesystem/posix/ownership.py: fietsupdate ...": (
        "test_root_on_somebody_elses_data_is_refused_with_the_line_to_type"
    ),
    "filesystem/transaction.py: fietsupdate recover": "test_recovery_killed_at_any_event_is_recovered",
    "commands/init.py: alembic init alembic": "test_init_without_alembic_is_refused",
    "planning/file_problems.py: fietsupdate rehearse": "test_an_update_that_is_killed_again_and_again_says_so",
    "planning/file_problems.py: fietsupdate update": "test_an_update_that_is_killed_again_and_again_says_so",
    "planning/planner.py: fietsupdate update {}": "test_an_interrupted_update_beside_another_head_is_resumed_by_its_id",
    "planning/problems.py: fietsupdate status": "test_without_a_look_at_the_database_nothing_is_known",
    "backup/policy.py: fietsupdate restore {}": (
        "test_a_backup_that_is_newer_than_the_code_is_refused_with_the_one_that_fits"
    ),
    "planning/version_hooks.py: fietsupdate restore {}": (
        "test_a_backup_that_is_newer_than_the_code_is_refused_with_the_one_that_fits"
    ),
    "planning/version_hooks.py: fietsupdate stamp {}": (
        "test_a_stamp_by_the_older_code_says_that_the_data_was_taken_back"
    ),
    "commands/rehearsal/clone.py: fietsupdate recover": "test_what_a_killed_rehearsal_has_left_is_swept",
    "engine/recovery.py: fietsupdate recover": "test_while_the_database_cannot_be_asked_nothing_is_touched",
    "cli/render/errors.py: fietsupdate status": "test_an_unexpected_exception_is_one_message_without_traceback",
    "commands/bring_back.py: fietsupdate recover": "test_every_command_that_changes_something_finishes_it_first",
    "filesystem/journal/header.py: fietsupdate recover --as-root": (
        "test_root_undoes_what_it_did_for_somebody_else_also_in_folders_that_are_not_his"
    ),
    "backup/swap.py: fietsupdate recover": "test_every_command_that_changes_something_finishes_it_first",
    "backup/restorer.py: fietsupdate recover": "test_every_command_that_changes_something_finishes_it_first",
    "planning/file_problems.py: fietsupdate recover": KILLED_FILES,
    "engine/files_only.py: fietsupdate recover": KILLED_FILES,
    "engine/failure.py: alembic upgrade": "test_an_env_that_does_not_commit_is_a_failure",
}
"""Proposals that another test types, or that are there to look with, with the name of the test."""

NAMES = {
    "cli/main.py: fietsupdate {}",
    "database/held.py: fietsupdate {}",
    "commands/restore_files.py: fietsupdate restore --only",
    "commands/quarantine.py: fietsupdate quarantine",
    "commands/quarantines.py: fietsupdate quarantine release",
    "commands/run.py: fietsupdate {}",
    "commands/maintenance.py: fietsupdate {}",
}
"""Not proposals: what a process calls itself."""


@types("cli/probe.py: fietsupdate probe liveness")
def test_a_probe_that_there_is_not_names_one_that_there_is(project):
    at_v1(project)
    said = project.run("probe", "alive").exited(2)
    type_in(project, proposes(said, "fietsupdate probe liveness")).succeeded()
    assert_kept(project)


def test_every_proposal_in_the_source_is_typed():
    """One that is added without a case fails here."""
    assert proposals() - COVERED - ELSEWHERE.keys() - NAMES == set()


def test_no_case_is_left_of_a_proposal_that_is_gone():
    assert (COVERED | ELSEWHERE.keys() | NAMES) - proposals() == set()


def test_the_tests_that_type_the_others_are_there():
    source = "\n".join(path.read_text() for path in TESTS.rglob("test_*.py"))
    assert [name for name in ELSEWHERE.values() if f"def {name}(" not in source] == []
