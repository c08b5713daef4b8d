"""What the ledger says, and how the ledgers of both halves compare."""

import dataclasses

import pytest

from fietsupdate.planning.history import PairingKind, applied_set, closed, compare, current_of, unknown_of
from support.instances import database, entry, files, graph_of, ledger, update

CHAIN = graph_of(update("a"), update("b", "a"), update("c", "b"))
"""a - b - c"""

FORK = graph_of(update("a"), update("b", "a"), update("c", "a"), update("m", "b", "c"))
r"""
a - b - m
 \- c -/
"""


@pytest.mark.parametrize(
    ("history", "applied"),
    [
        ("", ""),
        ("a b", "a b"),
        ("a b -b", "a"),
        ("a b -b b", "a b"),
        ("=b", "a b"),
        ("a b c =a", "a"),
        ("a =b c", "a b c"),
        ("a b =base", ""),
        ("=c -c", "a b"),
        ("=a =c", "a b c"),
    ],
)
def test_the_ledger_is_folded(history, applied):
    assert applied_set(ledger(history), CHAIN) == frozenset(applied.split())


def test_stamp_entries_of_one_transaction_belong_together():
    assert applied_set(ledger("m =b+c"), FORK) == {"a", "b", "c"}


def test_a_second_stamp_replaces_the_first():
    assert applied_set(ledger("=b+c =b"), FORK) == {"a", "b"}


def test_unknown_ids_stay_applied_until_they_are_reverted():
    assert applied_set(ledger("a ghost =b+spirit"), FORK) == {"a", "b", "spirit"}
    assert applied_set(ledger("a ghost -ghost"), FORK) == {"a"}


@pytest.mark.parametrize(
    ("applied", "current"),
    [("", ""), ("a", "a"), ("a b", "b"), ("a b c", "b c"), ("a b c m", "m"), ("a m", "m"), ("a z y", "a y z")],
)
def test_current_is_what_no_applied_update_comes_after_and_what_is_unknown(applied, current):
    assert current_of(frozenset(applied.split()), FORK) == tuple(current.split())


def test_base_is_nothing_and_not_unknown():
    assert closed(["base"], CHAIN) == frozenset()
    assert unknown_of(["base", "a", "z", "y"], CHAIN) == ("y", "z")


def kind_of(files_view, database_view, graph=CHAIN):
    return compare(files_view, database_view, graph).kind


@pytest.mark.parametrize(
    ("ours", "theirs", "kind"),
    [
        ("", "", PairingKind.NEW),
        ("a b", "a b", PairingKind.PAIRED),
        ("a", "a b", PairingKind.FILES_OLDER),
        ("a b", "a", PairingKind.DATABASE_OLDER),
        ("a b", "a -a", PairingKind.DIVERGED),
        ("", "a", PairingKind.FILES_WITHOUT_LEDGER),
        ("a", "", PairingKind.DATABASE_WITHOUT_LEDGER),
    ],
)
def test_two_ledgers_are_compared_like_two_branches(ours, theirs, kind):
    assert kind_of(files(ours), database(theirs)) is kind


def test_the_older_half_is_named_with_what_it_lacks():
    pairing = compare(files("a"), database("a b c"), CHAIN)
    assert pairing.behind == 2
    assert pairing.common == entry(1, "a")
    assert pairing.files_entry == entry(1, "a")
    assert pairing.database_entry == entry(3, "c")


def test_diverged_ledgers_show_the_first_entry_that_differs():
    other = (*ledger("a"), dataclasses.replace(entry(2, "b"), actor="www-data"), entry(3, "c"))
    pairing = compare(files("a b c"), database(entries=other), CHAIN)
    assert pairing.kind is PairingKind.DIVERGED
    assert pairing.common == entry(1, "a")
    assert pairing.files_entry == entry(2, "b")
    assert pairing.database_entry == other[1]


def test_halves_of_different_instances_share_nothing():
    pairing = compare(files("a"), database(entries=(entry(1, "a", txn="other"),)), CHAIN)
    assert (pairing.kind, pairing.common) == (PairingKind.DIVERGED, None)


def test_entries_are_compared_by_their_canonical_text():
    """A driver that gives a string where the file has an enum has still given the same entry."""
    read_back = tuple(dataclasses.replace(one, direction=str(one.direction)) for one in ledger("a b"))
    assert kind_of(files("a b"), database(entries=read_back)) is PairingKind.PAIRED


def test_a_data_directory_that_is_not_there_is_not_one_without_ledger():
    assert kind_of(files(exists=False), database("a")) is PairingKind.FILES_MISSING


@pytest.mark.parametrize("half", [files("a"), files(version="a")])
def test_a_missing_sqlite_file_that_there_once_was_is_told(half):
    assert kind_of(half, database(exists=False)) is PairingKind.DATABASE_MISSING


def test_a_missing_sqlite_file_of_a_new_instance_is_nothing_special():
    assert kind_of(files(), database(exists=False)) is PairingKind.NEW


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("b", PairingKind.ADOPTABLE),
        ("b\nb", PairingKind.ADOPTABLE),
        ("", PairingKind.NEW),
        (None, PairingKind.NEW),
        ("v99.0", PairingKind.VERSION_UNKNOWN),
        ("b\nv99.0", PairingKind.VERSION_UNKNOWN),
        ("Release: 4 (2019)", PairingKind.VERSION_FOREIGN),
        ("b\nRelease: 4", PairingKind.VERSION_UNKNOWN),
    ],
)
def test_version_without_a_ledger_is_judged_by_the_ids_in_it(version, kind):
    assert kind_of(files(version=version), database()) is kind


@pytest.mark.parametrize("version", [None, ""])
def test_an_alembic_version_without_ledger_and_version_is_unrecorded(version):
    assert kind_of(files(version=version), database(at="r1")) is PairingKind.UNRECORDED


def test_an_application_without_updates_has_nothing_to_record():
    assert kind_of(files(), database(at="r1"), graph_of()) is PairingKind.NEW


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("b", PairingKind.PAIRED),
        ("b\nb", PairingKind.PAIRED),
        (None, PairingKind.PAIRED),
        ("a", PairingKind.VERSION_DISAGREES),
        ("c", PairingKind.VERSION_DISAGREES),
        ("", PairingKind.VERSION_DISAGREES),
        ("a\nb", PairingKind.VERSION_DISAGREES),
    ],
)
def test_version_must_say_what_the_ledger_says(version, kind):
    assert kind_of(files("a b", version=version), database("a b")) is kind


def test_version_of_newer_code_may_name_less_than_older_code_computes():
    """For a - b - ghost: older code cannot know that `ghost` comes after `b`."""
    assert kind_of(files("a b ghost", version="ghost"), database("a b ghost")) is PairingKind.PAIRED
    assert kind_of(files("a b ghost", version="spirit"), database("a b ghost")) is PairingKind.VERSION_DISAGREES
