"""The state of an instance, and what its administrator reads about it."""

import dataclasses

import pytest

from fietsupdate.model import Begun, Direction, Phase, UpdateState, fingerprint
from fietsupdate.planning.diagnosis import diagnose, refusal
from fietsupdate.views import LockHolder, OpenTransaction
from support.instances import DATA, LINE, database, entry, files, graph_of, ledger, update

CHAIN = graph_of(update("a", at="r1"), update("b", "a", at="r1"), update("c", "b", at="r3"))
"""a (r1) - b (r1, a release) - c (r3)     revisions: r1 - r2 - r3 - r4"""

RESTORE = "Put both halves back to the same moment with a backup of both (`fietsupdate backup list` shows them)"
MIDDLE = f"{RESTORE[0].lower()}{RESTORE[1:]}"
PAST = (
    "What was dropped with that is gone from this database: Alembic does not bring it back, and the update would find "
    "nothing. Take both halves back to a backup from before that, if there is one (`fietsupdate backup list`), then "
    "type `fietsupdate update`. Only if you know that nothing was dropped: {undo}, then type `fietsupdate update`."
)
HOLDER = LockHolder(4711, "web1", "2026-03-09T12:00:00Z", "fietsupdate update --yes")


def look(history="", *, ours=None, version=None, at="", graph=CHAIN, files_view=None, **options):
    """Diagnose an instance; both halves have the same ledger unless `ours` is the data directory's."""
    ours = history if ours is None else ours
    return diagnose(graph, database(history, at=at, **options), files_view or files(ours, version=version))


def said(status):
    """Give code, message and hint of the only problem."""
    assert len(status.problems) == 1, status.problems
    problem = status.problems[0]
    return problem.code, problem.message, problem.hint


def codes(status):
    return [problem.code for problem in status.problems]


def pending(status):
    return [one.update_id for one in status.pending]


# An instance in order


def test_an_instance_at_every_head_is_okay():
    status = look("a b c", version="c", at="r3")
    assert (status.state, status.problems, status.pending) == (UpdateState.OKAY, (), ())
    assert (status.current, status.heads, status.applied) == (("c",), ("c",), ("a", "b", "c"))
    assert (status.alembic_current, status.alembic_heads) == (("r3",), ("r4",))
    assert (status.data_dir, status.database) == (DATA, "sqlite:////srv/app.db")
    assert refusal(status) is None


def test_waiting_updates_are_listed_in_the_order_in_which_they_will_run():
    status = look("a", at="r1", version="a")
    assert (status.state, status.problems) == (UpdateState.OUTDATED, ())
    assert (status.current, pending(status)) == (("a",), ["b", "c"])


def test_a_new_instance_is_outdated_and_nowhere():
    for status in (look(), look(exists=False, revisions={})):
        assert (status.state, status.current, status.problems) == (UpdateState.OUTDATED, (), ())
        assert pending(status) == ["a", "b", "c"]


def test_a_new_instance_without_data_directory_is_told_to_make_it():
    status = look(files_view=files(exists=False))
    assert (status.state, pending(status)) == (UpdateState.OUTDATED, ["a", "b", "c"])
    assert said(status) == (
        "data_dir_missing",
        "The data directory /srv/data does not exist yet.",
        "Mount it, correct `data_dir`, or type `mkdir -p /srv/data` for a new instance.",
    )


def test_an_application_without_updates_is_okay():
    assert look(at="r4", graph=graph_of()).state is UpdateState.OKAY


def test_a_release_that_needs_the_same_revision_is_not_drift():
    """Update b is pending, and its r1 is in the database, because a needed it, too."""
    assert look("a", version="a", at="r1").problems == ()


