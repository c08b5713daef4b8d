"""`audit` names each file that does not match its row, each row by its key, and nothing else; it changes nothing."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from fietsupdate import Reference, Updater
from fietsupdate.testing.content import dump, tree
from support.projects import Project, Result
from support.rows_and_files import REFERENCES, SECTION, application, avatar, content, document, key, preview, track

TRACKS = 300
"""One of them, number 0, is empty."""


def findings(result: Result) -> list[tuple[str, str, str, object]]:
    """Return kind, root, path and row of each finding; SQLite and MariaDB keep UUIDs without hyphens."""
    lines = result.events[:-1]
    for line in lines:
        for name, value in (line["row"] or {}).items():
            line["row"][name] = value.replace("-", "") if isinstance(value, str) else value
    return [(line["finding"], line["root"], line["path"], line["row"]) for line in lines]


def summary(result: Result) -> dict[str, object]:
    return result.events[-1]["summary"]


@pytest.fixture
def prepared(make_project: Callable[..., Project], request: pytest.FixtureRequest) -> Project:
    """An application at v1 whose rows and files match."""
    kind = getattr(request, "param", "sqlite")
    return application(make_project(kind=kind, section=SECTION), TRACKS)


everywhere = pytest.mark.parametrize("prepared", ["sqlite", "postgresql", "mariadb"], indirect=True)


@everywhere
def test_each_thing_that_does_not_match_is_named_and_nothing_else(prepared: Project) -> None:
    """NFC and NFD, names that are not UTF-8 or differ in case, keys that are numbers, bytes and UUIDs."""
    project = prepared
    result = project.run("audit", "--content", "--json").exited(0)
    assert findings(result) == []
    counts = {name: value for name, value in summary(result).items() if name in {"rows", "files", "read"}}
    assert counts == {"rows": TRACKS + 5 + 5 + 5, "files": {"": TRACKS + 6, "media": 5}, "read": TRACKS}

    track(project, 117).unlink()
    os.truncate(track(project, 118), 2)
    track(project, 119).write_bytes(b"x" * len(content(119)))
    (project.data / "tracks" / "17" / "extra").write_bytes(b"")
    document(project, 1).rename(document(project, 1).with_name("a.txt"))
    os.rename(avatar(project, "e\u0301.png".encode()), avatar(project, b"\xfe.png"))
    preview(project).rename(preview(project).with_name("other"))
    found = findings(project.run("audit", "--content", "--json").exited(9))
    assert found == [
        ("missing", "", f"documents/{key(1)}/A.TXT", {"id": key(1).hex}),
        ("stray", "", f"documents/{key(1)}/a.txt", None),
        ("stray", "", str(preview(project).with_name("other").relative_to(project.data)), None),
        ("missing", "", "tracks/17/117.gpx", {"id": 117}),
        ("stray", "", "tracks/17/extra", None),
        ("size", "", "tracks/18/118.gpx", {"id": 118}),
        ("missing", "media", "avatars/e\u0301.png", {"name": "nfd"}),
        ("stray", "media", "avatars/\udcfe.png", None),
        ("digest", "", "tracks/19/119.gpx", {"id": 119}),
    ]
    without = findings(project.run("audit", "--json").exited(9))
    assert without == found[:-1]


@everywhere
def test_it_changes_nothing_and_creates_no_file(prepared: Project) -> None:
    project = prepared
    track(project, 3).unlink()
    before = tree(project.root, exclude=["migrations", "updates"]), dump(project.database.url)
    for options in ([], ["--content"], ["--sample", "5"], ["--from-backups"], ["--json"]):
        project.run("audit", *options).exited(9)
    assert (tree(project.root, exclude=["migrations", "updates"]), dump(project.database.url)) == before


def test_people_read_rows_by_their_keys_and_what_matches_by_reference(prepared: Project) -> None:
    assert prepared.run("audit").exited(0).stdout.splitlines() == [
        "tracks: tracks/{id[-2:]:02d}/{id}.gpx  300 rows",
        "documents: documents/{id:uuid}/{name}  5 rows",
        "documents: previews/{secret[:2]:hex}/{secret:hex}.png  5 rows",
        "users: media:avatars/{avatar}  5 rows",
        "owned files  306",
        "owned files in media  5",
        "Rows and files match.",
    ]
    os.truncate(track(prepared, 118), 2)
    track(prepared, 119).unlink()
    (prepared.data / "tracks" / "a\nb\x1b").write_text("x")
    lines = prepared.run("audit").exited(9).stdout.splitlines()
    assert lines[:3] == [
        "size     tracks/18/118.gpx (tracks id=118): 2 bytes, its row says 54",
        "missing  tracks/19/119.gpx (tracks id=119)",
        "stray    tracks/a\\nb\\x1b",
    ]
    assert lines[4] == "tracks: tracks/{id[-2:]:02d}/{id}.gpx  300 rows, 1 missing, 1 of the wrong size"
    assert lines[-2:] == [
        "Found 1 missing, 1 stray, 1 of the wrong size.",
        "`fietsupdate quarantine` takes strays out of the way, and deletes nothing.",
    ]
    prepared.run("quarantine", "--yes").succeeded()
    assert "stray" not in prepared.run("audit").exited(9).stdout
    assert prepared.run("-q", "audit").exited(9).output == ""


def test_a_sample_reads_so_many_files_and_no_more(prepared: Project) -> None:
    for number in range(1, TRACKS):
        if size := len(content(number)):
            track(prepared, number).write_bytes(b"x" * size)
    changed = sum(1 for number in range(TRACKS) if content(number))
    result = prepared.run("audit", "--sample", "7", "--json").exited(9)
    assert summary(result)["read"] == 7
    assert 1 <= len(findings(result)) <= 7
    assert summary(prepared.run("audit", "--sample", "9999", "--json").exited(9))["digest"] == changed
    for wrong in ("0", "-1", "x"):
        assert "--sample needs a number" in prepared.run("audit", f"--sample={wrong}").exited(2).stderr
    assert "exclude each other" in prepared.run("audit", "--content", "--sample", "3").exited(2).stderr


def test_missing_files_are_looked_for_where_they_may_be(prepared: Project) -> None:
    name = prepared.run("backup").succeeded().stdout
    one, two, three = (track(prepared, number) for number in (11, 12, 13))
    for folder in (".fietsupdate/found/some-txn", ".fietsupdate/quarantine/2026-11-29T03:00:00Z/files"):
        place = prepared.data / folder / one.relative_to(prepared.data)
        place.parent.mkdir(parents=True)
        place.write_bytes(one.read_bytes())
    one.unlink()
    two.write_bytes(b"x" * len(content(12)))
    three.unlink()
    backup = next((prepared.data / ".fietsupdate" / "backups").iterdir())
    copy = backup / "files" / three.relative_to(prepared.data)
    copy.write_bytes(b"x" * len(content(13)))  # the backup is damaged there
    assert backup.name in name
    lines = prepared.run("audit", "--content", "--from-backups", "--json").exited(9).events[:-1]
    found = {line["row"]["id"]: line for line in lines}
    assert found[11]["places"] == [
        str(prepared.data / folder / one.relative_to(prepared.data))
        for folder in (".fietsupdate/found/some-txn", ".fietsupdate/quarantine/2026-11-29T03:00:00Z/files")
    ] + [str(backup / "files" / one.relative_to(prepared.data))]
    assert found[11]["fits"] == found[12]["fits"] == [backup.name]
    assert found[13]["places"] == [str(copy)]
    assert "fits" not in found[13]
    assert f"fits in the backup {backup.name}" in prepared.run("audit", "--from-backups").exited(9).stdout


def test_missing_files_are_found_in_the_vault_of_an_update_that_was_not_atomic(prepared: Project) -> None:
    remove = "import shutil\nself.files.remove('tracks/07/107.gpx')\nself.files.remove('tracks/08')"
    prepared.update("v2", "v1", "r1", up_post=remove, atomic=False)
    prepared.run("update", "--yes", env={"FIETSUPDATE_AUDIT": "off"}).succeeded()
    found = {line["row"]["id"]: line for line in prepared.run("audit", "--json").exited(9).events[:-1]}
    assert sorted(found) == [8, 107, 108, 208]
    for number, line in found.items():
        (place,) = line["places"]
        assert "/.fietsupdate/kept/" in place
        assert Path(place).read_bytes() == content(number)


def test_nothing_leads_out_of_a_root(project: Project) -> None:
    """Absolute paths, `..`, our own folder, links of files and folders: never followed, and told with the row."""
    outside = project.root / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    head = "references = [{'table': 'files', 'path': '{path}', 'size': 'size'}]\nowned = ['in/**']"
    columns = (
        "sa.Column('id', sa.Integer, primary_key=True), sa.Column('path', sa.String(99)), sa.Column('size', sa.Integer)"
    )
    project.revision("r1", None, f"op.create_table('files', {columns})")
    project.update("v1", (), "r1", head=head)
    project.run("update", "--yes").succeeded()
    folder = project.data / "in"
    (folder / "real").mkdir(parents=True)
    (folder / "real" / "file").write_text("12")
    (folder / "link").symlink_to("real")
    (folder / "out").symlink_to(outside)
    (folder / "secret").symlink_to(outside / "secret")
    (folder / "alias").symlink_to("real/file")
    paths = {
        "/etc/passwd": "it is absolute",
        "../outside/secret": "it contains '..'",
        ".fietsupdate/ledger.jsonl": "it leads into .fietsupdate",
        "in/alias": None,
        "in/link/file": None,
        "in/none": "",
        "in/out/secret": "a symbolic link on its way leads out of the root",
        "in/real": "a folder has its name",
        "in/real/file": None,
        "in/secret": "it is a symbolic link that leads out of the root",
    }
    for number, path in enumerate(paths):
        project.database.execute("INSERT INTO files (id, path, size) VALUES (:n, :path, 2)", n=number, path=path)
    result = project.run("audit", "--json").exited(9)
    told = {line["path"]: line.get("reason", "") for line in result.events[:-1] if line["finding"] == "missing"}
    assert told == {path: why for path, why in paths.items() if why is not None}
    strays = {line["path"] for line in result.events[:-1] if line["finding"] == "stray"}
    assert strays == {"in/link", "in/out"}
    assert "secret" not in {entry for line in result.events[:-1] for entry in line.get("places", ())}


def test_one_file_for_many_rows_and_a_hook_for_what_literals_cannot_say(project: Project) -> None:
    hook = """
