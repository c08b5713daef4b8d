"""A downgrade may keep data on purpose: the script says what its Down leaves, and all the rest is still compared.

    v1 (r1: notes) - v2 (r2: a column, an index and a table; files below previews/)

The downgrade of r2 takes nothing back, and its upgrade takes what is there, as Kallithea's documentation advises.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fietsupdate import Updater
from fietsupdate.cli.render import documents, rehearsal
from fietsupdate.cli.render import text as console
from fietsupdate.commands.rehearsal.report import Outlook, Rehearsal, RoundTrip
from fietsupdate.config.config import load_config
from fietsupdate.database.dump.schema_parts import holds, without
from fietsupdate.model import Direction
from fietsupdate.model.leaves import leave
from fietsupdate.planning.metadata import FaultsError, read_script
from fietsupdate.testing import checks
from fietsupdate.testing.instance import TemporaryInstance, empty_database, make
from fietsupdate.testing.leaves import Reverted
from fietsupdate.testing.states import differences
from support.databases import KINDS
from support.projects import Project

SCRIPT = "update_id = 'v1'\nalembic_revision = None\nclass Up: pass\nclass Down: pass\n"
FEATURE, FOLLOWS, PREVIEWS = "column notes.feature", "table follows", "files previews/**/*.png"
ALL = [FEATURE, FOLLOWS, PREVIEWS]
UPGRADE = """
there = sa.inspect(op.get_bind())
if "feature" not in {column["name"] for column in there.get_columns("notes")}:
    op.add_column("notes", sa.Column("feature", sa.String(20)))
    op.create_index("ix_notes_feature", "notes", ["feature"])
if not there.has_table("follows"):
    op.create_table("follows", sa.Column("id", sa.Integer, primary_key=True), sa.Column("who", sa.String(20)))
"""
FILL = """
self.files.write("previews/1/a.png", "png")
self.files.write("cache", "c")
self.connection.execute(sa.text("UPDATE notes SET feature = 'new'"))
self.connection.execute(sa.text("DELETE FROM follows"))
self.connection.execute(sa.text("INSERT INTO follows (id, who) VALUES (1, 'me')"))
"""
TIDY = "self.files.remove('cache')"


def application(project: Project, leaves: list[str], *, up: str = FILL, down: str = TIDY) -> Path:
    """Write the two updates; return the script of the second."""
    table = "op.create_table('notes', sa.Column('id', sa.Integer, primary_key=True), sa.Column('text', sa.String(9)))"
    project.revision("r1", None, table, "op.drop_table('notes')")
    project.revision("r2", "r1", UPGRADE)
    project.update("v1", (), "r1")
    return project.update("v2", "v1", "r2", head=f"leaves = {leaves!r}", up_post=up, down_post=down)


def filled(project: Project) -> Updater:
    """Bring the instance to v1, with a row and a file."""
    updater = Updater.from_config(project.ini)
    updater.update("v1")
    project.database.execute("INSERT INTO notes (id, text) VALUES (1, 'as')")
    (project.data / "kept.txt").write_text("k")
    return updater


def there_and_back(updater: Updater) -> Rehearsal:
    report = updater.rehearse(round_trip=True)
    assert report is not None
    return report


@contextlib.contextmanager
def instance_of(project: Project, tmp_path: Path) -> Iterator[TemporaryInstance]:
    """Make the throw-away instance of the pytest plugin, at v1, with a row."""
    config = load_config([project.ini])
    with empty_database(config, "", tmp_path) as url:
        made = make(config, tmp_path / "throw-away" / "data", url, top=project.root, environ={}, data={})
        made.update("v1")
        with made.connect() as connection:
            connection.exec_driver_sql("INSERT INTO notes (id, text) VALUES (1, 'as')")
        yield made


def complaint(project: Project, tmp_path: Path) -> str:
    """Run the ready test on v2, and return what it says."""
    with instance_of(project, tmp_path) as instance, pytest.raises(AssertionError) as caught:
        checks.up_down_up(instance, instance.graph().updates["v2"])
    return " ".join(str(caught.value).split())


# -- what a script may say

FAULTS = {
    "leaves = ['tracks.feature']": "leaves: 'tracks.feature' cannot be read: it does not say what stays.",
    "leaves = ['column feature']": "leaves: 'column feature' cannot be read: it names no column of a table.",
    "leaves = ['table ']": "leaves: 'table ' cannot be read: it does not say what stays.",
    "leaves = ['table a..b']": "leaves: 'table a..b' cannot be read: it names no table.",
    "leaves = ['files ../x']": "leaves: 'files ../x' cannot be read: it is no path below the data directory.",
    "leaves = ['files /x']": "leaves: 'files /x' cannot be read: it is no path below the data directory.",
    "leaves = 'table x'": "leaves must be a list; it is 'table x'.",
    "leaves = [1]": "leaves must be a list of what Down leaves, not [1].",
    "leaves = ['table ' + 'x']": "`leaves` is computed (`'table ' + 'x'`); only literals can be read.",
}


@pytest.mark.parametrize("line", FAULTS)
def test_what_cannot_be_read_is_refused_with_file_and_line(line):
    with pytest.raises(FaultsError) as caught:
        read_script(f"\n{line}\n{SCRIPT}".encode(), Path("/srv/upd_v1.py"), "updates")
    assert caught.value.message == f"/srv/upd_v1.py:2: {FAULTS[line]}"


def test_leaves_without_a_down_or_in_its_class_is_refused_where_nobody_would_read_it():
    for source, what in (
        (f"leaves = ['table x']\n{SCRIPT}".replace("class Down: pass\n", ""), "1: leaves says what Down leaves, and"),
        (SCRIPT.replace("Down: pass", "Down:\n    leaves = ['table x']"), "5: `leaves` stands in the class Down; it"),
    ):
        with pytest.raises(FaultsError, match=re.escape(f"/srv/upd_v1.py:{what}")):
            read_script(source.encode(), Path("/srv/upd_v1.py"), "updates")


@pytest.mark.parametrize(
    ("pattern", "covered", "not_covered"),
    [
        ("tracks/**", ["tracks/1", "tracks/1/a.gpx"], ["tracks", "tracksy/1", "old/tracks/1"]),
        ("tracks/*/a?.gpx", ["tracks/1/ab.gpx"], ["tracks/1/a.gpx", "tracks/1/2/ab.gpx", "tracks/1/ab_gpx"]),
        ("**/a.gpx", ["a.gpx", "x/y/a.gpx"], ["xa.gpx"]),
        ("media:*.png", ["media:1.png"], ["1.png", "media:x/1.png", "other:1.png"]),
    ],
)
def test_a_pattern_covers_paths_by_their_parts(pattern, covered, not_covered):
    said = leave(f"files {pattern}")
    for path in [*covered, *not_covered]:
        root, _, name = path.rpartition(":")
        assert said.covers(root, name) is (path in covered), path


POSTGRES = """\
CREATE TABLE public.notes (
    id integer NOT NULL,
    feature character varying(20),
    size integer,
    CONSTRAINT odd CHECK ((length(feature) > 1))
);
CREATE TABLE public.follows (
    id integer NOT NULL
);
CREATE SEQUENCE public.follows_id_seq
    START WITH 1;