def test_a_sibling_whose_revision_another_one_brought_is_not_drift():
    r"""First c was applied, which brought r2 and r3; b is pending.

    a (r1) - b (r2)
          \- c (r3)
    """
    graph = graph_of(update("a", at="r1"), update("b", "a", at="r2"), update("c", "a", at="r3"))
    status = look("a c", version="c", at="r3", graph=graph)
    assert (status.state, codes(status)) == (UpdateState.OUTDATED, ["several_heads"])


# Adoption


def test_an_instance_of_before_is_where_its_version_file_says():
    status = look(version="b", at="r1")
    assert (status.state, status.current, pending(status)) == (UpdateState.OUTDATED, ("b",), ["c"])
    assert said(status) == (
        "not_adopted",
        "The instance is not adopted yet: VERSION names b, and there is no ledger yet.",
        "Nothing is wrong: `fietsupdate update` records it.",
    )
    assert refusal(status) is None


def test_an_instance_of_before_at_the_head_is_okay():
    assert look(version="c", at="r3").state is UpdateState.OKAY


BASELINE = graph_of(update("a", at="r2", baseline=True), update("b", "a", at="r3"))
"""a (r2, baseline) - b (r3)"""


@pytest.mark.parametrize(
    ("at", "current", "waiting"),
    [("r2", ("a",), ["b"]), ("r1", (), ["a", "b"])],
)
def test_a_database_at_its_baseline_or_before_goes_on_unattended(at, current, waiting):
    status = look(at=at, graph=BASELINE)
    assert (status.state, status.current, pending(status)) == (UpdateState.OUTDATED, current, waiting)
    assert codes(status) == ["not_adopted"]
    assert refusal(status) is None


def test_a_database_past_its_baseline_is_unrecorded():
    status = look(at="r3", graph=BASELINE)
    assert status.state is UpdateState.UNKNOWN
    assert codes(status) == ["unrecorded"]


def test_a_database_made_by_plain_alembic_is_refused_with_the_updates_that_fit():
    status = look(at="r1")
    assert (status.state, status.current, status.pending) == (UpdateState.UNKNOWN, (), ())
    assert said(status) == (
        "unrecorded",
        "The database is at Alembic revision r1, but neither VERSION nor a ledger says which updates it has had.",
        "Type what its files are at: `fietsupdate stamp b`, `fietsupdate stamp a`. No hook runs then.",
    )
    assert refusal(status) == status.problems[0]


def test_a_lost_version_file_is_no_new_instance():
    assert codes(look(version="", at="r3")) == ["unrecorded"]


def test_a_database_past_every_update_fits_the_newest():
    assert "`fietsupdate stamp c`. No hook" in look(at="r4").problems[0].hint


def test_a_database_between_two_updates_fits_none():
    assert look(at="r2").problems[0].hint == (
        "No update's `alembic_revision` fits. Take the database with `alembic upgrade` or `alembic downgrade` to the "
        "revision of the update that its files are at (`fietsupdate history` and `fietsupdate graph` show them), then "
        "type `fietsupdate stamp ID`."
    )


def test_an_unrecorded_database_at_an_unknown_revision_is_one_of_newer_code():
    status = look(at="zzz")
    assert (status.state, codes(status)) == (UpdateState.UNKNOWN, ["alembic_unknown"])


def test_of_many_updates_that_fit_the_newest_are_named():
    graph = graph_of(update("u0", at="r1"), *(update(f"u{n}", f"u{n - 1}", at="r1") for n in range(1, 8)))
    hint = look(at="r1", graph=graph).problems[0].hint
    assert hint.startswith("Type what its files are at: `fietsupdate stamp u7`, ")
    assert hint.endswith("`fietsupdate stamp u3`, or 3 older ones. No hook runs then.")


def test_several_alembic_heads_fit_several_updates_together():
    tree = {**LINE, "p1": ()}
    graph = graph_of(*CHAIN.ordered, update("p", at="p1", folder="plugin"))
    hint = look(at="p1 r1", tree=tree, graph=graph).problems[0].hint
    assert hint == "Type what its files are at: `fietsupdate stamp b p`. No hook runs then."


