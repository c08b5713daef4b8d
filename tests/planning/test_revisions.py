"""The arithmetic of Alembic revisions."""

import pytest

from fietsupdate.errors import PlanError
from fietsupdate.planning.revisions import RevisionTree
from support.instances import LINE, database, graph_of, update

BRANCHED = {"r1": (), "r2a": ("r1",), "r2b": ("r1",), "r3": ("r2a", "r2b"), "p1": (), "p2": ("p1", "r2a")}
r"""
r1 - r2a - r3       p1 - p2, which depends on r2a
  \- r2b -/
"""


def tree_of(revisions, labels=None):
    return RevisionTree(revisions, labels or {})


def test_what_is_lacking_stops_at_what_the_database_has():
    tree = tree_of(BRANCHED)
    assert tree.lacking(["r3"], {"r1", "r2a"}) == {"r2b", "r3"}
    assert tree.lacking(["r2a"], {"r1", "r2a"}) == frozenset()


def test_a_dependency_across_branches_is_lacking_too():
    assert tree_of(BRANCHED).lacking(["p2"], set()) == {"p1", "p2", "r1", "r2a"}


def test_what_builds_on_a_revision_goes_with_it_as_far_as_the_database_has_it():
    tree = tree_of(BRANCHED)
    assert tree.above(["r2a"], {"r1", "r2a", "r2b", "r3"}) == {"r2a", "r3"}
    assert tree.above(["r2a"], {"p1", "p2", "r1", "r2a"}) == {"p2", "r2a"}
    assert tree.above(["r3"], {"r1"}) == frozenset()


def test_revisions_are_sorted_into_the_order_in_which_they_run():
    assert tree_of(BRANCHED).sort({"r3", "r1", "r2b", "r2a"}) == ("r1", "r2a", "r2b", "r3")


def test_a_merge_of_updates_needs_the_revisions_of_both():
    tree = tree_of(BRANCHED)
    assert tree.needed_by([update("a", at="r2a"), update("b", at="r2b")]) == {"r1", "r2a", "r2b"}


def test_an_update_without_requirement_needs_nothing():
    assert tree_of(BRANCHED).needed_by([update("a")]) == frozenset()


def test_a_database_file_that_is_not_there_lets_each_named_revision_stand_for_itself():
    graph = graph_of(update("a", at="r1"), update("b", "a", at="r2 p1"))
    tree = RevisionTree.of(database(exists=False, tree={}), graph)
    assert tree.lacking(["r2"], set()) == {"r2"}
    assert "p1" in tree


@pytest.mark.parametrize(
    ("revision", "advice"),
    [
        ("c9398", "'c9398' is the beginning of 'c939800af428'; write the full revision id."),
        ("main", "'main' is a branch label; write the full revision id: 'c939800af428'."),
        ("head", "Write the full revision id: 'c939800af428', '3149aa2d0114'."),
        ("c939800af429", "Did you mean 'c939800af428'?"),
        ("zzz", "`alembic history` lists the revisions of this application."),
    ],
)
def test_an_unknown_revision_is_answered_with_what_was_probably_meant(revision, advice):
    tree = tree_of({"c939800af428": (), "3149aa2d0114": ()}, {"main": ("c939800af428",)})
    assert tree.advice(revision) == advice


def test_a_beginning_of_two_revisions_is_no_advice():
    assert "beginning" not in tree_of({"c1": (), "c2": ()}).advice("c")


def test_every_unknown_revision_is_named_with_file_and_line():
    updates = [update("a", at="r1"), update("b", at="r2 x1", revision_line=11), update("c", at="x2")]
    with pytest.raises(PlanError) as caught:
        tree_of(LINE).demand(updates)
    assert caught.value.message == (
        "/app/updates/upd_b.py:11: update b needs Alembic revision 'x1', which does not exist.\n"
        "/app/updates/upd_c.py:1: update c needs Alembic revision 'x2', which does not exist."
    )
    assert caught.value.stands == "Nothing was changed."
    assert caught.value.details == {"unknown_revisions": ["x1", "x2"]}
