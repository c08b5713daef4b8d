"""What others may have written is read as if a stranger had: no command waits for it, follows it out, or obeys it."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import signal
import socket
import subprocess
import tempfile
import time
import uuid
import zlib
from pathlib import Path

import pytest

from fietsupdate.backup.manifest import Manifest
from fietsupdate.errors import FilesError
from fietsupdate.filesystem import layout
from fietsupdate.filesystem.journal import cleanup
from fietsupdate.filesystem.journal.record import Record
from fietsupdate.filesystem.ledger import read_entries
from fietsupdate.model import Entry, fingerprint
from support.databases import POSTGRESQL, SQLITE, create
from support.file_transactions import HEADER, begin, recover, somebody_else
from support.projects import Project, result_of

OWNER, MEMBER, GROUP = 4712, 4713, 4714
HOME = ".fietsupdate"
EVIL = "\x1b]0;pwned\x07\x9b31mEVIL\u202e\x7f"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def place():
    """A folder that everybody may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
def project(place):
    """A project with one update applied."""
    return applied(place, "project")


def applied(place, name, **section):
    project = Project.create(place / name, create(SQLITE, place), section=section)
    project.revision("r1", None, "op.create_table('t', sa.Column('id', sa.Integer, primary_key=True))")
    project.update("u1", (), "r1", up_post="self.files.write('hello.txt', 'hello')")
    project.run("update", "--yes").succeeded()
    return project


def give(folder, uid, gid=None):
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, uid if gid is None else gid, follow_symlinks=False)


