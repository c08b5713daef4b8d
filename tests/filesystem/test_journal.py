"""The journal: batches, its tail, and what is doubt (invariants 1 and 8)."""

import errno
import json
import os
import shutil
import tracemalloc

import pytest

from fietsupdate.errors import FilesError
from fietsupdate.filesystem import ledger
from fietsupdate.filesystem.journal import signatures as looks_module
from fietsupdate.filesystem.journal.journal import Journal, JournalPosition, PlaybackProgress
from fietsupdate.filesystem.journal.record import Do, Record, to_lines
from fietsupdate.filesystem.journal.signatures import Signatures
from fietsupdate.filesystem.posix.metadata import Meta, Seen
from fietsupdate.filesystem.transaction import FileTransaction
from support.file_transactions import HEADER, begin, ours, picture, plant

FULL = Record(
    Do.REPLACE,
    "media",
    "a/\udcff\n\u00fc",
    "other",
    "draft",
    "vault",
    Seen("file", 1, 2, 3),
    Seen("link", 4, 5, 6),
    Meta(0o644, 1, 2, 3, {"user.a": "YQ=="}),
    Meta(0o600, 1, 2, 3),
    7,
)


def records(*names):
    return [Record(Do.MKDIR, "", name) for name in names]


def fail(_descriptor):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def paths_in(journal):
    return [record.path for record in journal.forwards()]


@pytest.fixture
def journal(tmp_path):
    made = Journal(tmp_path)
    yield made
    made.close()


@pytest.fixture
def three_batches(tmp_path):
    """A journal of batches [a, b], [c], [d, e], with nothing written ahead, and where each one ends."""
    made = Journal(tmp_path)
    ends = []
    for names in (["a", "b"], ["c"], ["d", "e"]):
        made.append(records(*names))
        ends.append(made.end)
    made.close()
    os.truncate(tmp_path / "journal", ends[-1])
    return tmp_path, ends


def test_records_come_back_as_they_were_written():
    """Each on a line of its own, also where a path looks like the border of two records, or has a line's end."""
    border = Record(Do.CREATE, "", '},{"do":"a\n},{\\"do":\udcff', draft='},{"do":')
    batch = [FULL, Record(Do.FOLDER, "", ""), border, FULL, border]
    lines = to_lines(batch).splitlines(keepends=True)
    assert [Record.from_json(line) for line in lines] == batch
    assert all(line.startswith(b'{"do":') and line.endswith(b"}\n") for line in lines)
    assert to_lines([]) == b""


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b'{"do":"dance","path":"a"}', b'{"do":"mkdir","no":1}', b"\xff"])
def test_what_is_no_record_is_refused(line):
    with pytest.raises(ValueError, match=r".+"):
        Record.from_json(line)


def test_records_are_read_forwards_and_backwards(three_batches):
    folder, ends = three_batches
    journal = Journal(folder)
    assert paths_in(journal) == ["a", "b", "c", "d", "e"]
    assert [(record.path, after) for record, after in journal.backwards()] == [
        ("e", JournalPosition(ends[2], 1)),
        ("d", JournalPosition(ends[1])),
        ("c", JournalPosition(ends[0])),
        ("b", JournalPosition(ends[0], 1)),
        ("a", JournalPosition(0)),
    ]
    journal.close()


def test_reading_backwards_goes_on_from_every_position(three_batches):
    folder, _ = three_batches
    journal = Journal(folder)
    everything = list(journal.backwards())
    for number, (_, after) in enumerate(everything, start=1):
        assert list(journal.backwards(after)) == everything[number:]
    journal.close()


def test_a_batch_costs_one_sync_however_long_it_is(journal, monkeypatch):
    calls = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: calls.append(real(descriptor)))
    journal.append(records(*map(str, range(1000))))
    assert len(calls) == 1