ALTER SEQUENCE public.follows_id_seq OWNED BY public.follows.id;
ALTER TABLE ONLY public.follows ALTER COLUMN id SET DEFAULT nextval('public.follows_id_seq'::regclass);
ALTER TABLE ONLY public.notes
    ADD CONSTRAINT fk FOREIGN KEY (feature) REFERENCES public.follows(id);
CREATE INDEX ix ON public.notes USING btree (feature);
CREATE INDEX ix_size ON public.notes USING btree (size);
"""


def test_columns_and_tables_leave_the_text_of_a_schema_with_what_hangs_on_them():
    rest = without(POSTGRES, [leave(FEATURE), leave(FOLLOWS)])
    assert rest == (
        "CREATE TABLE public.notes (\n    id integer NOT NULL,\n    size integer,\n);\n"
        "CREATE INDEX ix_size ON public.notes USING btree (size);\n"
    )
    assert holds(POSTGRES, leave(FEATURE))
    assert not holds(rest, leave(FEATURE))
    assert not holds(rest, leave(FOLLOWS))
    assert without(POSTGRES, [leave("column notes.gone"), leave("table other")]) == POSTGRES
    assert without(POSTGRES, [leave("column other.feature"), leave("files **")]) == POSTGRES


# -- who is told


def test_the_plan_of_a_downgrade_tells_what_stays(project: Project) -> None:
    application(project, ALL)
    updater = filled(project)
    assert "stays" not in console.plan(updater.plan(), 200)
    updater.update()
    plan = updater.plan("-1", direction=Direction.DOWN)
    assert f"stays on purpose: {', '.join(ALL)}" in console.plan(plan, 200)
    (step,) = json.loads(documents.document(documents.plan(plan, [])))["plan"]["steps"]
    assert step["leaves"] == ALL
    found, applied, entries = updater.show("v2")
    assert documents.show(found, entries, applied=applied)["leaves"] == ALL
    assert f"Leaves    {', '.join(ALL)}" in console.show(found, entries, 200, applied=applied)


# -- the ready test of the pytest plugin


def test_the_ready_test_compares_all_but_what_stays(project: Project, tmp_path: Path) -> None:
    application(project, ALL)
    with instance_of(project, tmp_path) as instance:
        checks.up_down_up(instance, instance.graph().updates["v2"])
        assert instance.status().current == ("v2",)


@pytest.mark.parametrize(
    ("leaves", "down", "said"),
    [
        ([FEATURE, FOLLOWS], "pass", ["previews/1/a.png is there, and should not be", "file cache is there"]),
        ([*ALL, "column notes.text"], TIDY, ["column notes.text: it was there before Up."]),
    ],
)
def test_what_nobody_said_and_what_does_not_stay_is_told(project, tmp_path, leaves, down, said):
    application(project, leaves, down=down)
    told = complaint(project, tmp_path)
    assert [one for one in said if one not in told] == []


BEFORE = {
    "file kept.txt": "k",
    "file old": "folder",
    "file old/1.gpx": "g",
    "schema: notes: column id INTEGER not null": True,
    "rows of notes": [(("id", 1),)],
}
MADE = {
    "file previews": "folder",
    "file previews/1": "folder",
    "file previews/1/a.png": "png",
    "schema: notes: column feature VARCHAR": True,
    "schema: notes: index column_names=['feature'], name=ix": True,
    "rows of notes": [(("feature", "new"), ("id", 1))],
    "schema: follows: column id INTEGER": True,
    "rows of follows": [(("id", 1),)],
}
APPLIED = {**BEFORE, **MADE}


def judged(leaves, *, gone=(), **more):
    """Compare what is there after Down with what was before, and say what is left over and what does not stay."""
    now = {key: value for key, value in {**APPLIED, **more.get("more", {})}.items() if key not in gone}
    reverted, said = Reverted(BEFORE, APPLIED, now), [leave(text) for text in leaves]
    return differences(*reverted.without(said)), [line.strip() for line in reverted.not_left(said)]


def test_what_stays_takes_with_it_what_hangs_on_it_and_nothing_else():
    assert judged(ALL) == ([], [])
    assert len(judged([])[0]) == len(MADE)
    assert judged(ALL, more={"file previews/list": "l"}) == (["file previews/list is there, and should not be"], [])
    other = {"rows of notes": [(("feature", "new"), ("id", 2))]}
    assert judged(ALL, more=other) == (["rows of notes differs"], [])
    index = "schema: notes: index column_names=['id'], name=odd"
    assert judged(ALL, more={index: True}) == ([f"{index} is there, and should not be"], [])
    assert judged([*ALL, "files kept.*"], more={"file kept.txt": "other"}) == ([], [])


def test_what_is_gone_did_not_stay():
    assert judged([*ALL, "files old/**"], gone=["file old/1.gpx"]) == (["file old/1.gpx is missing"], [])
    gone = [key for key in MADE if "feature" in key]
    left = {"rows of notes": [(("id", 1),)]}
    assert judged(ALL, gone=gone, more=left) == ([], [f"{FEATURE}: Down takes it away."])
    gone = [key for key in MADE if "previews" in key]
    assert judged(ALL, gone=gone) == ([], [f"{PREVIEWS}: Down takes them back."])
    assert judged([*ALL, "column notes.id"])[1] == ["column notes.id: it was there before Up."]
    assert judged([*ALL, "table x", "files x/**"]) == ([], ["table x: it is not there after Up."])


# -- the rehearsal


@pytest.mark.parametrize("kind", KINDS)
def test_a_rehearsal_there_and_back_tells_what_stays_and_compares_the_rest(make_project, kind):
    project = make_project(kind=kind)
    application(project, ALL)
    report = there_and_back(filled(project))
    assert report.failure is None
    trip = report.round_trip
    assert trip is not None
    assert (trip.restored, trip.left, trip.not_left) == (True, tuple(ALL), ())
    assert Rehearsal.from_json(report.to_json()) == report
    told = " ".join(rehearsal.report(report, 200).split())
    assert f"Reverting restored everything else, in {told.partition('everything else, in ')[2]}" in told
    assert f"On purpose stays: {', '.join(ALL)}." in told


def test_a_rehearsal_tells_what_nobody_said_and_what_does_not_stay(project: Project) -> None:
    more = "self.connection.execute(sa.text(\"UPDATE notes SET text = 'x'\")); self.files.write('previews/list', '')"
    application(
        project,
        [*ALL, "column notes.size", "files never/**", "table kinds"],
        down=f"{more}; self.files.remove('kept.txt')",
    )
    updater = filled(project)
    project.database.execute("CREATE TABLE kinds (id INTEGER)")
    report = there_and_back(updater)
    trip = report.round_trip
    assert trip is not None
    assert not trip.restored
    assert sorted(change.path for change in trip.files) == ["cache", "kept.txt", "previews/list"]
    assert (trip.tables, trip.schema) == (("notes",), "")
    assert trip.left == tuple(ALL)
    assert trip.not_left == ("column notes.size", "files never/**", "table kinds")
    told = " ".join(rehearsal.report(report, 200).split())
    assert "The scripts say that this stays, and it does not: column notes.size, files never/**, table kinds." in told


def test_a_report_of_before_is_read_and_one_of_now_is_told_with_the_plan() -> None:
    report = Rehearsal("2026-11-28T12:00:00.000Z", "0.1.0", (), ("v2",), (), round_trip=RoundTrip(left=("table x",)))
    values = json.loads(report.to_json())
    del values["round_trip"]["left"], values["round_trip"]["not_left"]
    assert Rehearsal.from_json(json.dumps(values)).round_trip == RoundTrip()
    told = rehearsal.outlook(Outlook(report), 500)
    assert told.endswith("; reverting them restored everything but what stays on purpose (table x).")
