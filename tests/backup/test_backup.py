"""A backup is both halves at one moment, or it is none; and it stays as long as it is worth something."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from fietsupdate import Updater, __version__
from fietsupdate.backup import directory
from fietsupdate.backup.manifest import Backup, FileAttributes, Manifest, Reason, Scope, Stored
from fietsupdate.backup.meter import ByteMeter
from fietsupdate.backup.policy import backup_before, excess, orphaned
from fietsupdate.backup.verify import verify
from fietsupdate.cli.main import main
from fietsupdate.cli.render import backups as copies
from fietsupdate.cli.render.events import amount
from fietsupdate.errors import (
    DatabaseError,
    FilesError,
    LockedError,
    RefusedError,
    StoppedError,
    UpdateFailedError,
)
from fietsupdate.filesystem import file_copy, lock
from fietsupdate.filesystem.file_record import FileRecord
from fietsupdate.model import Event, Policy, fingerprint
from fietsupdate.testing.content import tree
from support.databases import MARIADB, POSTGRESQL, SQLITE, Database
from support.mounts import mounted
from support.notes import notes, traced
from support.projects import Project

UNTOUCHED = "The instance and its older backups were not touched; nothing of this backup is left."


@pytest.fixture
def project(make_project):
    """An instance at v1 of two updates, the second of which is not atomic; the usual policy."""
    return at_v1(make_project(section={"backup": "auto"}))


def at_v1(project: Project) -> Project:
    notes(project, 2)
    not_atomic(project)
    Updater.from_config(project.ini).update("v1")
    (project.data / "tracks").mkdir()
    (project.data / "tracks" / "one.gpx").write_text("<gpx/>")
    os.link(project.data / "tracks" / "one.gpx", project.data / "tracks" / "same.gpx")
    (project.data / "newest").symlink_to("tracks/one.gpx")
    return project


def not_atomic(project: Project, **bodies: str) -> None:
    """Write v2 so that its hooks have connections of their own; `bodies` are theirs."""
    project.update("v2", "v1", "r2", atomic=False, **traced(project, "v2", **bodies))


def updater(project: Project, **options: str) -> Updater:
    return Updater.from_config(project.ini, options=options)


def both(project: Project) -> tuple[object, object]:
    """Give what stands in both halves, without our own folder."""
    return project.tree(exclude=[".fietsupdate"]), project.database.dump()


def folder(project: Project) -> Path:
    return project.data / ".fietsupdate" / "backups"


def names(project: Project) -> list[str]:
    """Name whatever stands where backups do."""
    return sorted(path.name for path in folder(project).iterdir()) if folder(project).exists() else []


def told(events: list, event: str) -> list:
    return [each for each in events if each.event == event]


# What a backup holds


def test_a_backup_is_both_halves_with_a_manifest(project):
    before, events = both(project), []
    backup = updater(project).backup(on_event=events.append)
    assert both(project) == before
    assert backup.path.parent == folder(project)
    assert tree(backup.files) == before[0]
    manifest = Manifest.from_json((backup.path / "manifest.json").read_text())
    assert manifest == backup.manifest
    entries = updater(project).history()
    assert (manifest.tip_seq, manifest.tip_hash) == (1, fingerprint(entries))
    assert (manifest.current, manifest.alembic, manifest.tool_version) == (("v1",), ("r1",), __version__)
    assert (manifest.scope, manifest.reason, manifest.dialect) == (Scope.FULL, Reason.MANUAL, "sqlite")
    assert (manifest.instance_id, manifest.txn) == (project.database.execute(INSTANCE)[0][0], "")
    assert backup.ledger.read_bytes() == (project.data / ".fietsupdate" / "ledger.jsonl").read_bytes()
    assert manifest.files == len(before[0]) + 1
    assert verify(backup) == ()
    copied = {event.text: event.details["done"] for event in told(events, "progress")}
    assert copied == {"dumped": manifest.dump.size, "copied": manifest.bytes}
    assert told(events, "backup_finished")[0].text == backup.name


INSTANCE = "SELECT instance_id FROM fietsupdate_instance"


def test_the_listing_has_every_file_with_its_size_and_hash(project):
    backup = updater(project).backup()
    records = [FileRecord.from_json(line) for line in backup.listing.read_text().splitlines()]
    assert {record.path for record in records} == {"", *tree(backup.files)}
    gpx = {record.path: record for record in records if record.path.endswith(".gpx")}
    assert sorted(record.kind for record in gpx.values()) == ["file", "hardlink"]
    first = next(record for record in gpx.values() if record.kind == "file")
    assert (first.size, first.sha256) == (6, tree(backup.files)["tracks/one.gpx"].sha256)


def test_every_kind_of_database_is_dumped(make_project, database):
    project = at_v1(make_project(kind=database.kind, name=database.kind))
    project.database.execute("INSERT INTO notes (id, text) VALUES (7, 'to be found again')")
    backup = updater(project).backup()
    assert backup.manifest.dialect in {database.kind, "mysql"}
    assert backup.dump.stat().st_size == backup.manifest.dump.size > 0
    assert backup.dump.stat().st_mode & 0o777 == 0o600
    assert verify(backup) == ()


def test_a_sqlite_database_in_the_data_directory_is_copied_while_it_is_in_use(make_project, tmp_path):
    """Its files are no part of the tree: rows that are only in the write-ahead log are in the dump."""
    database = Database(SQLITE, f"sqlite:///{tmp_path / 'project' / 'data' / 'app.db'}", "")
    project = at_v1(Project.create(tmp_path / "project", database))
    in_use = sqlite3.connect(database.file)
    in_use.execute("PRAGMA journal_mode=WAL")
    in_use.execute("INSERT INTO notes (id, text) VALUES (1, 'committed')")
    in_use.commit()
    assert Path(f"{database.file}-wal").stat().st_size > 0
    backup = updater(project).backup()
    in_use.close()
    assert not [path for path in tree(backup.files) if path.startswith("app.db")]
    assert "VERSION" in tree(backup.files)
    copy = sqlite3.connect(backup.dump)
    assert copy.execute("SELECT text FROM notes").fetchall() == [("committed",)]
    copy.close()


def test_further_folders_are_copied_by_their_names(make_project, tmp_path):
    media = tmp_path / "media"
    (media / "sub").mkdir(parents=True)
    (media / "sub" / "film").write_bytes(b"film")
    project = at_v1(make_project(section={"extra_dirs": f"media={media}"}))
    backup = updater(project).backup()
    assert backup.manifest.extra_dirs == ("media",)
    assert tree(backup.tree("media")) == tree(media)
    assert verify(backup) == ()


def test_no_backup_holds_backups_wherever_they_are(make_project):
    project = at_v1(make_project(section={"backup_dir": "%(here)s/data/tracks/copies"}))
    first = updater(project).backup()
    second = updater(project).backup()
    assert first.path.parent == project.data / "tracks" / "copies"
    assert set(tree(second.files)) == set(tree(first.files))
    assert "tracks/copies" not in tree(second.files)
    elsewhere = updater(project).backup(project.root / "elsewhere")
    assert set(tree(elsewhere.files)) == set(tree(first.files))


def test_no_backup_holds_backups_where_their_folder_is_named_by_a_symlink(make_project):
    project = make_project(section={"backup_dir": "%(here)s/copies"})
    (project.root / "copies").symlink_to(project.data / "safe")
    (project.data / "safe").mkdir()
    at_v1(project)
    updater(project).backup()
    assert "safe" not in tree(updater(project).backup().files)


def test_a_folder_of_the_application_is_no_folder_of_backups(make_project, tmp_path):
    """Nothing in the folder of backups is copied or restored, so it must hold nothing else."""
    (tmp_path / "media").mkdir()
    project = at_v1(make_project(section={"extra_dirs": f"media={tmp_path / 'media'}"}))
    (tmp_path / "link").symlink_to(project.data)
    kept, before = updater(project).backup(), both(project)
    tracks, link = project.data / "tracks", tmp_path / "link"
    for dest in (project.data, tmp_path / "media", link, tracks, link / "tracks"):
        configured = updater(project, backup_dir=str(dest))
        runs = [
            partial(updater(project).backup, dest),
            partial(configured.backup, tmp_path / "elsewhere"),
            partial(configured.restore, str(kept.path)),
            configured.rehearse,
        ]
        for run in runs:
            with pytest.raises(FilesError, match="cannot be the folder of backups: the application's own") as caught:
                run()
            assert ("'one.gpx' among them" in caught.value.message) == (dest.name == "tracks")
            assert caught.value.hint.startswith("Name a folder that is for backups alone")
    assert both(project) == before
    above = updater(project, backup_dir=str(project.data.parent)).backup()
    assert above.manifest.files == kept.manifest.files


def test_what_is_left_out_is_told(project):
    events = []
    with socket.socket(socket.AF_UNIX) as server:
        os.symlink(project.data, "/tmp/fu" + project.database.name[-8:])
        server.bind(f"/tmp/fu{project.database.name[-8:]}/s")
        os.unlink("/tmp/fu" + project.database.name[-8:])
        updater(project).backup(on_event=events.append)
    [warning] = told(events, "warning")
    assert warning.text == f"{project.data / 's'} is a socket, a pipe or a device, and was left out."


def test_only_the_owner_can_look_into_a_backup(project):
    backup = updater(project).backup()
    modes = [path.stat().st_mode & 0o777 for path in (backup.path, backup.dump, backup.listing, backup.ledger)]
    assert modes == [0o700, 0o600, 0o600, 0o600]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can work for somebody else")
def test_what_root_makes_belongs_to_the_owner_of_the_data_directory(project):
    for path in (project.data, *project.data.rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    backup = updater(project).backup(as_root=True)
    paths = [backup.path.parent, backup.path, *backup.path.rglob("*")]
    assert {path.lstat().st_uid for path in paths} == {12345}


@pytest.fixture(scope="module")
def started():
    """The words of every program that is started, once a list is put here."""
    lists: list[list[str]] = []
    sys.addaudithook(lambda event, args: lists and event == "subprocess.Popen" and lists[-1].append(str(args)))
    return lists


def test_a_password_is_on_no_command_line_and_in_nothing_that_is_told(make_project, postgresql, started, capfd):
    project = at_v1(make_project(kind=POSTGRESQL))
    words: list[str] = []
    started.append(words)
    text = project.ini.read_text()
    project.ini.write_text(text.replace("postgres@127.0.0.1", "postgres:s3cr3t@127.0.0.1"))
    assert "s3cr3t" in project.ini.read_text()
    assert main(["-c", str(project.ini), "-v", "backup", "--json"]) == 0
    started.pop()
    assert any("pg_dump" in each for each in words)
    assert "s3cr3t" not in "".join(words)
    out, err = capfd.readouterr()
    assert "s3cr3t" not in out + err
    [backup] = updater(project).backups().backups
    held = (backup.path / "manifest.json", backup.dump, backup.listing, backup.ledger)
    assert not any(b"s3cr3t" in path.read_bytes() for path in held)


# When none is made


def test_it_is_refused_while_an_update_is_interrupted(project):
    not_atomic(project, up_post="raise RuntimeError('broke off')")
    with pytest.raises(UpdateFailedError):
        updater(project).update()
    before = names(project)
    with pytest.raises(RefusedError) as caught:
        updater(project).backup()
    assert caught.value.code == "interrupted"
    assert "type `fietsupdate update`" in caught.value.hint
    assert names(project) == before


def test_it_is_refused_while_a_transaction_lies_open(make_project):
    """Killed, an atomic update is undone by the next command that changes something, and a copy changes nothing."""
    project = at_v1(make_project())
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    project.update("v2", "v1", "r2", up_pre=f"self.files.write('new', 'text'); {kill}")
    assert project.run("update", "--yes").code == -signal.SIGKILL
    with pytest.raises(RefusedError) as caught:
        updater(project).backup()
    assert (caught.value.code, caught.value.exit_code) == ("interrupted", 1)
    assert caught.value.hint.startswith("Type `fietsupdate recover`")
    assert names(project) == []


def test_it_is_refused_where_the_halves_are_of_different_moments(project):
    ledger = project.data / ".fietsupdate" / "ledger.jsonl"
    older = ledger.read_bytes(), (project.data / "VERSION").read_bytes()
    updater(project).update(backup="never")
    ledger.write_bytes(older[0])
    (project.data / "VERSION").write_bytes(older[1])
    with pytest.raises(RefusedError) as caught:
        updater(project).backup()
    assert caught.value.code == "files_older"
    assert names(project) == []


def test_before_the_first_update_there_is_nothing_to_copy(make_project):
    project = notes(make_project(), 1)
    with pytest.raises(RefusedError, match=r"There is nothing to copy yet: the database file .* does not exist"):
        updater(project).backup()
    assert not project.database.file.exists()


def test_an_instance_of_alembic_alone_can_be_copied_before_it_is_adopted(make_project):
    project = notes(make_project(), 1)
    project.alembic("upgrade", "r1").succeeded()
    backup = updater(project).backup()
    assert (backup.manifest.instance_id, backup.manifest.tip_seq, backup.manifest.alembic) == ("", 0, ("r1",))
    assert verify(backup) == ()


def test_it_waits_for_a_running_updater(project):
    held = lock.hold(project.data, timeout=0, on_wait=lambda _holder: None, command="update")
    with held, pytest.raises(LockedError):
        updater(project).backup(lock_timeout=0)
    assert names(project) == []


def test_the_folder_above_must_be_there(project, tmp_path):
    with pytest.raises(FilesError) as caught:
        updater(project).backup(tmp_path / "not mounted" / "backups")
    assert caught.value.message.startswith(f"Backups cannot go to {tmp_path / 'not mounted' / 'backups'}: ")
    assert caught.value.hint.startswith("Is the volume mounted?")


# Room, and what happens on the way


def test_space_is_checked_first_and_a_reserve_stays_free(project, monkeypatch):
    updater(project).backup()
    before = both(project), names(project)
    monkeypatch.setattr("fietsupdate.backup.create.room", lambda _path: 64 << 20)
    with pytest.raises(FilesError) as caught:
        updater(project).backup()
    assert caught.value.message == (
        f"A backup needs 1 MiB in {folder(project)}, and 64 MiB more are to stay free; there are 64 MiB."
    )
    assert "`fietsupdate backup prune`" in caught.value.hint
    assert (both(project), names(project)) == before


def test_inodes_are_counted_before_anything_is_copied(project, tmp_path):
    """Bytes are plenty, names are not: what would fail after minutes is refused at once, by backup and by restore."""
    for number in range(100):
        (project.data / "tracks" / str(number)).touch()
    before = both(project)
    with mounted(tmp_path / "disk", "nr_inodes=1050") as disk:
        with pytest.raises(FilesError, match=r"A backup makes 10\d files in .*, and 1,000 more are to stay possible"):
            updater(project, backup_dir=str(disk / "backups")).backup()
        assert both(project) == before
        assert not list(disk.rglob("*.gpx"))
    made = updater(project).backup()
    with mounted(tmp_path / "data") as data:
        shutil.copytree(project.data, data, dirs_exist_ok=True, symlinks=True)
        subprocess.run(["mount", "-o", "remount,nr_inodes=1200", data], check=True)
        with pytest.raises(FilesError, match=r"Restoring .* makes 10\d files in .*; its file system has room for \d+ "):
            Updater.from_config(project.ini, options={"data_dir": str(data)}).restore(str(made.path))


def test_files_whose_blocks_are_shared_need_no_room(project, monkeypatch):
    """On Btrfs or XFS a copy takes hardly any space, however large the files are."""
    with open(project.data / "film", "wb") as film:
        os.posix_fallocate(film.fileno(), 0, 8 << 20)
    monkeypatch.setattr("fietsupdate.backup.create.room", lambda _path: 66 << 20)
    with pytest.raises(FilesError, match="A backup needs 9 MiB"):
        updater(project).backup()
    monkeypatch.setattr("fietsupdate.backup.create.can_share", lambda _source, _dest: True)
    assert verify(updater(project).backup()) == ()


def test_a_disk_that_fills_up_leaves_nothing_of_it_and_all_older_ones(project, monkeypatch):
    older = updater(project).backup()
    before = both(project), names(project)
    (project.data / "last").write_text("text")

    def full(descriptor, data):
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("/last"):
            raise OSError(errno.ENOSPC, "No space left on device")
        os.write(descriptor, data)

    monkeypatch.setattr(file_copy, "write_all", full)
    with pytest.raises(FilesError, match="The disk is full: the backup could not be finished") as caught:
        updater(project).backup()
    (project.data / "last").unlink()
    assert caught.value.stands == UNTOUCHED
    assert before[1] == names(project)
    assert both(project)[1] == before[0][1]
    assert verify(older) == ()


def test_a_signal_ends_it_and_leaves_nothing(project):
    before = both(project)

    def strike(event):
        if event.event == "backup_part" and event.text == "files":
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(StoppedError) as caught:
        updater(project).backup(on_event=strike)
    assert caught.value.stands == "Nothing was changed."
    assert names(project) == []
    assert both(project) == before


def test_a_dump_that_fails_leaves_nothing(project, monkeypatch):
    def fails(_store, _dest, _moved):
        raise DatabaseError("The server went away.")

    monkeypatch.setattr("fietsupdate.database.dump.sqlite.SQLiteStore.dump", fails)
    with pytest.raises(DatabaseError) as caught:
        updater(project).backup()
    assert caught.value.stands == UNTOUCHED
    assert names(project) == []


def test_what_was_never_finished_does_not_count_and_the_next_one_sweeps_it(project):
    first = updater(project).backup()
    instance = first.manifest.instance_id
    partial = folder(project) / f".partial-{instance}-20200101-000000-v1"
    shutil.copytree(first.path, partial)
    (partial / "manifest.json").unlink()
    others = folder(project) / ".partial-another-instance-20200101-000000-v1"
    others.mkdir()
    there = updater(project).backups()
    assert [backup.name for backup in there.backups] == [first.name]
    assert dict(there.broken) == {partial.name: "it was never finished", others.name: "it was never finished"}
    second = updater(project).backup()
    assert names(project) == sorted([first.name, second.name, others.name])


def test_prune_sweeps_what_was_never_finished(project):
    first = updater(project).backup()
    partial = folder(project) / f".partial-{first.manifest.instance_id}-20200101-000000-v1"
    partial.mkdir()
    assert updater(project).prune_backups(dry_run=True) == (partial.name,)
    assert partial.exists()
    assert updater(project).prune_backups() == (partial.name,)
    assert names(project) == [first.name]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: (path / "manifest.json").unlink(), "there is no manifest"),
        (lambda path: (path / "manifest.json").write_text("{"), "Expecting property name"),
        (lambda path: (path / "manifest.json").write_text('{"format": 2}'), "a manifest of format 2"),
        (lambda path: (path / "manifest.json").write_text('{"format": 1}'), "not a backup's manifest"),
        (lambda path: (path / "database.dump").write_text(""), "database.dump is missing, or not as long as it was"),
        (lambda path: (path / "files.jsonl").unlink(), "files.jsonl is missing, or not as long as it was"),
        (lambda path: shutil.rmtree(path / "files"), "files is missing"),
    ],
)
def test_a_backup_without_its_parts_is_none(project, damage, reason):
    backup = updater(project).backup()
    damage(backup.path)
    there = updater(project).backups()
    assert there.backups == ()
    assert there.broken[backup.name].startswith(reason)
    with pytest.raises(FilesError, match="is no complete backup"):
        updater(project).verify_backup(backup.name)
    with pytest.raises(FilesError, match=f"is complete: {backup.name}: {re.escape(reason)}"):
        updater(project).verify_backup()


def test_a_manifest_that_names_what_is_not_in_the_backup_is_none(project, tmp_path):
    (tmp_path / "elsewhere").touch()
    backup = updater(project).backup()
    manifest = backup.path / "manifest.json"
    text = manifest.read_text()
    for old, new in [
        ('"name": "database.dump"', '"name": "../../../elsewhere"'),
        ('"name": "files.jsonl"', f'"name": "{tmp_path / "elsewhere"}"'),
        ('"extra_dirs": []', '"extra_dirs": ["../files"]'),
        ('"extra_dirs": []', '"extra_dirs": [".."]'),
    ]:
        assert old in text
        manifest.write_text(text.replace(old, new))
        with pytest.raises(ValueError, match=r"its manifest names '.*', which is no part of a backup"):
            directory.read(backup.path)


def test_a_listing_that_leads_out_of_the_backup_gives_no_look_to_anything(project, tmp_path):
    (tmp_path / "elsewhere").touch(mode=0o600)
    (project.data / "away").symlink_to(tmp_path)
    backup, before = updater(project).backup(), both(project)
    good = backup.listing.read_text()
    for path, why in [
        ("../../../../../elsewhere", "it names '../../../../../elsewhere', which is not in the backup"),
        (f"{tmp_path}/elsewhere", f"it names '{tmp_path}/elsewhere', which is not in the backup"),
        ("away/elsewhere", "it names 'away/elsewhere', to which a symlink leads"),
    ]:
        record = FileRecord("", path, "file", 0, hashlib.sha256().hexdigest(), 0o666, os.getuid(), os.getgid(), 1)
        data = f"{good}{record.to_json()}\n".encode()
        backup.listing.write_bytes(data)
        listing = Stored("files.jsonl", len(data), hashlib.sha256(data).hexdigest())
        (backup.path / "manifest.json").write_text(replace(backup.manifest, listing=listing).to_json())
        with pytest.raises(FilesError) as caught:
            updater(project).restore(backup.name, despite=["damage"])
        assert caught.value.message == f"The listing of the backup {backup.name} cannot be followed: {why}."
        assert caught.value.stands == "Nothing was changed."
        if "symlink" not in why:
            assert updater(project).verify_backup(backup.name).wrong == (f"files.jsonl cannot be followed: {why}",)
    assert both(project) == before
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o600


# Verify


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("damage", "wrong"),
    [
        (lambda path: flip(path / "database.dump"), "database.dump is not what it was"),
        (lambda path: flip(path / "files.jsonl"), "files.jsonl is not what it was"),
        (lambda path: flip(path / "files" / "VERSION"), "'files/VERSION' is not what it was"),
        (
            lambda path: (path / "files" / "VERSION").unlink(),
            "'files/VERSION' cannot be read: No such file or directory",
        ),
        (lambda path: (path / "files" / "more").touch(), "1 more files, folders or links are there than were copied"),
        (lambda path: relink(path / "files" / "newest", "VERSION"), "'files/newest' points to another place"),
        (lambda path: relink(path / "files" / "VERSION", "newest"), "'files/VERSION' is no file any more"),
    ],
)
def test_verify_finds_what_is_not_as_it_was_copied(project, damage, wrong):
    backup = updater(project).backup()
    assert updater(project).verify_backup(backup.name).wrong == ()
    damage(backup.path)
    assert updater(project).verify_backup(backup.name).wrong == (wrong,)


def relink(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def test_verify_finds_a_hard_link_that_is_none_any_more(project):
    backup = updater(project).backup()
    for name in ("one.gpx", "same.gpx"):
        path = backup.files / "tracks" / name
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    [wrong] = updater(project).verify_backup(str(backup.path)).wrong
    assert re.fullmatch(r"'files/tracks/\w+.gpx' is no other name of 'tracks/\w+.gpx' any more", wrong)


# Keeping


def made(name: str, day: int, *, scope=Scope.FULL, reason=Reason.MANUAL, tip=1, txn="", instance="this") -> Backup:
    """Give a backup that was made on a day."""
    manifest = Manifest(
        name=name,
        scope=scope,
        reason=reason,
        created_at=f"2026-03-{day:02}T12:00:00.000Z",
        instance_id=instance,
        tip_seq=tip,
        tip_hash=f"hash-{tip}",
        current=("v1",),
        alembic=("r1",),
        app_version="",
        tool_version="0.1",
        dialect="sqlite",
        data_dir="/srv/data",
        dump=Stored("database.dump", 1, "ab"),
        txn=txn,
    )
    return Backup(Path("/backups", name), manifest)


def kept(backups: list[Backup], keep: int | None) -> list[str]:
    gone = excess(backups, keep, "this")
    return [backup.name for backup in backups if backup not in gone]


def test_backups_are_ordered_by_their_time_never_by_their_names():
    backups = [made("0.10", 3), made("0.9", 2), made("zzz", 1), made("0.11", 4)]
    assert kept(backups, 2) == ["0.10", "0.11"]


def test_the_last_good_one_is_never_given_away():
    assert kept([made("only", 1)], 1) == ["only"]
    assert kept([made("only", 1)], 0) == ["only"]
    assert kept([made("a", 1), made("b", 2)], None) == ["a", "b"]


def test_failed_updates_do_not_push_out_the_good_one_from_before_them():
    """The first attempt's copy is from before anything was tried, the last one's has the newest files."""
    attempts = [made(f"attempt-{day}", day, reason=Reason.UPDATE, tip=2) for day in range(3, 9)]
    backups = [made("older", 1, tip=1), made("by hand", 2, tip=1), *attempts]
    assert kept(backups, 2) == ["by hand", "attempt-3", "attempt-8"]
    assert kept(backups, 1) == ["attempt-3", "attempt-8"]


def test_daily_backups_do_not_push_out_the_copy_from_before_the_last_change_of_version():
    def change(name, day, tip):
        one = made(name, day, reason=Reason.UPDATE, tip=tip)
        return replace(one, manifest=replace(one.manifest, to_version=str(tip)))

    days = [made(f"day-{day}", day, tip=3) for day in range(4, 9)]
    backups = [change("0-to-1", 1, 1), change("1-to-2", 2, 2), change("1-to-2-again", 3, 2), *days]
    assert kept(backups, 2) == ["1-to-2", "1-to-2-again", "day-7", "day-8"]
    assert kept(backups[:2], 1) == ["1-to-2"]


def test_backups_of_other_instances_and_dumps_are_not_counted():
    backups = [
        made("mine", 1),
        made("theirs", 2, instance="other"),
        made("dump", 3, scope=Scope.DATABASE, txn="t"),
        made("mine too", 4),
    ]
    assert kept(backups, 1) == ["theirs", "dump", "mine too"]


def test_a_dump_is_worthless_when_its_vault_is_gone():
    dumps = [made(txn, 1, scope=Scope.DATABASE, txn=txn) for txn in ("open", "kept", "gone")]
    theirs = made("theirs", 1, scope=Scope.DATABASE, txn="gone", instance="other")
    assert orphaned([*dumps, theirs, made("full", 1)], "this", {"open", "kept"}) == (dumps[2],)


def test_the_way_back_is_the_own_dump_else_the_newest_of_both_halves_from_there():
    dump = made("dump", 3, scope=Scope.DATABASE, txn="t", tip=2)
    whole = [made("newer", 2, tip=2), made("older", 1, tip=2)]
    other = [made("elsewhere", 9, tip=2, instance="other"), made("later", 9, tip=3)]
    assert backup_before([*other, *whole, dump], "this", "t", "hash-2") == dump
    assert backup_before([*other, *whole], "this", "t", "hash-2") == whole[0]
    assert backup_before(other, "this", "t", "hash-2") is None


def test_only_complete_ones_count_and_the_oldest_goes_when_a_new_one_is_there(make_project):
    project = at_v1(make_project(section={"keep": "2"}))
    run = updater(project)
    made_ = [run.backup() for _ in range(2)]
    (made_[1].path / "manifest.json").unlink()
    third, events = run.backup(), []
    assert set(names(project)) == {made_[0].name, made_[1].name, third.name}, "the broken one does not count"
    fourth = run.backup(on_event=events.append)
    assert set(names(project)) == {made_[1].name, third.name, fourth.name}
    assert told(events, "backups_pruned")[0].details == {"names": [made_[0].name]}


def test_an_old_one_that_cannot_be_erased_is_told_and_is_no_backup_any_more(make_project, monkeypatch):
    project = at_v1(make_project(section={"keep": "1"}))
    run = updater(project)
    first = run.backup()
    with monkeypatch.context() as patches:
        patches.setattr(os, "rmdir", partial(fail, OSError(errno.EIO, "Input/output error", "folder")))
        with pytest.raises(FilesError) as caught:
            run.backup()
        [second] = run.backups().backups
        assert caught.value.stands == (
            f"The backup {second.name} is complete. Taken away: {first.name}. All other backups are whole."
        )
        with pytest.raises(
            FilesError, match=r"Not all of what need not be kept could be .* error: 'folder'\."
        ) as caught:
            run.prune_backups()
        assert caught.value.stands == "Taken away: none. All other backups are whole."
    run.prune_backups()
    assert names(project) == [second.name]
    assert verify(second) == ()


def test_two_instances_may_finish_a_backup_of_one_name_in_one_folder(tmp_path):
    """Two timers that strike at the same second, of two instances at the same release."""
    manifest = made("20261122-030000-v1", 1).manifest
    begun = [directory.begin(tmp_path, owner, manifest.name) for owner in ("this", "that")]
    for path in begun:
        (path / "database.dump").write_text("x")
        (path / "files").mkdir()
    finished = [directory.complete(path, manifest).name for path in begun]
    assert finished == ["20261122-030000-v1", "20261122-030000-v1-2"]
    assert [backup.name for backup in directory.inspect_directory(tmp_path).backups] == finished[::-1]


def fail(error, *_, **__):
    raise error


def test_a_backup_that_is_made_elsewhere_pushes_nothing_out(make_project, tmp_path):
    project = at_v1(make_project(section={"keep": "1"}))
    first = updater(project).backup()
    elsewhere = updater(project).backup(tmp_path / "elsewhere")
    assert names(project) == [first.name]
    assert verify(elsewhere) == ()


# By itself


def test_before_an_update_that_is_not_atomic_the_database_is_dumped(project):
    before, events = project.database.dump(), []
    updater(project).update(on_event=events.append)
    order = [event.event for event in events if event.event in {"backup_begun", "backup_finished", "update_begun"}]
    assert order == ["backup_begun", "backup_finished", "update_begun"]
    [backup] = updater(project).backups().backups
    manifest = backup.manifest
    assert (manifest.scope, manifest.reason, manifest.tip_seq) == (Scope.DATABASE, Reason.UPDATE, 1)
    assert (manifest.current, manifest.alembic, manifest.files) == (("v1",), ("r1",), 0)
    assert manifest.txn == updater(project).history()[-1].txn
    assert Database(SQLITE, f"sqlite:///{backup.dump}", "").dump() == before
    assert verify(backup) == ()


def test_a_dump_goes_with_the_vault_that_is_its_other_half(project):
    run = updater(project)
    run.update()
    [first] = names(project)
    assert list((project.data / ".fietsupdate" / "kept").iterdir())
    run.downgrade("v1")
    [second] = names(project)
    assert second != first
    run.recover(purge=True)
    assert names(project) == []


def test_of_many_updates_in_one_run_only_the_last_dump_stays(project):
    for number in range(3, 6):
        project.revision(f"r{number}", f"r{number - 1}", "pass")
        project.update(f"v{number}", f"v{number - 1}", f"r{number}", atomic=False)
    most = 0

    def count(event):
        nonlocal most
        most = max(most, len(names(project)))

    updater(project).update(on_event=count)
    [backup] = updater(project).backups().backups
    assert backup.manifest.current == ("v4",)
    assert most == 2


def test_an_update_that_was_undone_leaves_no_dump(project):
    not_atomic(project, up_pre="raise RuntimeError('before anything was committed')")
    with pytest.raises(UpdateFailedError):
        updater(project).update()
    assert names(project) == []


def test_a_failed_update_names_the_way_back_and_so_does_status(project):
    not_atomic(project, up_post="raise RuntimeError('broke off')")
    with pytest.raises(UpdateFailedError) as caught:
        updater(project).update()
    [name] = names(project)
    assert caught.value.hint.endswith(
        "When the cause is mended, `fietsupdate update` goes on where it stopped. "
        f"`fietsupdate restore {name}` takes both halves back to before it."
    )
    [problem] = updater(project).status().problems
    assert problem.hint == (
        "Mend the cause, then type `fietsupdate update`, which goes on at phase post; or type "
        f"`fietsupdate restore {name}`, which takes both halves back to before it."
    )


def test_an_update_that_is_resumed_keeps_the_backup_from_before_it(project):
    not_atomic(project, up_post="raise RuntimeError('broke off')")
    before = project.database.dump()
    for _ in range(3):
        with pytest.raises(UpdateFailedError, match="broke off") as caught:
            updater(project).update()
        [name] = names(project)
        assert f"fietsupdate restore {name}" in caught.value.hint
    assert Database(SQLITE, f"sqlite:///{folder(project) / name / 'database.dump'}", "").dump() == before


def test_an_atomic_update_needs_no_backup(make_project):
    project = at_v1(make_project(section={"backup": "auto"}))
    project.update("v2", "v1", "r2")
    assert updater(project).plan().backup == ""
    updater(project).update()
    assert names(project) == []


@pytest.mark.parametrize("kind", [SQLITE, MARIADB])
def test_a_new_instance_has_nothing_to_go_back_to(make_project, kind):
    project = notes(make_project(kind=kind, section={"backup": "auto"}), 2, atomic=False)
    assert updater(project).plan().backup == ""
    updater(project).update()
    assert names(project) == []


def test_on_mariadb_every_update_has_a_way_back(make_project):
    project = notes(make_project(kind=MARIADB, section={"backup": "auto"}), 2)
    updater(project).update("v1")
    updater(project).update()
    [backup] = updater(project).backups().backups
    assert backup.manifest.txn == updater(project).history()[-1].txn
    assert verify(backup) == ()


def test_full_copies_both_halves_before_every_run(make_project):
    project = at_v1(make_project(section={"backup": "full"}))
    project.update("v2", "v1", "r2")
    before = both(project)
    assert updater(project).plan().backup == "full"
    updater(project).update()
    [backup] = updater(project).backups().backups
    assert (backup.manifest.scope, backup.manifest.reason) == (Scope.FULL, Reason.UPDATE)
    assert tree(backup.files) == before[0]
    assert Database(SQLITE, f"sqlite:///{backup.dump}", "").dump() == before[1]


def test_after_a_full_copy_the_first_step_needs_no_dump_and_its_failure_names_the_copy(make_project):
    project = at_v1(make_project(section={"backup": "full"}))
    not_atomic(project, up_post="raise RuntimeError('broke off')")
    with pytest.raises(UpdateFailedError) as caught:
        updater(project).update()
    [backup] = updater(project).backups().backups
    assert backup.manifest.scope is Scope.FULL
    assert f"fietsupdate restore {backup.name}" in caught.value.hint


def test_failing_updates_never_take_a_backup_away_and_their_first_copy_stays(make_project):
    """Each start tries again, as in a container that is restarted; by the third the good one was gone elsewhere."""
    project = at_v1(make_project(section={"backup": "full", "keep": "1"}))
    by_hand = updater(project).backup()
    project.update("v2", "v1", "r2", up_post="raise RuntimeError('each time')")
    attempts = []
    for _ in range(4):
        with pytest.raises(UpdateFailedError):
            updater(project).update()
        attempts.append(updater(project).backups().backups[0].name)
    assert set(names(project)) == {by_hand.name, *attempts}
    assert updater(project).prune_backups() == (by_hand.name, *attempts[1:-1])
    assert set(names(project)) == {attempts[0], attempts[-1]}


@pytest.mark.parametrize("how", ["key", "argument"])
def test_never_means_none(make_project, how):
    project = at_v1(make_project(section={"backup": "never" if how == "key" else "full"}))
    wanted = "never" if how == "argument" else None
    assert updater(project).plan(backup=wanted).backup == "declined"
    updater(project).update(backup=wanted)
    updater(project).downgrade("v1", backup=wanted)
    assert names(project) == []


def test_a_program_that_is_missing_is_found_before_anything_changes(make_project, monkeypatch):
    project = notes(make_project(kind=MARIADB, section={"backup": "auto"}), 2)
    updater(project).update("v1")
    before = both(project), project.traces()
    monkeypatch.setenv("PATH", str(project.root))
    for attempt in (updater(project).plan, updater(project).update):
        with pytest.raises(DatabaseError) as caught:
            attempt()
        assert re.fullmatch(r"The program \S+( or \S+)? is not installed, or not in PATH\.", caught.value.message)
        assert caught.value.stands == "Nothing was changed."
        assert caught.value.hint.endswith(
            "Or repeat with --no-backup: there is no way back then from an update that fails half-way."
        )
    assert (both(project), project.traces()) == before
    updater(project).update(backup="never")
    assert updater(project).status().current == ("v2",)


def test_a_backup_that_fails_stops_the_run_before_the_step(project, monkeypatch):
    project.update("v3", "v2", "r3", atomic=False, **traced(project, "v3"))
    project.revision("r3", "r2", "pass")
    real, calls = directory.complete, []

    def second_fails(partial, manifest):
        calls.append(partial)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(partial, manifest)

    monkeypatch.setattr(directory, "complete", second_fails)
    with pytest.raises(FilesError) as caught:
        updater(project).update()
    assert caught.value.stands == f"{UNTOUCHED} 1 of 2 updates of this run were finished before it."
    assert updater(project).status().current == ("v2",)
    assert updater(project).status().problems == ()
    assert not calls[1].exists()


# The command line


def run(project: Project, capfd, *words: str) -> tuple[int, str, str]:
    """Run a command in this process; give its exit code and its output, without what was printed before."""
    capfd.readouterr()
    code = main(["-c", str(project.ini), *words])
    out, err = capfd.readouterr()
    return code, out, err


def test_backup_tells_what_it_made_and_where(project, capfd):
    code, out, _ = run(project, capfd, "backup")
    [name] = names(project)
    assert code == 0
    first, copied, complete, where = out.splitlines()
    assert first == f"Copying both halves: backup {name}"
    assert re.fullmatch(r" +copied \d+ kB", copied)
    assert re.fullmatch(rf"Backup {name} is complete: the database, and 6 files, folders and links; \d+ kB\.", complete)
    assert where == f"It is in {folder(project) / name}"


def test_backup_writes_its_events_and_ends_with_the_manifest(project, capfd):
    code, out, _ = run(project, capfd, "backup", "--json")
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [event["event"] for event in events if event["event"] != "progress"] == [
        "backup_begun",
        "backup_part",
        "backup_part",
        "backup_finished",
        "finished",
    ]
    assert events[-1]["backup"]["name"] == names(project)[0]
    assert events[-1]["backup"]["files"] == 6


def test_backup_list_is_a_verb_and_a_folder_of_that_name_can_be_meant(project, capfd, monkeypatch):
    monkeypatch.chdir(project.root)
    code, out, _ = run(project, capfd, "backup", "list")
    assert (code, out) == (0, f"There is no backup in {folder(project)}.\n")
    assert run(project, capfd, "backup", "./list")[0] == 0
    [backup] = (project.root / "list").iterdir()
    assert directory.read(backup).name == backup.name
    assert json.loads(run(project, capfd, "backup", "--json", "list")[1])["backups"] == []
    for words in (("list", "more"), ("--lst",), ("one", "two"), ("",)):
        assert run(project, capfd, "backup", *words)[0] == 2
    code, _, err = run(project, capfd, "backup", "lst")
    assert (code, (project.root / "lst").exists()) == (2, False)
    assert "There is no 'backup lst', did you mean 'list'?" in err
    assert "For a folder, type ./lst" in err


def test_backup_list_shows_the_newest_first_and_what_does_not_count(project, capfd):
    first = updater(project).backup()
    updater(project).update()
    (folder(project) / ".partial-x").mkdir()
    code, out, _ = run(project, capfd, "backup", "list")
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == f"Backups in {folder(project)}, newest first:"
    assert lines[2].split() == ["name", "made", "(UTC)", "why", "holds", "size", "current", "updates"]
    assert "update  the database" in lines[3]
    assert lines[4].startswith(first.name)
    assert "manual  both halves" in lines[4]
    assert lines[5] == "Not a backup: .partial-x: it was never finished."
    document = json.loads(run(project, capfd, "backup", "list", "--json")[1])
    assert document["folder"] == str(folder(project))
    assert [backup["scope"] for backup in document["backups"]] == ["database", "full"]
    assert document["broken"] == {".partial-x": "it was never finished"}


def test_backup_verify_exits_by_what_it_found(project, capfd):
    assert run(project, capfd, "backup", "verify")[0] == 2
    backup = updater(project).backup()
    code, out, _ = run(project, capfd, "backup", "verify")
    assert code == 0
    assert re.search(rf"Backup {backup.name} is good: \d+ kB were read and compared\.$", out)
    flip(backup.dump)
    code, out, _ = run(project, capfd, "backup", "verify", backup.name)
    assert code == 1
    assert out.endswith(f"Backup {backup.name} is NOT good:\n  - database.dump is not what it was\n")
    document = json.loads(run(project, capfd, "backup", "verify", str(backup.path), "--json")[1])
    assert document == {
        "name": backup.name,
        "path": str(backup.path),
        "good": False,
        "wrong": ["database.dump is not what it was"],
        "passed_over": {},
        "restored": None,
    }
    code, _, err = run(project, capfd, "backup", "verify", backup.name[:-1])
    assert code == 2
    assert f"did you mean {backup.name}?" in err


def test_backup_prune_takes_away_the_oldest(project, capfd):
    first, second = updater(project).backup(), updater(project).backup()
    assert run(project, capfd, "backup", "prune")[:2] == (0, "Nothing to take away.\n")
    dry = run(project, capfd, "backup", "prune", "--keep", "1", "--dry-run")
    assert dry[:2] == (0, f"1 backup would be taken away:\n  {first.name}\n")
    assert run(project, capfd, "backup", "prune", "--keep", "0")[0] == 2
    code, out, _ = run(project, capfd, "backup", "prune", "--keep", "1", "--json")
    assert (code, json.loads(out)) == (0, {"pruned": [first.name]})
    assert names(project) == [second.name]


@pytest.mark.parametrize(
    ("words", "line", "document"),
    [
        ((), "Backup  the database is dumped to {0} before each update that is not atomic", "database"),
        (("--no-backup",), "Backup  NONE is made: an update that is not atomic and fails half-way", "declined"),
    ],
)
def test_a_dry_run_says_which_backup_would_be_made(project, capfd, words, line, document):
    code, out, _ = run(project, capfd, "update", "--dry-run", *words)
    assert code == 0
    assert " ".join(line.format(folder(project)).split()) in " ".join(out.split())
    plan = json.loads(run(project, capfd, "update", "--dry-run", "--json", *words)[1])["plan"]
    assert plan["backup"]["scope"] == document


def test_full_is_announced_too(make_project, capfd):
    project = at_v1(make_project(section={"backup": "full"}))
    out = run(project, capfd, "update", "--dry-run")[1]
    assert f"Backup first both halves are copied to {folder(project)}" in " ".join(out.split())


def test_no_backup_is_an_option_of_update_and_downgrade(project, capfd):
    assert run(project, capfd, "update", "--yes", "--no-backup")[0] == 0
    assert run(project, capfd, "downgrade", "v1", "--yes", "--no-backup")[0] == 0
    assert names(project) == []


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (9_940, "9.9 kB"),
        (12_345, "12 kB"),
        (999_999, "1.0 MB"),
        (5e13, "50 TB"),
    ],
)
def test_sizes_are_told_as_people_say_them(number, text):
    assert copies.size(number) == text


def test_progress_is_told_with_rate_and_time_left():
    details = {"done": 1_200_000_000, "total": 3_400_000_000, "unit": "bytes", "rate": 120_000_000, "left": 18.3}
    assert amount(Event("progress", "", details=details)) == "1.2 GB of 3.4 GB, 120 MB/s, 18 s left"
    assert amount(Event("progress", "", details={**details, "left": 0.0})) == "1.2 GB of 3.4 GB, 120 MB/s"


def test_what_nobody_can_tell_the_end_of_is_told_so_far():
    """A dump of a server is of another format than its database: nobody knows how long it will be."""
    now, seen = [0.0], []
    pace = ByteMeter(seen.append, None, clock=lambda: now[0])
    now[0] = 10.0
    pace(2_000_000)
    assert seen == [{"done": 2_000_000, "total": None, "unit": "bytes", "rate": 200_000, "left": 0.0}]
    assert amount(Event("progress", "", details=seen[0])) == "2.0 MB so far, 200 kB/s"


def test_the_pace_tells_rate_and_time_left():
    now, seen = [0.0], []
    pace = ByteMeter(seen.append, 1000, clock=lambda: now[0])
    pace(100)
    assert seen == []
    now[0] = 2.0
    pace(100)
    assert seen == [{"done": 200, "total": 1000, "unit": "bytes", "rate": 100, "left": 8.0}]
    pace.finish()
    assert seen[-1] == {"done": 200, "total": 200, "unit": "bytes", "rate": 100, "left": 0.0}


def test_the_first_bytes_do_not_tell_how_long_the_rest_takes():
    now, seen = [0.0], []
    pace = ByteMeter(seen.append, 1_000_000, clock=lambda: now[0])
    now[0] = 1.0
    pace(10)
    now[0] = 2.0
    pace(9_990)
    assert [details["left"] for details in seen] == [0.0, 198.0]


def test_a_manifest_and_its_policy_words_are_stable():
    manifest = replace(
        made("name", 1).manifest,
        listing=Stored("files.jsonl", 3, "cd"),
        extra_dirs=("media",),
        database_file=FileAttributes(0o640, 1, 2, {"user.name": "dmFsdWU="}),
        serial=3,
        version_table="alembic_version",
        schema="app",
        settings=(("setting", "", "work_mem", "5MB"),),
        cautions=("the rows of the foreign table there are not in it",),
    )
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert [*Policy] == ["auto", "full", "never"]
    assert [*Scope] == ["full", "database"]