def test_wherever_the_last_batch_breaks_off_it_is_passed_over(three_batches):
    folder, ends = three_batches
    whole = (folder / "journal").read_bytes()
    for length in range(ends[1], ends[2] - 1):
        middle = (length + ends[2]) // 2
        gap, rest = middle - length, whole[middle:]  # a disk may write the end of what it was given first
        for filler in (b"", b"\0" * gap, b"\n" * 5000, b"\n" * gap + rest, b"\0" * gap + rest + b"\n" * 50, b"\xff\n"):
            (folder / "journal").write_bytes(whole[:length] + filler)
            journal = Journal(folder)
            assert paths_in(journal) == ["a", "b", "c"], length
            journal.append(records("f"))
            journal.close()
            again = Journal(folder)
            assert paths_in(again) == ["a", "b", "c", "f"], length
            again.close()


def test_a_batch_takes_the_place_of_what_was_written_ahead(tmp_path, journal):
    """The length of the file stays, and is no part of the journal; opening it again finds the end."""
    journal.append(records("a"))
    before = os.stat(tmp_path / "journal")
    journal.append(records("b"))
    journal.close()
    again = Journal(tmp_path)
    again.append(records("c"))
    after = os.stat(tmp_path / "journal")
    assert (after.st_size, after.st_blocks) == (before.st_size, before.st_blocks)
    assert again.end < after.st_size < 10_000
    assert paths_in(again) == ["a", "b", "c"]
    again.close()


def test_without_space_to_write_ahead_a_journal_works(journal, monkeypatch):
    def full(descriptor, data, real=os.write):
        if not bytes(data).strip():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    for name in "abc":
        journal.append(records(name))
    assert paths_in(journal) == ["a", "b", "c"]
    assert journal.path.stat().st_size == journal.end


def test_what_a_failed_batch_left_is_gone_when_a_shorter_one_is_appended(journal, monkeypatch):
    journal.append(records("a"))
    with monkeypatch.context() as patches:
        patches.setattr(os, "fdatasync", fail)
        with pytest.raises(FilesError):
            journal.append(records(*"bcdef"))
    journal.close()
    again = Journal(journal.path.parent)  # the disk may have it all the same
    assert paths_in(again) in (["a"], list("abcdef"))
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole[: again.end - 100] + whole[again.end - 99 :])
    again.close()
    again = Journal(journal.path.parent)
    again.append(records("g"))
    again.close()
    again = Journal(journal.path.parent)
    assert paths_in(again) == ["a", "g"]
    again.close()


def test_any_damage_before_the_last_batch_is_doubt(three_batches):
    folder, ends = three_batches
    whole = (folder / "journal").read_bytes()
    for place in range(ends[1]):
        damaged = bytearray(whole)
        damaged[place] ^= 0x01
        (folder / "journal").write_bytes(damaged)
        with pytest.raises(FilesError, match="is damaged between bytes"):
            Journal(folder)


def test_a_batch_that_is_missing_in_the_middle_is_doubt(three_batches):
    folder, ends = three_batches
    whole = (folder / "journal").read_bytes()
    (folder / "journal").write_bytes(whole[: ends[0]] + whole[ends[1] :])
    with pytest.raises(FilesError, match="is damaged"):
        Journal(folder)


def test_after_a_failed_sync_nothing_is_appended_any_more(journal, monkeypatch):
    journal.append(records("a"))
    with monkeypatch.context() as patches:
        patches.setattr(os, "fdatasync", fail)
        with pytest.raises(FilesError, match="could not be made durable: Input/output error"):
            journal.append(records("b"))
    with pytest.raises(FilesError, match="could not be made durable before"):
        journal.append(records("c"))
    assert paths_in(journal) == ["a"]


def test_a_full_disk_leaves_the_journal_as_it_was(journal, monkeypatch):
    def half(descriptor, data, real=os.write):
        if len(data) < 100:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, bytes(data)[:60])

    journal.append(records("a"))
    with monkeypatch.context() as patches:
        patches.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space left"):
            journal.append(records("b" * 100))
    journal.append(records("c"))
    assert paths_in(journal) == ["a", "c"]


def test_progress_is_what_was_written_last(tmp_path):
    progress = PlaybackProgress(tmp_path)
    progress.prepare()
    assert progress.read() is None
    for position in (JournalPosition(1000, 3), JournalPosition(0)):
        progress.write(position)
        assert progress.read() == position