def test_an_unrecorded_instance_without_data_directory_may_have_lost_its_volume():
    status = look(at="r1", files_view=files(exists=False))
    assert (status.state, codes(status)) == (UpdateState.UNKNOWN, ["data_dir_missing"])


def test_a_baseline_is_not_adopted_without_its_data_directory():
    status = look(at="r2", graph=BASELINE, files_view=files(exists=False))
    assert (status.state, codes(status)) == (UpdateState.UNKNOWN, ["data_dir_missing"])


# What this code does not know


def test_version_with_an_unknown_id_is_too_new_and_names_both_versions():
    status = look(version="b v99.0", at="r1")
    assert (status.state, status.unknown, status.pending) == (UpdateState.TOO_NEW, ("v99.0",), ())
    assert said(status) == (
        "too_new",
        (
            "The instance is at v99.0 according to /srv/data/VERSION, which this code does not know; "
            "it knows updates up to c."
        ),
        (
            "If the code is older than the data, or a package is missing: install what has v99.0. Only if the script "
            "was deleted on purpose, and what it did shall stay: type `fietsupdate stamp b`, which forgets it."
        ),
    )


def test_version_with_only_unknown_ids_may_be_another_programs():
    status = look(version="v99.0", at="r3")
    assert status.state is UpdateState.TOO_NEW
    code, _, hint = said(status)
    assert code == "version_unknown"
    assert hint == (
        "Install the version of the application that has v99.0. If /srv/data/VERSION belongs to another program, "
        "name another file with the setting `version_file`; it is never overwritten. Only if the application no longer "
        "has these scripts on purpose: move it away and type `fietsupdate stamp ID` with the updates that the instance "
        "is at."
    )


def test_code_without_updates_knows_none():
    assert said(look("a", version="a", at="r1", graph=graph_of()))[1] == (
        "The instance has had a, which this code does not know; it knows no updates at all."
    )


def test_a_version_file_that_holds_no_id_is_not_ours():
    status = look(version="Release: 4 (2019)", at="r1")
    assert (status.state, status.current, status.unknown) == (UpdateState.UNKNOWN, (), ())
    assert said(status) == (
        "version_foreign",
        "/srv/data/VERSION holds no update id (Release:, 4, (2019)): it belongs to another program.",
        "Name another file with the setting `version_file`, or none: `version_file =`. It is never overwritten.",
    )


def test_updates_in_the_ledger_without_script_are_too_new():
    status = look("a b c ghost", version="ghost", at="r4")
    assert (status.state, status.unknown, status.current) == (UpdateState.TOO_NEW, ("ghost",), ("c", "ghost"))
    assert status.applied == ("a", "b", "c", "ghost")
    assert said(status) == (
        "too_new",
        "The instance has had ghost, which this code does not know; it knows updates up to c.",
        (
            "If the code is older than the data, or a package is missing: install what has ghost. Only if the script "
            "was deleted on purpose, and what it did shall stay: type `fietsupdate stamp c`, which forgets it."
        ),
    )


def test_an_alembic_revision_that_this_code_does_not_know_is_drift():
    status = look("a", version="a", at="zzz")
    assert status.state is UpdateState.DRIFTED
    assert said(status) == (
        "alembic_unknown",
        "The database is at Alembic revision zzz, which this code does not know; it knows revisions up to r4.",
        "Install the version of the application that has it, or put its migration script back.",
    )