def run_as(project, uid, *words, groups=()):
    """Run a command as another user, who owns the database's folder."""
    command = ["setpriv", f"--reuid={uid}", f"--regid={uid}"]
    command += [f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups"]
    done = subprocess.run(
        [*command, project.python, "-m", "fietsupdate", *words],
        cwd=project.root,
        env={**project._environment({}), "HOME": "/"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


# -- a journal that its owner has forged


def forge(project, *records, uid):
    """Write a transaction as the user `uid` can: one that the database has never seen, so that it is undone."""
    ((instance,),) = project.database.execute("SELECT instance_id FROM fietsupdate_instance")
    entries, _, _ = read_entries(layout.ledger_file(project.data))
    txn = str(uuid.uuid4())
    folder = layout.open_folder(project.data) / txn
    with somebody_else(uid, uid):
        (folder / "vault").mkdir(parents=True)
        for path in (folder.parent, folder):
            path.chmod(0o700)
        transaction = {
            "txn": txn,
            "instance_id": instance,
            "tip_seq": len(entries),
            "tip_hash": fingerprint(entries),
            "update_id": "u2",
            "direction": "up",
            "atomic": True,
            "own_connections": False,
        }
        root = {"path": str(project.data), "inode": project.data.stat().st_ino, "folder_inode": folder.stat().st_ino}
        body = json.dumps({"format": 1, "transaction": transaction, "roots": {"": root}}, sort_keys=True)
        (folder / "header").write_text(f"{body}\n{zlib.crc32(body.encode()):08x}\n")
        lines = b"".join(json.dumps(record).encode() + b"\n" for record in records)
        mark = f'{{"at":0,"n":{len(records)},"crc":"{zlib.crc32(lines):08x}"}}'
        (folder / "journal").write_bytes(lines + mark.ljust(71).encode() + b"\n")
        progress = f"{0:016d} {0:08d} 0"
        (folder / "progress").write_text(f"{progress} {zlib.crc32(progress.encode()):08x}\n")
    return folder


def look_at(path):
    status = path.stat()
    return ["folder" if path.is_dir() else "file", status.st_size, status.st_mtime_ns, status.st_ino]


@as_root
@pytest.mark.parametrize("what", ["a mode outside", "a file outside", "a program of root's"])
def test_root_follows_a_forged_journal_with_the_rights_of_its_owner_only(project, place, what):
    """Each record is one that root could carry out, and that the owner of the data directory could not."""
    secret, folder, mine = place / "secret", place / "folder", project.data / "mine"
    secret.write_text("root's own")
    secret.chmod(0o600)
    folder.mkdir()
    mine.write_text("program")
    give(project.data, OWNER)
    wide = [0o777, OWNER, OWNER, 5, {}]
    record = {
        "a mode outside": {"do": "meta", "path": str(secret), "was": look_at(secret), "meta": wide},
        "a file outside": {"do": "move", "path": str(folder / "moved"), "other": "mine", "was": look_at(mine)},
        "a program of root's": {"do": "meta", "path": "mine", "was": look_at(mine), "meta": [0o4755, 0, 0, 5, {}]},
    }[what]
    forge(project, record, uid=OWNER)
    project.run("recover", "--as-root")
    assert secret.read_text() == "root's own"
    assert (secret.stat().st_mode & 0o7777, secret.stat().st_uid) == (0o600, 0)
    assert list(folder.iterdir()) == []
    assert {path.stat().st_uid for path in project.data.rglob("mine")} == {OWNER}


@as_root
def test_what_the_owner_could_undo_himself_root_undoes_for_him(project):
    """The same journal, without anything forged: a new file goes, and the journal with it."""
    give(project.data, OWNER)
    with somebody_else(OWNER, OWNER):
        (project.data / "new").write_text("new")
    forge(project, {"do": "create", "path": "new", "now": look_at(project.data / "new")}, uid=OWNER)
    project.run("recover", "--as-root").succeeded()
    assert not (project.data / "new").exists()
    assert project.run("check").code == 0


@pytest.mark.parametrize(
    "record",
    [
        {"do": "meta", "path": "/etc/passwd"},
        {"do": "meta", "path": "../x"},
        {"do": "meta", "path": "a//b"},
        {"do": "meta", "path": "a/.fietsupdate/b"},
        {"do": "meta", "path": ".fietsupdate"},
        {"do": "mkdir", "path": ""},
        {"do": "remove", "path": "a\0b"},
        {"do": "append", "path": "a", "size": 0},
        {"do": "append", "path": ".fietsupdate/lock", "size": 0},
        {"do": "move", "path": "/a", "other": "/b"},
        {"do": "move", "path": "/a/../b", "other": "b"},
        {"do": "move", "path": "a", "other": "../b"},
        {"do": "remove", "path": "a", "vault": "b"},
        {"do": "remove", "path": "a", "vault": f"{HOME}/txn/{HEADER.txn}/vault/../1"},
        {"do": "remove", "path": "a", "vault": f"{HOME}/txn/{uuid.UUID(int=1)}/vault/1"},
        {"do": "remove", "path": "a", "vault": f"../{HOME}/txn/{HEADER.txn}/vault/1"},
        {"do": "remove", "path": "a", "vault": f"/{HOME}/txn/{HEADER.txn}/vault/1"},
        {"do": "replace", "path": "a", "draft": "/etc/passwd", "vault": f"{HOME}/txn/{HEADER.txn}/vault/1"},
    ],
)
def test_a_record_that_leads_elsewhere_is_none(record):
    with pytest.raises(ValueError, match="it names"):
        Record.from_json(json.dumps(record).encode()).check_paths(HEADER.txn)


@pytest.mark.parametrize(
    "record",
    [
        {"do": "folder", "path": ""},
        {"do": "append", "path": f"{HOME}/ledger.jsonl", "size": 0},
        {"do": "move", "path": "/outside/a", "other": "b"},
        {"do": "move", "path": "a", "other": "/outside/b"},
        {"do": "remove", "path": "mount/a", "vault": f"mount/{HOME}/txn/{HEADER.txn}/vault/ff"},
        {"do": "symlink", "path": "a", "other": "../b"},
    ],
)
def test_a_record_of_what_an_update_does_is_one(record):
    Record.from_json(json.dumps(record).encode()).check_paths(HEADER.txn)


@pytest.mark.parametrize(
    "text",
    [
        '{"do":"meta","path":5}',
        '{"do":"meta","path":"a","was":["file","0",0,0]}',
        '{"do":"meta","path":"a","was":["file",0]}',
        '{"do":"meta","path":"a","meta":["755",0,0,0,{}]}',
        '{"do":"meta","path":"a","more":1}',
        '{"do":"meta"}',
        "[" * 100_000,
        "null",
    ],
)
def test_what_is_no_record_ends_in_one_kind_of_error(text):
    with pytest.raises(ValueError):  # noqa: PT011  # whatever its words are
        Record.from_json(text.encode())


def test_a_ledger_and_a_manifest_of_any_other_shape_end_in_one_kind_of_error():
    for read in (Entry.from_json, Manifest.from_json):
        for text in ("[" * 100_000, "null", "[]", "5", '{"seq":"1","direction":"up"}', '{"format":1}'):
            with pytest.raises(ValueError):  # noqa: PT011
                read(text)


def test_a_journal_that_leads_elsewhere_is_doubt_before_anything_is_touched(data_dir):
    transaction = begin(data_dir)
    transaction.files.write("a", "new")
    transaction.changes.journal.append([Record.from_json(b'{"do":"mkdir","path":"../elsewhere"}')])
    (data_dir.parent / "elsewhere").mkdir()
    with pytest.raises(FilesError, match=r"it names '\.\./elsewhere'") as caught:
        recover(data_dir)
    assert caught.value.stands == "Nothing was changed."
    assert (data_dir / "a").read_text() == "new"
    assert (data_dir.parent / "elsewhere").exists()


# -- our folder


@as_root
@pytest.mark.parametrize("trick", ["symlink", "folder of his", "open folder of ours"])
def test_who_may_write_to_the_data_directory_cannot_put_another_folder_in_the_place_of_ours(project, place, trick):
    """A deploy user and a member of his group, for whom the data directory is open."""
    home, real, victim = project.data / HOME, project.data / "away", place / "victim"
    give(project.root, OWNER)
    give(place, OWNER)
    os.chown(project.data, OWNER, GROUP)
    project.data.chmod(0o2775)
    victim.mkdir(mode=0o700)
    os.chown(victim, OWNER, OWNER)
    project.update("u2", "u1", "r1", up_post="self.files.write('new', 'x')")
    with somebody_else(MEMBER, GROUP):
        home.rename(real)
        if trick == "symlink":
            home.symlink_to(victim)
        elif trick == "folder of his":
            home.mkdir(mode=0o700)
            home.chmod(0o777)
    if trick == "open folder of ours":
        home.mkdir()
        os.chown(home, OWNER, GROUP)
        home.chmod(0o2770)
    for command in (("update", "--yes"), ("status",)):
        code, told = run_as(project, OWNER, *command, groups=(GROUP,))
        assert code == 1, told
        assert str(home) in told
        assert "Next:" in told
    assert list(victim.iterdir()) == []
    assert not (project.data / "new").exists()
    home.unlink() if trick == "symlink" else home.rmdir()
    real.rename(home)
    code, told = run_as(project, OWNER, "update", "--yes", groups=(GROUP,))
    assert code == 0, told
    assert (project.data / "new").read_text() == "x"


def test_a_folder_of_ours_that_others_may_only_read_is_closed_by_the_next_run(project):
    (project.data / HOME).chmod(0o755)
    project.run("status").succeeded()
    project.run("backup").succeeded()
    assert (project.data / HOME).stat().st_mode & 0o777 == 0o700


def test_an_open_folder_of_ours_is_used_again_after_what_the_message_says(project):
    (project.data / HOME).chmod(0o777)
    told = project.run("update", "--yes").exited(1).told
    assert (
        f"Next: If you trust them with all of these files, close it: `chmod -R go-rwx {project.data / HOME}`." in told
    )
    subprocess.run(["chmod", "-R", "go-rwx", str(project.data / HOME)], check=True)
    project.run("update", "--yes").succeeded()


@as_root
def test_a_container_with_any_user_in_a_folder_of_the_group_works_on(project, place):
    """The data directory belongs to somebody else; what this user makes in it is his own."""
    (project.root / "own").mkdir()
    give(project.root, OWNER, GROUP)
    for path in (project.root, project.data, *project.root.rglob("*")):
        if HOME not in path.parts and not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o2070 if path.is_dir() else 0o060))
    project.database.file.chmod(0o666)
    place.chmod(0o777)
    os.chown(project.data / HOME, MEMBER, GROUP)
    give(project.data / HOME, MEMBER, GROUP)
    os.chown(project.data, OWNER, GROUP)
    project.update("u2", "u1", "r1", up_post="self.files.write('hello.txt', 'new')")
    code, told = run_as(project, MEMBER, "update", "--yes", groups=(GROUP,))
    assert code == 0, told
    code, told = run_as(project, MEMBER, "downgrade", "u1", "--yes", groups=(GROUP,))
    assert code == 0, told
    assert run_as(project, MEMBER, "check", groups=(GROUP,))[0] == 3


@as_root
@pytest.mark.parametrize("ending", ["raise ValueError", "import os; os.kill(os.getpid(), 9)"])
def test_root_undoes_what_it_did_for_somebody_else_also_in_folders_that_are_not_his(project, ending):
    """What root has begun only root can have written, so root takes it back with all rights."""
    (project.data / "mixed").mkdir()
    (project.data / "mixed" / "file").write_text("root's")
    os.chown(project.data, OWNER, OWNER)
    give(project.data / HOME, OWNER)
    os.chown(project.data / "hello.txt", OWNER, OWNER)
    body = "self.files.write('mixed/file', 'new')\nself.files.remove('hello.txt')\n"
    project.update("u2", "u1", "r1", up_post=f"{body}(self.data_dir / 'mixed' / 'more').write_text('x')\n{ending}")
    project.run("update", "--yes", "--as-root")
    if "kill" in ending:
        give(project.database.file, OWNER)
        os.chown(project.root, OWNER, OWNER)
        code, told = run_as(project, OWNER, "recover")
        assert code == 1
        assert "fietsupdate recover --as-root" in told
        project.run("recover", "--as-root").succeeded()
    assert (project.data / "mixed" / "file").read_text() == "root's"
    assert not (project.data / "mixed" / "more").exists()
    assert (project.data / "hello.txt").stat().st_uid == OWNER
    assert not layout.open_folder(project.data).exists()
    assert [
        str(path)
        for path in (project.data / HOME).rglob("*")
        if path.stat().st_uid != OWNER and "found" not in path.parts
    ] == []


@as_root
def test_a_vault_that_root_has_kept_is_emptied_by_the_owner(project):
    give(project.data, OWNER)
    project.update("u2", "u1", "r1", up_post="(self.data_dir / 'hello.txt').unlink()", atomic=False)
    project.run("update", "--yes", "--as-root").succeeded()
    (kept,) = layout.kept_folder(project.data).iterdir()
    assert {path.stat().st_uid for path in (kept, *kept.iterdir())} == {OWNER}
    with somebody_else(OWNER, OWNER):
        assert cleanup.purge(project.data) == (kept.name,)
    assert cleanup.rubbish(project.data) == ()


@as_root
def test_what_is_to_be_emptied_is_not_looked_for_through_a_link(project, place):
    """The owner of the data directory leads root to a folder of root's."""
    victim = place / "victim"
    (victim / "folder").mkdir(parents=True)
    (victim / "folder" / "file").touch()
    give(project.data, OWNER)
    for name in ("done", "kept", "txn", "rehearsals"):
        (project.data / HOME / name).symlink_to(victim)
    for command in ("recover", "rehearse", "backup"):
        project.run(command, "--as-root")
    assert (victim / "folder" / "file").exists()
    assert list(victim.iterdir()) == [victim / "folder"]


@as_root
def test_a_note_of_a_maintenance_file_makes_root_remove_none_of_root_s(project, place):
    secret = place / "secret"
    secret.write_text(f"it has the token {'a' * 16}")
    (project.data / HOME / "maintenance").write_text(json.dumps({"path": str(secret), "token": "a" * 16}))
    give(project.data, OWNER)
    project.run("recover", "--as-root")
    assert secret.exists()


@as_root
def test_a_ledger_that_is_another_name_of_a_file_of_root_s_is_not_written(project, place):
    secret = place / "secret"
    secret.write_text("")
    give(project.data, OWNER)
    ledger = layout.ledger_file(project.data)
    project.update("u2", "u1", "r1")
    secret.write_bytes(ledger.read_bytes())
    before = secret.read_bytes()
    ledger.unlink()
    os.link(secret, ledger)
    project.run("update", "--yes", "--as-root").exited(1)
    assert secret.read_bytes() == before


# -- what is no file


def fifo(path):
    os.mkfifo(path)


def endless(path):
    path.symlink_to("/dev/zero")


def large(path):
    with path.open("wb") as file:
        file.truncate(1 << 40)


def folder(path):
    path.mkdir()


def spring(path):
    listening = socket.socket(socket.AF_UNIX)
    here = os.open(path.parent, os.O_RDONLY)
    try:
        listening.bind(f"/proc/self/fd/{here}/{path.name}")
    finally:
        os.close(here)
        listening.close()


@pytest.mark.parametrize("made", [fifo, endless, large, folder, spring])
def test_nothing_that_is_no_file_of_ours_holds_a_command_up(project, made):
    """In the place of each file that is read back: the commands end, and those that read say which file it is."""
    project.run("backup").succeeded()
    (backup,) = (project.data / HOME / "backups").iterdir()
    txn = layout.open_folder(project.data) / HEADER.txn
    (project.data / HOME / "restore").mkdir()
    txn.mkdir(parents=True)
    slow = [
        (project.data / "VERSION", ("status",), "VERSION"),
        (layout.ledger_file(project.data), ("status",), "ledger.jsonl"),
        (backup / "manifest.json", ("backup", "list"), "manifest"),
        (txn / "header", ("status",), HEADER.txn),
        (project.data / HOME / "restore" / "journal", ("status",), "restore/journal"),
        (project.data / HOME / "maintenance", ("status",), ""),
        (layout.lock_file(project.data), ("recover",), "lock"),
    ]
    for path, command, named in slow:
        away = path.with_name("away")
        if path.exists():
            path.rename(away)
        made(path)
        began = time.monotonic()
        told = project.run(*command).output
        assert time.monotonic() - began < 30
        if not (made is large and path.name == "lock"):  # a regular file of any size can be locked
            assert named in told
        path.rmdir() if path.is_dir() else path.unlink()
        if away.exists():
            away.rename(path)


@pytest.mark.parametrize("name", ["VERSION", f"{HOME}/ledger.jsonl"])
def test_every_command_ends_on_the_first_sigterm(project, name):
    """Whatever stands in the place of a file, the error that a signal ends in looks at it again."""
    project.update("u2", "u1", "r1", up_post="print('ready', flush=True)\nimport time\ntime.sleep(60)")
    running = project.start("update", "--yes")
    while "ready" not in running.stderr.readline():
        assert running.poll() is None
    (project.data / name).unlink()
    os.mkfifo(project.data / name)
    running.send_signal(signal.SIGTERM)
    result_of(running).exited(143)


# -- folders that two instances share


def test_two_instances_that_share_a_further_root_leave_each_other_s_transactions_alone(place):
    media = place / "media"
    media.mkdir()
    one, other = (applied(place, name, extra_dirs=f"media={media}") for name in ("one", "other"))
    one.update("u2", "u1", "r1", up_post="self.files.write('hello.txt', 'x')\nimport os\nos.kill(os.getpid(), 9)")
    other.update("u2", "u1", "r1", up_post="self.dirs['media'].write('new', 'new')")
    assert one.run("update", "--yes").code == -9
    other.run("update", "--yes").succeeded()
    other.run("recover", "--purge", "--yes").succeeded()
    one.run("recover").succeeded()
    assert (one.data / "hello.txt").read_text() == "hello"
    assert (media / "new").read_text() == "new"
    assert not (media / HOME).exists()


def test_an_instance_in_the_further_root_of_another_leaves_its_transactions_alone(place):
    """The further root of one is the data directory of the other."""
    other = applied(place, "other")
    one = applied(place, "one", extra_dirs=f"other={other.data}")
    one.update("u2", "u1", "r1", up_post="self.files.write('a', 'x')\nimport os\nos.kill(os.getpid(), 9)")
    assert one.run("update", "--yes").code == -9
    other.update("u2", "u1", "r1")
    other.run("update", "--yes").succeeded()
    one.run("recover").succeeded()
    assert not (one.data / "a").exists()


# -- the lock


@pytest.mark.parametrize("kind", [SQLITE, POSTGRESQL])
def test_a_lock_whose_file_is_deleted_still_holds(make_project, kind):
    project = make_project(kind=kind)
    project.revision("r1")
    project.update("u1", (), "r1")
    project.run("update", "--yes").succeeded()
    hook = (
        f"{project.trace('begins')}\nwhile not (self.data_dir.parent / 'go').exists(): __import__('time').sleep(0.01)"
    )
    project.update("u2", "u1", "r1", up_post=hook, atomic=False)
    running = project.start("update", "--yes")
    while "begins" not in project.traces():
        assert running.poll() is None
    layout.lock_file(project.data).unlink()
    refused = project.run("update", "--yes", "--lock-timeout", "0").exited(8)
    assert "is updating" in refused.told
    assert project.run("status", "--json").json["state"] == "updating"
    (project.root / "go").touch()
    result_of(running).succeeded()
    assert project.traces() == ["begins"]


# -- what reaches the terminal


def raw(text):
    return [character for character in EVIL if not character.isalnum() and character not in "]0;" and character in text]


def test_no_control_sequence_of_a_name_or_a_message_reaches_the_terminal(project):
    project.run("backup").succeeded()
    (backup,) = (project.data / HOME / "backups").iterdir()
    manifest = json.loads((backup / "manifest.json").read_text())
    (backup / "manifest.json").write_text(json.dumps({**manifest, "current": [EVIL], "app_version": EVIL}))
    name = EVIL.replace("/", "")
    project.update(
        "u2", "u1", "r1", up_post=f"self.tell({EVIL!r})\nself.files.write({name!r}, '')\nraise ValueError({EVIL!r})"
    )
    project.database.execute("UPDATE fietsupdate_ledger SET actor = :evil", evil=EVIL)
    (project.data / "VERSION").write_text(EVIL)
    told = project.run("status").output + project.run("history").output + project.run("backup", "list").output
    (project.data / "VERSION").write_text("u1")
    entry = json.loads(layout.ledger_file(project.data).read_text())
    layout.ledger_file(project.data).write_text(
        json.dumps({**entry, "actor": EVIL}, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
    )
    failed = project.run("--traceback", "update", "--yes").output
    assert "EVIL" in told
    assert r"\x1b]0;pwned\x07" in failed
    assert raw(told + failed + project.run("status", "--json").output) == []


def test_the_moving_line_of_a_terminal_shows_control_characters_as_text(project):
    project.update(
        "u2", "u1", "r1", up_post=f"for _ in self.progress([1, 2], description={EVIL!r}): self.tell({EVIL!r})"
    )
    controller, terminal = pty.openpty()
    running = subprocess.Popen(
        [project.python, "-m", "fietsupdate", "update", "--yes"],
        cwd=project.root,
        env={**project._environment({}), "TERM": "xterm"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    try:
        while piece := os.read(controller, 4096):
            shown += piece
    except OSError:
        pass
    os.close(controller)
    assert running.wait() == 0
    text = shown.decode()
    assert r"\x1b]0;pwned\x07" in text
    assert "\x1b]0;pwned" not in text
    assert not {"\x07", "\x9b", "\u202e", "\x7f"} & set(text)


# -- backups in the data directory


def test_a_folder_for_backups_in_the_data_directory_is_refused_by_whatever_name(place):
    media = place / "media"
    media.mkdir()
    project = applied(place, "project", extra_dirs=f"media={media}")
    (place / "link").symlink_to(project.data)
    (project.data / "backups").mkdir()
    for dest in (project.data / "backups", place / "link" / "new", media / "backups", project.data / HOME / "restore"):
        told = project.run("backup", str(dest)).exited(1).told
        assert f"Backups cannot go to {dest}" in told
        assert "backup_dir =" in told
    assert list((project.data / "backups").iterdir()) == []
    assert not (project.data / "new").exists()
    project.run("backup", str(project.data / HOME / "backups")).succeeded()


def test_a_restore_by_path_keeps_the_other_backups_beside_it(project):
    """As an earlier version has made them, in the data directory."""
    project.run("backup").succeeded()
    (first,) = (project.data / HOME / "backups").iterdir()
    inside = project.data / "backups"
    inside.mkdir()
    subprocess.run(["cp", "-a", str(first), str(inside / "one")], check=True)
    subprocess.run(["cp", "-a", str(first), str(inside / "two")], check=True)
    project.run("restore", str(inside / "one"), "--yes").succeeded()
    assert sorted(path.name for path in inside.iterdir()) == ["one", "two"]
    assert (inside / "two" / "manifest.json").exists()


@as_root
def test_a_backup_of_somebody_else_gives_nobody_a_program_of_root_s(project):
    (project.data / "program").write_text("#!/bin/sh")
    give(project.data, OWNER)
    project.run("backup", "--as-root").succeeded()
    (backup,) = (project.data / HOME / "backups").iterdir()
    lines = [json.loads(line) for line in (backup / "files.jsonl").read_text().splitlines()]
    forged = [[*line[:5], 0o4755, 0, 0, *line[8:]] if line[1] == "program" else line for line in lines]
    text = "".join(json.dumps(line) + "\n" for line in forged)
    (backup / "files.jsonl").write_text(text)
    manifest = json.loads((backup / "manifest.json").read_text())
    manifest["listing"].update(size=len(text), sha256=hashlib.sha256(text.encode()).hexdigest())
    (backup / "manifest.json").write_text(json.dumps(manifest))
    project.run("restore", "--latest", "--yes", "--as-root").succeeded()
    assert (project.data / "program").stat().st_mode & 0o6000 == 0


def test_a_transaction_whose_folder_is_taken_away_meanwhile_is_not_called_nothing(project, place):
    (place / "elsewhere").mkdir()
    swap = f"mv {HOME} ours; ln -s {place / 'elsewhere'} {HOME}"
    hook = f"subprocess.run({swap!r}, shell=True, cwd=self.data_dir)\nself.files.write('new', 'x')"
    project.update("u2", "u1", "r1", up_post=f"import subprocess\n(self.data_dir / 'old').write_text('x')\n{hook}")
    told = project.run("update", "--yes").exited(1).told
    assert (project.data / "old").exists()
    assert "Nothing was changed" not in told
    assert "What stands of u2 is not known" in told
    (project.data / HOME).unlink()
    (project.data / "ours").rename(project.data / HOME)
    project.run("recover").succeeded()
    assert not (project.data / "old").exists()