def test_what_is_known_of_many_files_costs_eight_bytes_each(monkeypatch):
    monkeypatch.setattr(looks_module, "_RUN", 500)
    made = Signatures()
    tracemalloc.start()
    try:
        for number in range(4000):
            made.add(Record(Do.MADE, "", f"tracks/{number}", now=Seen("file", 1, 2, number)))
        current, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert current < 4000 * 25  # a look is filed twice
    known = Record(Do.CREATE, "", "tracks/7")
    assert made.know(known, Seen("file", 1, 2, 7))
    assert not any(made.know(known, other) for other in (Seen("file", 1, 3, 7), Seen("file", 1, 2, 8)))


@pytest.fixture
def data_dir(tmp_path):
    path = tmp_path / "data"
    path.mkdir()
    plant(path)
    return path


def interrupted(data_dir, **options):
    """A transaction in which something has happened, left open."""
    transaction = begin(data_dir, **options)
    transaction.files.write("new", b"new")
    transaction.files.remove("one")
    return data_dir / ".fietsupdate" / "txn" / HEADER.txn


def test_the_header_comes_back_and_a_look_shows_it(data_dir):
    interrupted(data_dir)
    assert FileTransaction.reopen(data_dir).header == HEADER
    assert ledger.inspect_files(data_dir, "VERSION").transaction == HEADER


def test_a_look_changes_nothing_of_an_open_transaction(data_dir):
    interrupted(data_dir)
    before = ours(data_dir), picture(data_dir)
    ledger.inspect_files(data_dir, "VERSION")
    assert (ours(data_dir), picture(data_dir)) == before


def test_no_transaction_begins_while_another_is_open(data_dir):
    interrupted(data_dir)
    with pytest.raises(FilesError, match=f"{HEADER.txn} is still open"):
        begin(data_dir)


def doubtful(data_dir, match, **options):
    before = ours(data_dir), picture(data_dir)
    with pytest.raises(FilesError, match=match) as caught:
        FileTransaction.reopen(data_dir, **options)
    assert caught.value.stands == "Nothing was changed."
    assert (ours(data_dir), picture(data_dir)) == before


def test_a_damaged_header_is_doubt(data_dir):
    folder = interrupted(data_dir)
    text = (folder / "header").read_text()
    (folder / "header").write_text(text.replace("u1", "u2"))
    doubtful(data_dir, "no readable header")
    view = ledger.inspect_files(data_dir, "VERSION")
    assert (view.transaction, view.unreadable_header) == (None, HEADER.txn)


def test_a_missing_header_beside_a_journal_is_doubt(data_dir):
    folder = interrupted(data_dir)
    (folder / "header").unlink()
    doubtful(data_dir, "no readable header")


def test_a_missing_journal_beside_a_header_is_doubt(data_dir):
    """It was there before the header: somebody has deleted it, and the vault is all that is left."""
    folder = interrupted(data_dir)
    (folder / "journal").unlink()
    doubtful(data_dir, "The journal of the open transaction .* is missing")
    assert ledger.inspect_files(data_dir, "VERSION").unreadable_header == HEADER.txn


def test_what_is_gone_from_the_vault_is_named_and_all_else_is_put_back(data_dir):
    before = picture(data_dir)
    transaction = begin(data_dir)
    for name in ("new", "VERSION"):
        transaction.files.write(name, b"new")
    transaction.files.remove("tracks")
    shutil.rmtree(data_dir / ".fietsupdate" / "txn" / HEADER.txn / "vault")
    with pytest.raises(FilesError, match=rf"any more: {data_dir}/tracks, {data_dir}/VERSION\.$"):
        FileTransaction.reopen(data_dir).play_back()
    after = picture(data_dir)
    changed = {name for name in before[0].keys() | after[0] if before[0].get(name) != after[0].get(name)}
    assert {name.partition("/")[0] for name in changed} == {"tracks", "VERSION"}
    assert FileTransaction.reopen(data_dir) is None