# Two halves that do not fit together


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (
            look("a b c", ours="a", at="r3"),
            (
                "files_older",
                (
                    "The data directory is older than the database: its ledger ends at entry 1 (up a, "
                    "2026-03-01 12:00:00 UTC), 2 entries behind entry 3 (up c, 2026-03-03 12:00:00 UTC). "
                    "It was restored alone, or it is an old copy."
                ),
                f"{RESTORE}, or bring the data directory of now back.",
            ),
        ),
        (
            look("a b", ours="a b c", at="r1"),
            (
                "database_older",
                (
                    "The database is older than the data directory: its ledger ends at entry 2 (up b, "
                    "2026-03-02 12:00:00 UTC), 1 entry behind entry 3 (up c, 2026-03-03 12:00:00 UTC). "
                    "It was restored alone, or it is an old copy."
                ),
                f"{RESTORE}, or bring the database of now back.",
            ),
        ),
        (
            look("a b", ours="a -a", at="r1"),
            (
                "diverged",
                (
                    "Data directory and database agree up to entry 1 (up a, 2026-03-01 12:00:00 UTC) and then went "
                    "different ways: next comes entry 2 (down a, 2026-03-02 12:00:00 UTC) in the data directory, "
                    "entry 2 (up b, 2026-03-02 12:00:00 UTC) in the database."
                ),
                f"Check `data_dir` and the database's URL. If both are right: {MIDDLE}.",
            ),
        ),
        (
            look(files_view=files("a"), entries=(entry(1, "a", txn="other"),), at="r1"),
            (
                "diverged",
                (
                    "Data directory and database belong to different instances: next comes entry 1 (up a, "
                    "2026-03-01 12:00:00 UTC) in the data directory, entry 1 (up a, 2026-03-01 12:00:00 UTC) in the "
                    "database."
                ),
                f"Check `data_dir` and the database's URL. If both are right: {MIDDLE}.",
            ),
        ),
        (
            look("a", ours="", at="r1"),
            (
                "files_without_ledger",
                (
                    "The data directory /srv/data has no ledger, but the database's goes on to entry 1 (up a, "
                    "2026-03-01 12:00:00 UTC). Is the right volume mounted?"
                ),
                (
                    f"Mount it, or correct `data_dir`. {RESTORE}, if the data directory was lost. If only "
                    "/srv/data/.fietsupdate was, type `fietsupdate stamp a`: it copies the ledger."
                ),
            ),
        ),
        (
            look("a", at="r1", files_view=files(exists=False)),
            (
                "data_dir_missing",
                "The data directory /srv/data does not exist, but the database is in use. Is the volume mounted?",
                "Mount it, or correct `data_dir`. If the application never had files, type `mkdir /srv/data`.",
            ),
        ),
        (
            look("", ours="a"),
            (
                "database_without_ledger",
                (
                    "The database sqlite:////srv/app.db has no ledger, but the one in /srv/data goes on to entry 1 "
                    "(up a, 2026-03-01 12:00:00 UTC). Is it the right database?"
                ),
                f"Correct the URL. {RESTORE}, if the database was restored or made anew.",
            ),
        ),
        (
            look("", ours="a", exists=False),
            (
                "database_missing",
                "The database file /srv/app.db does not exist, but /srv/data belongs to an instance that had one.",
                f"Correct the URL, or bring the file back. {RESTORE}, if it was lost.",
            ),
        ),
        (
            look("a b", version="a", at="r1"),
            (
                "version_disagrees",
                "/srv/data/VERSION names a, but the ledger says b. Another tool, or a hand, changed it.",
                "If the ledger is right, type `fietsupdate stamp b`; if VERSION is, `fietsupdate stamp a`.",
            ),
        ),
        (
            look("a b", version="", at="r1"),
            (
                "version_disagrees",
                "/srv/data/VERSION names nothing, but the ledger says b. Another tool, or a hand, changed it.",
                "If the ledger is right, type `fietsupdate stamp b`; if VERSION is, `fietsupdate stamp base`.",
            ),
        ),
        (
            look("a b", version="4.1", at="r1"),
            (
                "version_foreign",
                "/srv/data/VERSION names 4.1, but the ledger says b. The file seems to belong to another program.",
                (
                    "Name another file with the setting `version_file`, or none: `version_file =`. "
                    "It is never overwritten."
                ),
            ),
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_halves_that_do_not_fit_are_drifted_with_what_happened(status, expected):
    assert status.state is UpdateState.DRIFTED
    assert said(status) == expected
    assert refusal(status) == status.problems[0]


def test_a_ledger_in_a_directory_whose_version_file_is_gone_is_complete():
    status = look("a b c", at="r3")
    assert said(status) == (
        "version_missing",
        "/srv/data/VERSION does not exist; the ledgers of both halves are complete.",
        "The next update writes it again.",
    )
    assert status.state is UpdateState.OKAY
    assert look("a b c", at="r3", files_view=files("a b c", version_path=None)).problems == ()


def test_a_damaged_ledger_leaves_the_position_unknown():
    view = files("a", damaged="Line 2 is not an entry.")
    status = look("a b", at="r1", files_view=view)
    assert status.state is UpdateState.UNKNOWN
    assert said(status) == (
        "ledger_damaged",
        "The data directory does not tell where the instance is. Line 2 is not an entry.",
        (
            f"{RESTORE}. If only this one file is damaged, move it away and type "
            "`fietsupdate stamp ID` with the updates that the instance is at; `fietsupdate history` shows the "
            "database's ledger."
        ),
    )


def test_without_a_look_at_the_database_nothing_is_known():
    status = diagnose(CHAIN, None, files("a b", version="b"))
    assert (status.state, status.current) == (UpdateState.UNKNOWN, ("b",))
    assert said(status) == (
        "database_unseen",
        "The database was not looked at, so nothing is known about it.",
        "Make the database reachable and type `fietsupdate status` again.",
    )


# Ledger and schema


@pytest.mark.parametrize(
    ("at", "now"),
    [("r2", "r2"), ("", "no revision at all")],
)
def test_a_database_behind_its_current_updates_is_drifted(at, now):
    status = look("a b c", version="c", at=at)
    assert status.state is UpdateState.DRIFTED
    assert said(status) == (
        "database_behind",
        f"The database is behind its current updates: c needs Alembic revision r3, the database is at {now}.",
        f"If only Alembic was taken back, type `alembic upgrade r3`. If the database was restored alone: {MIDDLE}.",
    )


def test_a_database_older_than_version_is_drifted_before_it_is_adopted():
    status = look(version="c", at="r1")
    assert status.state is UpdateState.DRIFTED
    assert codes(status) == ["database_behind", "not_adopted"]


def test_a_database_past_a_pending_update_is_drifted():
    status = look("a b", version="b", at="r3")
    assert status.state is UpdateState.DRIFTED
    assert said(status) == (
        "database_ahead",
        (
            "The database is already past the revision of a pending update: Alembic revision r3 belongs to c, "
            "which has not run."
        ),
        PAST.format(undo="type `alembic downgrade r1`")
        + " If the work of c is done already, type `fietsupdate stamp c`.",
    )


def test_a_database_newer_than_version_is_drifted_before_it_is_adopted():
    assert codes(look(version="b", at="r3")) == ["database_ahead", "not_adopted"]


def test_a_database_on_the_way_to_a_pending_update_is_drifted_and_cannot_be_stamped():
    status = look("a b", version="b", at="r2")
    assert said(status)[1:] == (
        (
            "The database is already past the revision of a pending update: Alembic revision r2 belongs to c, "
            "which has not run."
        ),
        PAST.format(undo="type `alembic downgrade r1`"),
    )


def test_where_one_alembic_command_does_not_take_the_schema_back_the_revisions_are_named():
    """Alembic has two heads, r3 and p1; `alembic downgrade r1` would leave p1 out of account."""
    graph = graph_of(update("a", at="r1 p1"), update("b", "a", at="r3"))
    status = look("a", version="a", at="r3 p1", tree={**LINE, "p1": ()}, graph=graph)
    assert said(status)[2].startswith(PAST.format(undo="take Alembic revision r3, r2 back"))


def test_updates_that_need_no_schema_leave_alembic_at_base():
    graph = graph_of(update("a"), update("b", "a", at="r1"))
    hint = said(look("a", version="a", at="r1", graph=graph))[2]
    assert hint.startswith(PAST.format(undo="type `alembic downgrade base`"))


def test_a_revision_that_no_update_reaches_is_the_developers_affair():
    status = look("a b c", version="c", at="r4")
    assert status.state is UpdateState.OKAY
    assert said(status) == (
        "alembic_ahead",
        "The database is ahead of every update: no update reaches Alembic revision r4.",
        "Developers: write an update for it with `fietsupdate revision`.",
    )
    assert refusal(status) is None


def test_a_branch_that_no_update_reaches_leaves_the_instance_outdated():
    status = look("a", version="a", at="r1 x1", tree={**LINE, "x1": ()})
    assert (status.state, codes(status), refusal(status)) == (UpdateState.OUTDATED, ["alembic_ahead"], None)


def test_tables_without_an_alembic_version_are_remarked():
    status = look(tables=7)
    assert (status.state, refusal(status)) == (UpdateState.OUTDATED, None)
    assert said(status) == (
        "tables_without_alembic",
        "The database has 7 tables, but no Alembic version: updates would begin at the very first.",
        (
            "If the application made them without Alembic, type `fietsupdate stamp heads --with-alembic` instead of "
            "updating."
        ),
    )


def test_a_gap_in_the_ledger_is_drift():
    """Update b was put between a and c when c had been applied already."""
    status = look("a c", version="c", at="r3")
    assert status.state is UpdateState.DRIFTED
    assert said(status) == (
        "gap",
        "The ledger has a gap: c is applied, but b, on which it builds, is not.",
        (
            "Correct `previous` in the script; or, if the work was done by other means, type `fietsupdate stamp c`, "
            "which records what comes before as well."
        ),
    )


def test_a_script_that_changed_after_it_ran_is_remarked():
    graph = graph_of(update("a", at="r1", checksum="new"), update("b", "a", at="r1", checksum="new"))
    status = look("a b", version="b", at="r1", graph=graph)
    assert (status.state, refusal(status)) == (UpdateState.OKAY, None)
    assert said(status) == (
        "script_changed",
        "Changed since they were applied: /app/updates/upd_a.py, /app/updates/upd_b.py.",
        "What was done stays done. If the change matters, write a new update: `fietsupdate revision`.",
    )


def test_a_script_that_was_stamped_never_ran_and_may_change():
    graph = graph_of(update("a", at="r1", checksum="new"))
    assert look("=a", version="a", at="r1", graph=graph).problems == ()


def test_a_revision_that_does_not_exist_is_named_with_file_and_line():
    graph = graph_of(update("a", at="r1"), update("b", "a", at="r9", revision_line=7))
    status = look("a", version="a", at="r1", graph=graph)
    assert (status.state, refusal(status)) == (UpdateState.OUTDATED, None)
    assert said(status) == (
        "revision_unknown",
        "/app/updates/upd_b.py:7: update b needs Alembic revision 'r9', which does not exist.",
        "`alembic history` lists the revisions of this application.",
    )


# Interrupted, and at work


def begun(update_id, direction=Direction.UP, *finished, failure=""):
    return Begun(9, "txn-9", update_id, direction, "", finished, "2026-03-09T12:00:00.000Z", "root@web1", failure)


def test_an_interrupted_update_tells_how_far_it_came_and_how_it_goes_on():
    row = begun("c", Direction.UP, Phase.PRE, failure="Table 'track' already exists")
    status = look("a b", version="b", at="r2", begun=row)
    assert (status.state, pending(status), refusal(status)) == (UpdateState.INTERRUPTED, ["c"], None)
    assert said(status) == (
        "interrupted",
        (
            "Update c was interrupted on its way up; root@web1 began it at 2026-03-09 12:00:00 UTC, "
            "finished phases: pre. It failed: Table 'track' already exists"
        ),
        (
            "Mend the cause, then type `fietsupdate update`, which goes on at phase alembic; "
            "or restore a backup of both halves from before (`fietsupdate backup list` shows them)."
        ),
    )


def test_an_interrupted_downgrade_names_the_command_that_goes_on():
    status = look("a b c", version="c", at="r2", begun=begun("c", Direction.DOWN))
    assert status.state is UpdateState.INTERRUPTED
    assert said(status)[1:] == (
        (
            "Update c was interrupted while it was being reverted; root@web1 began it at 2026-03-09 12:00:00 UTC, "
            "finished phases: none."
        ),
        (
            "Mend the cause, then type `fietsupdate downgrade b`, which goes on at phase pre; "
            "or restore a backup of both halves from before (`fietsupdate backup list` shows them)."
        ),
    )


def test_an_update_interrupted_after_its_last_phase_is_only_to_be_recorded():
    status = look("a b", version="b", at="r3", begun=begun("c", Direction.UP, *Phase))
    assert "type `fietsupdate update`, which records it as done" in said(status)[2]


def test_an_interrupted_first_update_is_not_an_unrecorded_database():
    assert codes(look(at="r1", begun=begun("a"))) == ["interrupted"]


def test_an_interrupted_update_runs_first():
    graph = graph_of(*CHAIN.ordered, update("p", at="r1", folder="plugin"))
    assert pending(look("a", version="a", at="r1", graph=graph, begun=begun("p"))) == ["p", "b", "c"]


def test_an_interrupted_update_without_script_needs_the_code_that_has_it():
    status = look("a", version="a", at="r1", begun=begun("ghost"))
    assert status.state is UpdateState.INTERRUPTED
    assert refusal(status) == status.problems[0]
    assert said(status)[2] == (
        "Install the version of the application that has update ghost, and type `fietsupdate update`."
    )


def test_an_interrupted_downgrade_without_script_needs_the_code_that_has_it():
    status = look("a", version="a", at="r1", begun=begun("ghost", Direction.DOWN))
    assert said(status)[2].endswith("has update ghost, and type `fietsupdate downgrade TARGET`.")


def cut_off(history="a", **changes):
    """Give the data directory of a run that was killed while it applied b; ledger and VERSION are written already."""
    entries = ledger(history)
    header = OpenTransaction("txn-2", "instance-1", len(entries), fingerprint(entries), "b", Direction.UP, atomic=True)
    header = dataclasses.replace(header, **changes)
    return files("a b", version="b", transaction=header)


def test_an_open_transaction_without_a_row_is_to_be_undone():
    status = look("a", at="r1", files_view=cut_off())
    assert (status.state, status.current, refusal(status)) == (UpdateState.INTERRUPTED, ("a",), None)
    assert said(status) == (
        "interrupted",
        "Update b (up) was interrupted before the database committed it; its file changes are still to be undone.",
        "Type `fietsupdate recover`; `fietsupdate update` does the same by itself before it begins.",
    )


def test_what_a_transaction_was_writing_when_it_was_cut_off_is_not_damage():
    view = dataclasses.replace(cut_off(), damaged="The last line is incomplete.")
    assert codes(look("a", at="r1", files_view=view)) == ["interrupted"]


def test_an_interrupted_stamp_is_called_one():
    status = look("a", at="r1", files_view=cut_off(update_id="base", direction=Direction.STAMP))
    assert said(status)[1].startswith("A stamp was interrupted before")


def test_an_open_transaction_whose_row_is_done_is_to_be_put_away():
    status = look("a b", at="r1", files_view=cut_off())
    assert (status.state, status.current, refusal(status)) == (UpdateState.INTERRUPTED, ("b",), None)
    assert said(status)[1] == (
        "Update b (up) was interrupted after the database had committed it; its journal is still to be put away."
    )


def test_the_first_transaction_of_all_is_not_taken_for_a_history():
    view = files("a", transaction=OpenTransaction("txn-1", "instance-1", 0, "", "a", Direction.UP, atomic=True))
    status = look(files_view=view)
    assert (status.state, status.current, codes(status)) == (UpdateState.INTERRUPTED, (), ["interrupted"])


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (
            look("a", at="r1", files_view=cut_off(instance_id="instance-2")),
            "it was begun on another instance than this database belongs to",
        ),
        (
            look("a -a a", at="r1", files_view=cut_off()),
            "it was begun after entry 1 of the ledger, but the database's ends at entry 3",
        ),
        (
            look("a", at="r1", files_view=cut_off(tip_hash="other")),
            "it was begun after entry 1 of the ledger, but the database's ends at entry 1",
        ),
        (look("a", at="r1", begun=begun("b"), files_view=cut_off()), "the database has begun another one, txn-9"),
        (look(exists=False, files_view=cut_off()), "the database file does not exist"),
    ],
)
def test_an_open_transaction_that_does_not_fit_the_database_is_touched_by_nobody(status, reason):
    assert status.state is UpdateState.INTERRUPTED
    problem = refusal(status)
    assert (problem.code, problem.message) == (
        "transaction_doubt",
        f"The data directory holds the open transaction txn-2, and {reason}.",
    )
    assert problem.hint == (
        "Check that the URL names the right database and that the right volume is mounted, then type "
        "`fietsupdate recover`. Until then nothing is touched."
    )


