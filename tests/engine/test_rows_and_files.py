"""An update after which rows and files do not match fails, and both halves go back; what did not match before is told.

v1 (r1; references and owned files) - v2 - ...
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from fietsupdate.testing.content import dump, tree
from support.databases import KINDS, MARIADB, POSTGRESQL, SQLITE
from support.projects import Project
from support.rows_and_files import REFERENCES, SECTION, application, content, track

REMOVE_FILE = "(self.data_dir / 'tracks' / '07' / '7.gpx').unlink()"
DELETE_ROW = "self.connection.execute(sa.text('DELETE FROM tracks WHERE id = 7'))"
RENAME = "self.files.move('tracks/07/7.gpx', 'tracks/07/seven.gpx')"
TRUNCATE = "self.files.write('tracks/07/7.gpx', b'')"
INSERT = "self.connection.execute(sa.text('INSERT INTO tracks (id, size) VALUES (999, 5)'))"
WRONG = {
    REMOVE_FILE: ["missing tracks/07/7.gpx (tracks id=7)"],
    DELETE_ROW: ["stray tracks/07/7.gpx"],
    RENAME: ["missing tracks/07/7.gpx (tracks id=7)", "stray tracks/07/seven.gpx"],
    TRUNCATE: ["size tracks/07/7.gpx (tracks id=7): 0 bytes, its row says 7"],
    INSERT: ["missing tracks/99/999.gpx (tracks id=999)"],
}


@pytest.fixture
def make_application(make_project: Callable[..., Project]) -> Callable[..., Project]:
    """Return a function that makes the application at v1, with 20 tracks."""

    def make(kind: str = SQLITE, **section: str) -> Project:
        return application(make_project(kind=kind, section={**SECTION, **section}), 20)

    return make


def whole(project: Project) -> tuple[object, object, object]:
    """Both halves, and the further root, without what we keep there ourselves."""
    data, media = (
        {path: node for path, node in tree(root).items() if not path.startswith(".fietsupdate")}
        for root in (project.data, project.root / "media")
    )
    return data, media, dump(project.database.url, bookkeeping=False)


@pytest.mark.parametrize("kind", KINDS)
def test_what_an_update_makes_wrong_fails_it_and_both_halves_go_back(make_application, kind):
    """It forgets a file, leaves a stray, renames without the rows, truncates, adds a row without its file."""
    project = make_application(kind)
    before = whole(project)
    for wrong, findings in WRONG.items():
        project.update("v2", "v1", "r1", up_post=wrong)
        failed = project.run("update", "--yes").exited(1)
        assert f"After the update v2, rows and files no longer match: {'; '.join(findings)}." in failed.told
        assert "Nothing of v2 stands: it was rolled back, and its file changes are undone." in failed.told
        assert "FIETSUPDATE_AUDIT=warn" in failed.told
        assert whole(project) == before, wrong


def test_programs_read_what_did_not_match_and_who_only_wants_to_be_warned_is(make_application):
    project = make_application()
    project.update("v2", "v1", "r1", up_post=RENAME)
    error = project.run("update", "--yes", "--json").exited(1).events[-1]["error"]
    assert (error["code"], error["count"]) == ("rows_and_files", 2)
    assert error["findings"] == [
        {"finding": "missing", "root": "", "path": "tracks/07/7.gpx", "table": "tracks", "row": {"id": 7}},
        {"finding": "stray", "root": "", "path": "tracks/07/seven.gpx", "table": "", "row": {}},
    ]
    told = project.run("update", "--yes", env={"FIETSUPDATE_AUDIT": "warn"}).succeeded()
    assert "; ".join(WRONG[RENAME]) in " ".join(told.output.split())
    project.run("audit").exited(9)


@pytest.mark.parametrize("kind", KINDS)
def test_an_update_that_changes_both_together_passes(make_application, kind):
    project = make_application(kind)
    project.update("v2", "v1", "r1", up_post=f"{DELETE_ROW}\nself.files.remove('tracks/07/7.gpx')")
    assert "match" not in project.run("update", "--yes").succeeded().output
    project.run("audit").exited(0)


@pytest.mark.parametrize("kind", KINDS)
def test_what_did_not_match_before_is_told_and_does_not_count(make_application, kind):
    """Not even where the update takes it elsewhere: the whole tree, and the template of the path."""
    project = make_application(kind)
    track(project, 7).unlink()
    os.truncate(track(project, 8), 1)
    (project.data / "tracks" / "junk").write_text("junk")
    moved = 'references = [{"table": "tracks", "path": "moved/{id[-2:]:02d}/{id}.gpx", "size": "size"}]\n'
    move = "self.files.move('tracks', 'moved')"
    project.update("v2", "v1", "r1", head=f"{moved}owned = ['moved/**']", up_post=move)
    project.update("v3", "v2", "r1", up_post=DELETE_ROW.replace("7", "9"))
    done = project.run("update", "v2", "--yes").succeeded()
    assert "3 files do not match the rows before this run, which fails nothing: `fietsupdate audit` tells more." in (
        " ".join(done.output.split())
    )
    failed = project.run("update", "--yes").exited(1)
    assert "no longer match: stray moved/09/9.gpx." in failed.told
    found = [line["path"] for line in project.run("audit", "--json").exited(9).events[:-1]]
    assert found == ["moved/07/7.gpx", "moved/08/8.gpx", "moved/junk"]


def test_the_way_down_is_compared_with_what_was_valid_before(make_application):
    project = make_application()
    move, back = "self.files.move('tracks', 'moved')", "self.files.move('moved/07/7.gpx', 'tracks/07/7.gpx')"
    head = 'references = [{"table": "tracks", "path": "moved/{id[-2:]:02d}/{id}.gpx"}]\nowned = ["moved/**"]'
    project.update("v2", "v1", "r1", head=head, up_post=move, down_post=back)
    project.run("update", "--yes").succeeded()
    before = whole(project)
    failed = project.run("downgrade", "v1", "--yes").exited(1)
    assert "After reverting v2, rows and files no longer match" in failed.told
    assert "missing tracks/00/0.gpx (tracks id=0)" in failed.told
    assert "and 14 more." in failed.told
    assert whole(project) == before
    project.update("v2", "v1", "r1", head=head, up_post=move, down_post="self.files.move('moved', 'tracks')")
    project.run("downgrade", "v1", "--yes").succeeded()
    project.run("audit").exited(0)


# -- an application that begins to declare

DECLARES = 'references = [{"table": "notes", "path": "notes/{id}.txt", "size": "size"}]\nowned = ["notes/**"]'


def old_application(project: Project) -> Project:
    """An application without declarations, with damage of years ago: a missing file, a wrong size, a stray."""
    project.revision("r1", None, "op.execute('CREATE TABLE notes (id INTEGER PRIMARY KEY, size INTEGER)')")
    project.update("v1", (), "r1")
    project.run("update", "--yes").succeeded()
    (project.data / "notes").mkdir()
    for number in range(5):
        project.database.execute("INSERT INTO notes (id, size) VALUES (:n, 1)", n=number)
        (project.data / "notes" / f"{number}.txt").write_text("x")
    (project.data / "notes" / "1.txt").unlink()
    (project.data / "notes" / "2.txt").write_text("long")
    (project.data / "notes" / "junk").write_text("x")
    return project


def test_who_begins_to_declare_does_not_fail_for_damage_of_years_ago(project):
    old_application(project)
    project.update("v2", "v1", "r1", head=DECLARES)
    project.run("update", "--yes").succeeded()
    assert len(project.run("audit", "--json").exited(9).events) == 4


def test_but_for_what_the_first_update_that_declares_makes_wrong(project):
    old_application(project)
    project.update("v2", "v1", "r1", head=DECLARES, up_post="self.files.remove('notes/4.txt')")
    failed = project.run("update", "--yes").exited(1)
    assert "no longer match: missing notes/4.txt (notes id=4)." in failed.told


def test_an_update_that_makes_what_it_declares_must_make_all_of_it(project):
    """No row has its file before; so none that is missing afterwards is damage of before."""
    project.revision("r1", None, "op.execute('CREATE TABLE blobs (id INTEGER PRIMARY KEY, data BLOB)')")
    project.update("v1", (), "r1")
    project.run("update", "--yes").succeeded()
    for number in range(3):
        project.database.execute("INSERT INTO blobs (id, data) VALUES (:n, :data)", n=number, data=b"data")
    head = 'references = [{"table": "blobs", "path": "blobs/{id}"}]\nowned = ["blobs/**"]'
    write = "for row in self.connection.execute(sa.text('SELECT id, data FROM blobs WHERE id < 2')):\n"
    write += "    self.files.write(f'blobs/{row.id}', row.data)"
    project.update("v2", "v1", "r1", head=head, up_post=write)
    failed = project.run("update", "--yes").exited(1)
    assert "no longer match: missing blobs/2 (blobs id=2)." in failed.told
    project.update("v2", "v1", "r1", head=head, up_post=write.replace("2'", "9'"))
    project.run("update", "--yes").succeeded()
    project.run("audit").exited(0)


def test_a_table_that_comes_with_the_declaration_is_looked_at_afterwards_only(project):
    old_application(project)
    project.revision("r2", "r1", "op.execute('CREATE TABLE late (id INTEGER PRIMARY KEY, name TEXT)')")
    head = 'references = [{"table": "late", "path": "late/{name}", "where": "name is not null"}]\nowned = ["late/*"]'
    insert = "self.connection.execute(sa.text(\"INSERT INTO late (name) VALUES ('a')\"))"
    project.update("v2", "v1", "r2", head=head, up_post=insert)
    assert "missing late/a (late id=1)" in project.run("update", "--yes").exited(1).told
    project.update("v2", "v1", "r2", head=head, up_post=f"{insert}\nself.files.write('late/a', b'a')")
    project.run("update", "--yes").succeeded()


def test_a_declaration_that_does_not_fit_what_its_update_makes_fails_it(project):
    old_application(project)
    script = project.update("v2", "v1", "r1", head=DECLARES.replace('"notes",', '"note",'))
    failed = project.run("update", "--yes").exited(1)
    assert f"{script}:2: The database has no table note, which the reference 'notes/{{id}}.txt' needs." in failed.told
    assert "Nothing of v2 stands" in failed.told


# -- several updates, other policies, other ways


def test_the_updates_before_the_one_that_fails_stay(make_application):
    project = make_application()
    project.update("v2", "v1", "r1", up_post=f"{DELETE_ROW}\nself.files.remove('tracks/07/7.gpx')")
    project.update("v3", "v2", "r1", up_post=RENAME.replace("7", "8"))
    failed = project.run("update", "--yes").exited(1)
    assert "After the update v3, rows and files no longer match" in failed.told
    assert "1 of 2 updates of this run were finished before it." in failed.told
    assert project.version == "v2"


def test_between_heads_that_contradict_each_other_nothing_is_compared_until_the_merge(make_application):
    """v1 - a, b (each owns something else) - m (owns the tracks again)."""
    project = make_application()
    for update_id in ("a", "b"):
        project.update(update_id, "v1", "r1", head=f"owned = ['{update_id}/**']")
    project.update("m", ["a", "b"], "r1", head="owned = ['tracks/**']", up_post=RENAME)
    failed = project.run("update", "--yes").exited(1)
    assert "After the update m, rows and files no longer match: missing tracks/07/7.gpx" in failed.told
    assert "2 of 3 updates of this run were finished before it." in failed.told


def test_where_it_is_off_nothing_is_compared(make_application):
    project = make_application(audit="off")
    project.update("v2", "v1", "r1", up_post=RENAME)
    assert "match" not in project.run("update", "--yes").succeeded().output
    assert "it must be off, warn or strict" in project.run("status", env={"FIETSUPDATE_AUDIT": "maybe"}).exited(1).told


def test_a_hook_names_files_at_each_update_too(make_application):
    project = make_application()
    hook = """