def test_a_header_of_a_later_format_is_doubt(data_dir, monkeypatch):
    with monkeypatch.context() as patches:
        patches.setattr("fietsupdate.filesystem.journal.header.FORMAT", 3)
        interrupted(data_dir)
    doubtful(data_dir, "has format 3, which this version")


def test_a_damaged_journal_is_doubt(data_dir):
    folder = interrupted(data_dir)
    damaged = (folder / "journal").read_text().replace('"new"', '"old"', 1)
    (folder / "journal").write_text(damaged)
    doubtful(data_dir, "is damaged")


@pytest.mark.parametrize("rest", [None, b"", b"garbage", b"0000000000000000 00000000 1 00000000\n"])
def test_a_progress_that_cannot_be_read_is_doubt(data_dir, rest):
    """Half of it may be undone: what is back already would be taken for a stranger's, and set aside."""
    transaction = begin(data_dir)
    transaction.files.write("old", b"new")
    progress = data_dir / ".fietsupdate" / "txn" / HEADER.txn / "progress"
    progress.unlink() if rest is None else progress.write_bytes(rest)
    with pytest.raises(FilesError, match="is damaged: it says how many of the changes are undone already") as caught:
        FileTransaction.reopen(data_dir).play_back()
    assert caught.value.stands == "Nothing was changed by this command."
    assert (data_dir / "old").read_bytes() == b"new"


def test_nothing_is_committed_when_a_sync_has_failed_and_the_hook_goes_on(data_dir, monkeypatch):
    """Invariant 4: what was to be synced is not known any more."""
    transaction = begin(data_dir)
    transaction.files.write("new", b"1")
    with monkeypatch.context() as patches:
        patches.setattr(os, "fsync", fail)
        with pytest.raises(FilesError, match="could not be made durable: Input/output error"):
            transaction.files.remove("new")
    with pytest.raises(FilesError, match="nothing more can be done in this transaction"):
        transaction.seal()
    assert transaction.play_back() == ()
    assert not (data_dir / "new").exists()


def test_a_copied_data_directory_is_doubt(data_dir, tmp_path):
    """Its vault is a copy, too: the files in it are not those that the journal knows."""
    interrupted(data_dir)
    os.system(f"cp -a {data_dir} {tmp_path}/copy")
    doubtful(tmp_path / "copy", "but a copy")


def test_a_moved_data_directory_is_still_the_same(data_dir, tmp_path):
    before = picture(data_dir)
    interrupted(data_dir)
    data_dir.rename(tmp_path / "moved")
    assert FileTransaction.reopen(tmp_path / "moved").play_back() == ()
    assert picture(tmp_path / "moved")[0].keys() == before[0].keys()


def test_two_open_transactions_are_doubt(data_dir):
    folder = interrupted(data_dir)
    os.system(f"cp -a {folder} {folder}2")
    doubtful(data_dir, "Several transactions lie open")


def test_a_further_root_that_is_another_folder_is_doubt(data_dir, tmp_path):
    media = tmp_path / "media"
    media.mkdir()
    interrupted(data_dir, roots={"media": media})
    media.rename(tmp_path / "unmounted")
    media.mkdir()
    doubtful(data_dir, "does not hold its part", roots={"media": media})


def test_a_data_directory_that_is_not_mounted_takes_nothing_from_the_further_roots(data_dir, tmp_path):
    """What is there of the open transaction is needed when the volume is back."""
    (tmp_path / "media").mkdir()
    roots = {"media": tmp_path / "media"}
    begin(data_dir, roots=roots).files.write("new", b"new")
    data_dir.rename(tmp_path / "volume")
    data_dir.mkdir()
    assert FileTransaction.reopen(data_dir, roots) is None
    data_dir.rmdir()
    (tmp_path / "volume").rename(data_dir)
    assert FileTransaction.reopen(data_dir, roots).play_back() == ()
    assert not (data_dir / "new").exists()


def test_the_journal_is_readable_json(data_dir):
    folder = interrupted(data_dir)
    lines = [json.loads(line) for line in (folder / "journal").read_text().splitlines() if line]
    assert [line.get("do", "mark") for line in lines] == ["folder", "create", "mark", "remove", "mark"]