def test_an_open_transaction_whose_header_cannot_be_read_is_touched_by_nobody():
    status = look("a", at="r1", files_view=files("a", version="a", unreadable_header="txn-2"))
    assert status.state is UpdateState.INTERRUPTED
    assert (
        said(status)[1]
        == "The data directory holds the open transaction txn-2, and its header or journal cannot be read."
    )
    assert "fietsupdate backup list" in status.problems[0].hint
    assert refusal(status) == status.problems[0]


def test_while_another_process_holds_the_lock_the_instance_is_updating_and_not_interrupted():
    view = dataclasses.replace(cut_off(), holder=HOLDER)
    status = look("a", at="r1", files_view=view)
    assert (status.state, status.current, refusal(status)) == (UpdateState.UPDATING, ("a",), None)
    assert said(status) == (
        "updating",
        "Another process is at work: `fietsupdate update --yes`, pid 4711 on web1, since 2026-03-09 12:00:00 UTC.",
        "Wait until it is done; `fietsupdate update` waits by itself.",
    )


def test_a_process_that_has_not_signed_its_lock_yet_is_told_without_blanks():
    status = look("a", at="r1", files_view=dataclasses.replace(cut_off(), holder=LockHolder(0, "", "", "")))
    assert said(status)[1] == "Another process is at work."


def test_the_lock_of_this_very_process_hides_nothing():
    view = dataclasses.replace(cut_off(), holder=HOLDER)
    status = diagnose(CHAIN, database("a", at="r1"), view, locked_by_us=True)
    assert status.state is UpdateState.INTERRUPTED


# Several problems at once


def test_the_gravest_problem_gives_the_state_and_comes_first():
    graph = graph_of(update("a", at="r1", checksum="new"), update("b", "a", at="r1"))
    view = files("a", version="a", damaged="Line 2 is not an entry.")
    status = look("a ghost", at="r1", graph=graph, files_view=view)
    assert status.state is UpdateState.UNKNOWN
    assert codes(status) == ["ledger_damaged", "too_new", "script_changed"]
    assert refusal(status).code == "ledger_damaged"


def test_too_new_is_said_before_drift():
    status = look("a ghost", ours="a", at="r1")
    assert (status.state, codes(status)) == (UpdateState.TOO_NEW, ["too_new", "files_older"])
