"""What is taken for strays, and what for a table that is empty or a volume that is not mounted."""

from __future__ import annotations

import pytest

from fietsupdate.planning.strays import Counted, Shown, refusal

FEW = Shown(("a",), 100)


def code(strays: Shown, *references: Counted, typed: int | None = None) -> str:
    problem = refusal(strays, references, typed)
    return problem.code if problem is not None else ""


@pytest.mark.parametrize(
    ("rows", "missing", "bare", "refused"),
    [
        (0, 0, True, False),
        (1, 1, True, True),
        (1, 1, False, False),
        (2, 2, False, False),
        (3, 3, False, True),
        (3, 2, False, False),
        (10, 5, False, False),
        (10, 6, False, True),
        (1000, 499, False, False),
    ],
)
def test_a_root_looks_unmounted_where_all_or_most_files_are_missing(rows, missing, bare, refused):
    strays = Shown(("a",), 100, frozenset({"media"}) if bare else frozenset())
    found = code(strays, Counted("The table t", "", 100, 1), Counted("The table u", "media", rows, missing))
    assert found == ("root_unmounted" if refused else "")


def test_references_of_one_root_count_together():
    one, other = Counted("The table t", "", 3, 3), Counted("The table u", "", 300, 0)
    assert code(FEW, one) == "root_unmounted"
    assert code(FEW, one, other) == ""


def test_no_number_makes_an_empty_table_a_full_one():
    assert code(FEW, Counted("The table t", "", 0, 0, ("a",)), typed=1) == "empty_table"


@pytest.mark.parametrize(
    ("strays", "owned", "typed", "refused"),
    [
        (0, 0, None, ""),
        (1, 10, None, ""),
        (1, 9, None, "many_strays"),
        (1, 9, 1, ""),
        (2, 9, 1, "strays_differ"),
        (1, 100, 2, "strays_differ"),
        (0, 100, 2, ""),
    ],
)
def test_more_than_a_tenth_needs_the_exact_number(strays, owned, typed, refused):
    assert code(Shown(tuple(map(str, range(strays))), owned), typed=typed) == refused
