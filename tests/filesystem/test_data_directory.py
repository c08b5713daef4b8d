"""What one look at a data directory says."""

import pytest

from fietsupdate.filesystem.ledger import inspect_files, read_entries, version_text
from fietsupdate.model import Direction, Entry


def entry(seq):
    return Entry(seq, f"t{seq}", f"u{seq}", Direction.UP, "c", "2026-01-01T00:00:00.000Z", 5, "1.0", "0.1", "me")


def write_ledger(data_dir, *lines, end="\n"):
    (data_dir / ".fietsupdate").mkdir(exist_ok=True)
    (data_dir / ".fietsupdate" / "ledger.jsonl").write_text("\n".join(lines) + end)


def test_an_empty_data_directory_has_neither_version_nor_ledger(tmp_path):
    view = inspect_files(tmp_path, "VERSION")
    assert (view.exists, view.version, view.entries, view.has_ledger, view.damaged) == (True, None, (), False, "")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_data_directory_is_an_answer(tmp_path):
    view = inspect_files(tmp_path / "missing", "VERSION")
    assert (view.exists, view.version, view.has_ledger, view.holder) == (False, None, False, None)


def test_entries_are_read_in_their_order(tmp_path):
    write_ledger(tmp_path, entry(1).to_json(), entry(2).to_json())
    view = inspect_files(tmp_path, "VERSION")
    assert view.entries == (entry(1), entry(2))
    assert view.has_ledger
    assert view.damaged == ""


def test_an_incomplete_last_line_is_damage_and_the_entries_before_it_are_read(tmp_path):
    write_ledger(tmp_path, entry(1).to_json(), entry(2).to_json()[:20], end="")
    view = inspect_files(tmp_path, "VERSION")
    assert view.entries == (entry(1),)
    assert view.damaged == f"The last line of {tmp_path}/.fietsupdate/ledger.jsonl is incomplete."


@pytest.mark.parametrize("line", ["no json", "[]", "{}", '{"seq": 2}', "\ufffd"])
def test_a_line_that_is_no_entry_is_named(tmp_path, line):
    write_ledger(tmp_path, entry(1).to_json(), line, entry(3).to_json())
    view = inspect_files(tmp_path, "VERSION")
    assert view.entries == (entry(1),)
    assert view.damaged == f"Line 2 of {tmp_path}/.fietsupdate/ledger.jsonl is not a ledger entry."


def test_a_missing_entry_is_named(tmp_path):
    write_ledger(tmp_path, entry(1).to_json(), entry(3).to_json())
    assert (
        inspect_files(tmp_path, "VERSION").damaged
        == f"Line 2 of {tmp_path}/.fietsupdate/ledger.jsonl has the number 3."
    )


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("v1", ("v1",)),
        ("v1\nv2", ("v1", "v2")),
        (" v1 \n\n  v2\r\nv1\n", ("v1", "v2")),
        ("", ()),
        ("gr\u00fcn", ("gr\u00fcn",)),
    ],
)
def test_a_version_file_is_read_with_blanks_and_doubles(tmp_path, text, ids):
    (tmp_path / "VERSION").write_text(text, encoding="utf-8")
    assert inspect_files(tmp_path, "VERSION").version == ids


def test_a_version_file_that_is_not_text_is_an_answer(tmp_path):
    (tmp_path / "VERSION").write_bytes(b"\xff\xfe")
    assert inspect_files(tmp_path, "VERSION").version == ("\ufffd\ufffd",)


def test_no_version_file_is_looked_for_when_none_is_configured(tmp_path):
    (tmp_path / "VERSION").write_text("v1")
    view = inspect_files(tmp_path, "")
    assert (view.version, view.version_path) == (None, None)


def test_the_version_file_is_written_one_id_a_line_without_a_newline_at_the_end():
    assert version_text(["v1", "v2"]) == "v1\nv2"


def test_a_second_look_parses_only_what_was_added(tmp_path, monkeypatch):
    """The hash of what is known decides: a changed byte in it, or a shorter file, is read from the start."""
    parsed = []
    real = Entry.from_json
    monkeypatch.setattr(Entry, "from_json", lambda text: parsed.append(text) or real(text))
    path = tmp_path / "ledger.jsonl"
    lines = [f"{entry(number).to_json()}\n" for number in range(1, 6)]

    def read():
        parsed.clear()
        entries, _, damage = read_entries(path)
        return len(entries), len(parsed), damage

    path.write_text("".join(lines[:3]))
    assert read() == (3, 3, "")
    assert read() == (3, 0, "")
    path.write_text("".join(lines))
    assert read() == (5, 2, "")
    path.write_text("".join(lines) + '{"seq": 6')
    assert read() == (5, 0, f"The last line of {path} is incomplete.")
    path.write_text("".join(lines).replace("u1", "u7", 1))
    assert read() == (5, 5, "")
    path.write_text("".join(lines[:2]))
    assert read() == (2, 2, "")