def references(self, config):
    from fietsupdate import Reference
    for id, name in self.connection.execute(sa.text("SELECT id, name FROM things ORDER BY id")):
        yield Reference(f"{config['prefix']}/{name}", row={"id": id}, size=1, table="things")
        yield Reference(f"{config['prefix']}/{name}.optional", row=id, optional=True)
    yield Reference(b"in/\\xff", sha256="00" * 32)
    yield Reference("/etc/passwd", row=("a", 1))
"""
    project.ini.write_text(project.ini.read_text() + "settings_section = app\n[app]\nprefix = in\n")
    columns = "sa.Column('id', sa.Integer, primary_key=True), sa.Column('name', sa.String(9))"
    project.revision("r1", None, f"op.create_table('things', {columns})")
    project.update("v1", (), "r1", head="owned = ['in/*']", up_more=hook)
    project.run("update", "--yes", env={"FIETSUPDATE_AUDIT": "off"}).succeeded()
    for number in range(3):
        project.database.execute("INSERT INTO things (id, name) VALUES (:n, 'shared')", n=number)
    (project.data / "in" / "deeper").mkdir(parents=True)
    (project.data / "in" / "deeper" / "not_owned").write_text("x")
    (project.data / "in" / "shared").write_text("xx")
    (project.data / "in" / "shared.optional").write_text("xx")
    open(os.fsencode(project.data) + b"/in/\xff", "w").close()
    result = project.run("audit", "--content", "--json").exited(9)
    assert findings(result) == [
        ("missing", "", "/etc/passwd", {"row": "('a', 1)"}),
        *(("size", "", "in/shared", {"id": number}) for number in range(3)),
        ("digest", "", "in/\udcff", {"row": None}),
    ]
    assert [(one["path"], one["rows"]) for one in summary(result)["references"]] == [
        ("Up.references of v1", 3),
        ("Up.references of v1", 3),
        ("Up.references of v1", 2),
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("yield 'a path'", "Up.references of v1 gave 'a path'; it must yield fietsupdate.Reference(path, row=...)."),
        ("raise RuntimeError('broken')\n    yield", "RuntimeError: broken"),
        ("self.data_dir.joinpath('x').write_text('x')\n    yield", "belongs to the real instance"),
    ],
)
def test_a_hook_that_fails_or_writes_is_told_with_its_script(project: Project, body: str, message: str) -> None:
    project.update("v1", up_more=f"def references(self, config):\n    {body}")
    project.run("update", "--yes", env={"FIETSUPDATE_AUDIT": "off"})
    assert message in project.run("audit").exited(1).told
    assert not (project.data / "x").exists()


def test_what_is_declared_must_fit_the_database_and_the_configuration(project: Project) -> None:
    project.revision("r1", None, "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True))")
    path = project.update("v1", (), "r1", head="references = []")
    project.run("update", "--yes").succeeded()
    lines = {
        "{'table': 'gone', 'path': '{id}'}": f"{path}:2: The database has no table gone, which the reference '{{id}}' "
        "needs.",
        "{'table': 't', 'path': '{id}', 'size': 'gone'}": f"{path}:2: The table t has no column gone, which the "
        "reference '{id}' needs.",
        "{'table': 't', 'path': '{id}', 'root': 'media'}": f"{path}:2: t: media:{{id}} is below the root 'media', "
        "which is not configured.",
        "{'table': 't', 'path': '{id}', 'where': 'id = '}": "The database failed: ",
    }
    for line, message in lines.items():
        project.update("v1", (), "r1", head=f"references = [{line}]")
        assert message in project.run("audit").exited(1).told


def test_texts_that_are_not_utf_8_are_names_as_well_and_colons_are_no_parameters(project: Project) -> None:
    head = (
        "references = [{'table': 't', 'path': 'in/{name}', 'where': \"kind = ':x' and '%' = '%'\"}]\nowned = ['in/**']"
    )
    columns = "sa.Column('id', sa.Integer, primary_key=True), sa.Column('name', sa.Text), sa.Column('kind', sa.Text)"
    project.revision("r1", None, f"op.create_table('t', {columns})")
    project.update("v1", (), "r1", head=head)
    project.run("update", "--yes").succeeded()
    with project.database.connect() as connection:
        connection.exec_driver_sql("INSERT INTO t VALUES (1, 'plain', ':x'), (2, CAST(x'FF' AS TEXT), ':x')")
    (project.data / "in").mkdir()
    (project.data / "in" / "plain").write_text("")
    open(os.fsencode(project.data) + b"/in/\xff", "w").close()
    assert summary(project.run("audit", "--json").exited(0))["rows"] == 2


def test_where_nothing_is_declared_that_is_told(project: Project) -> None:
    project.update("v1")
    assert "No update that is applied declares" in project.run("audit").exited(0).stdout
    assert "No update that is applied declares" in summary(project.run("audit", "--json").exited(0))["notes"][0]
    assert not project.database.file.exists()


def test_a_root_that_is_gone_and_a_folder_that_cannot_be_read_are_errors(prepared: Project) -> None:
    media = prepared.root / "media"
    media.rename(prepared.root / "away")
    result = prepared.run("audit").exited(1)
    assert f"The root media, {media}, does not exist, and rows name files in it." in result.told
    assert "Is the volume mounted?" in result.told


def test_the_updater_returns_what_was_found(prepared: Project) -> None:
    track(prepared, 7).unlink()
    report = Updater.from_config(prepared.ini).audit()
    assert [(one.kind, one.shown, dict(one.row)) for one in report.findings] == [
        ("missing", "tracks/07/7.gpx", {"id": 7})
    ]
    assert report.summary.total == 1
    assert report.summary.current == ("v1",)
    assert Reference("a").path == "a"


def test_an_update_at_work_is_told(prepared: Project) -> None:
    prepared.update("v2", "v1", "r1", up_post="import os; os.system(self.data_dir.joinpath('..', 'look').as_posix())")
    look = prepared.root / "look"
    look.write_text(f"#!/bin/sh\ncd {prepared.root}\n{prepared.python} -m fietsupdate audit --json > told 2>&1\n")
    look.chmod(look.stat().st_mode | stat.S_IXUSR)
    prepared.run("update", "--yes").succeeded()
    told = json.loads((prepared.root / "told").read_text().splitlines()[-1])
    assert "Another process is updating the instance" in told["summary"]["notes"][0]


def test_the_declaration_of_the_documentation_is_valid() -> None:
    page = Path(__file__).parents[2] / "docs" / "guides" / "rows-and-files.md"
    text = page.read_text().split("```python\n")[1].split("```")[0]
    from fietsupdate.planning.metadata import read_script

    script = f"{text}\nclass Up: pass\n"
    assert len(read_script(script.encode(), Path("page.py"), "updates").declares.references or ()) == 2
    assert "tracks" in REFERENCES