def references(self, config):
    from fietsupdate import Reference
    for row in self.connection.execute(sa.text("SELECT id, size FROM tracks")):
        yield Reference(f"tracks/{row.id % 100:02d}/{row.id}.gpx", row={"id": row.id}, size=row.size, table="tracks")
"""
    lines = [line for line in REFERENCES.splitlines(keepends=True) if '"tracks"' not in line]
    project.update("v2", "v1", "r1", up_more=hook, head="".join(lines))
    project.run("update", "--yes").succeeded()
    project.update("v3", "v2", "r1", up_post=REMOVE_FILE)
    assert "missing tracks/07/7.gpx (tracks id=7)" in project.run("update", "--yes").exited(1).told
    ends = hook.replace("    from", "    self.connection.commit()\n    from")
    project.update("v3", "v2", "r1", up_more=ends)
    failed = project.run("update", "--yes").exited(1).told
    assert "Nothing of v3 stands" in failed
    project.run("audit").exited(0)


def test_a_rehearsal_says_so_before_it_happens(make_application):
    project = make_application()
    project.update("v2", "v1", "r1", up_post=RENAME)
    before = whole(project)
    told = project.run("rehearse").exited(1).output
    assert "missing tracks/07/7.gpx (tracks id=7)" in " ".join(told.split())
    assert whole(project) == before


@pytest.mark.parametrize("kind", [SQLITE, POSTGRESQL])
def test_an_update_that_is_not_atomic_is_failed_before_its_end(make_application, kind):
    """Its hooks run outside of the transaction; what they did to files is undone, as nothing is committed."""
    project = make_application(kind)
    before = whole(project)
    project.update("v2", "v1", "r1", up_post=RENAME, atomic=False)
    failed = project.run("update", "--yes").exited(1)
    assert "missing tracks/07/7.gpx (tracks id=7)" in failed.told
    assert whole(project) == before


@pytest.mark.parametrize("many", [False, True])
def test_on_mariadb_an_update_with_revisions_breaks_off_and_goes_on_when_it_is_mended(
    make_application, monkeypatch, many
):
    """What did not match before is written down: damage of before still does not count, that of the update does."""
    project = make_application(MARIADB)
    track(project, 7).unlink()
    (project.data / "tracks" / "junk").write_text("junk")
    if many:  # more than a note takes
        for number in range(10_001):
            (project.data / "tracks" / f"junk{number}").write_text("")
    project.revision("r2", "r1", "op.add_column('tracks', sa.Column('more', sa.Integer))")
    script = project.update("v2", "v1", "r2", up_pre=RENAME.replace("7", "8"), up_post="pass")
    failed = project.run("update", "--yes").exited(1)
    assert "missing tracks/08/8.gpx (tracks id=8); stray tracks/08/seven.gpx." in failed.told.replace("eight", "seven")
    assert "v2 is half applied" in failed.told
    again = project.run("update", "--yes")
    if many:
        assert "What matched before this update was interrupted is not known, so this fails nothing." in (
            " ".join(again.succeeded().output.split())
        )
        return
    assert "no longer match: missing tracks/08/8.gpx (tracks id=8)" in again.exited(1).told
    text = script.read_text()
    script.write_text(
        text.replace("        pass", "        self.files.move('tracks/08/seven.gpx', 'tracks/08/8.gpx')", 1)
    )
    project.run("update", "--yes").succeeded()
    assert project.version == "v2"
    assert content(8) == track(project, 8).read_bytes()


def test_a_root_that_is_not_mounted_stops_an_update_before_it_changes_anything(make_application):
    project = make_application()
    project.update("v2", "v1", "r1", up_pre="self.files.write('made', b'x')")
    (project.root / "media").rename(project.root / "away")
    failed = project.run("update", "--yes").exited(1)
    assert f"{project.root / 'media'} does not exist" in failed.told
    assert not (project.data / "made").exists()


def test_restore_and_recover_tell_what_does_not_match(make_application):
    project = make_application()
    project.run("backup").succeeded()
    kill = f"{RENAME}\nimport signal; os.kill(os.getpid(), signal.SIGKILL)"
    project.update("v2", "v1", "r1", up_post=f"import os\n{kill}")
    project.run("update", "--yes")
    track(project, 3).unlink()
    told = project.run("recover", "--yes").succeeded()
    assert "One file does not match the rows now: `fietsupdate audit` tells more." in " ".join(told.output.split())
    assert track(project, 7).exists()
    (project.data / ".fietsupdate" / "backups").rename(project.root / "backups")
    backup = next((project.root / "backups").iterdir())
    told = project.run("restore", str(backup), "--yes").succeeded()
    assert "match" not in told.output
    project.run("audit").exited(0)
