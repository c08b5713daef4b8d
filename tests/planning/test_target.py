"""What can be typed as TARGET, and what each refusal says."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fietsupdate.errors import PlanError, TargetError
from fietsupdate.model import Update
from fietsupdate.planning.graph import build
from fietsupdate.planning.target import find, resolve_down, resolve_up


def graph_of(*folders, **parents):
    """A graph by id: previous ids, or (folder, previous ids)."""
    updates = []
    for key, value in parents.items():
        folder, previous = value if isinstance(value, tuple) else ("updates", value)
        updates.append(Update(key, tuple(previous), (), folder, Path(f"/app/{folder}/{key}.py"), ""))
    return build(updates, folders or ["updates"])


CHAIN = graph_of(a1=[], b2=["a1"], c3=["b2"], d4=["c3"])
FORK = graph_of(root=[], left=["root"], right=["root"])
NONE = frozenset()


def up(graph, target, *applied):
    return resolve_up(graph, frozenset(applied), target)


def down(graph, target, *applied):
    return resolve_down(graph, frozenset(applied), target)


@pytest.mark.parametrize("target", [None, "head", "heads", "d4", "d"])
def test_one_chain_has_one_end(target):
    """Whatever is typed leads to the end of a1 - b2 - c3 - d4."""
    assert up(CHAIN, target) == ("d4",)
    assert up(CHAIN, target, "a1", "b2", "c3", "d4") == ("d4",)


def test_a_graph_without_updates_needs_nothing():
    assert up(graph_of(), None) == ()
    assert up(graph_of(), "heads") == ()
    assert down(graph_of(), "base") == NONE


def test_an_applied_target_is_no_error():
    assert up(CHAIN, "a1", "a1", "b2") == ("a1",)


@pytest.mark.parametrize("target", [None, "head"])
def test_two_heads_in_one_folder_are_refused_and_named(target):
    r"""Nobody said which side is meant.

    root - left
         \ right
    """
    with pytest.raises(PlanError) as caught:
        up(FORK, target, "root", "left")
    assert caught.value.message == "The folder 'updates' has 2 heads: 'left', 'right'."
    assert caught.value.hint == (
        "Type `fietsupdate update heads` to apply them all, or `fietsupdate update ID` with one of them. "
        "Developers join them by a new update: `fietsupdate revision --merge`."
    )


@pytest.mark.parametrize("target", [None, "head"])
def test_two_heads_that_are_both_applied_are_nothing_to_do(target):
    assert up(FORK, target, "root", "left", "right") == ("left", "right")


def test_heads_means_all_of_them():
    assert up(FORK, "heads") == ("left", "right")


def test_one_head_of_two_can_be_named():
    assert up(FORK, "right") == ("right",)


def test_each_folder_goes_to_its_own_head():
    r"""Folders depend on each other and end in heads of their own.

    core:    a1 - a2
                \
    plugin:      b1
    """
    graph = graph_of("core", "plugin", a1=("core", []), a2=("core", ["a1"]), b1=("plugin", ["a1"]))
    assert up(graph, None) == ("a2", "b1")


def test_a_fork_that_another_folder_merges_is_none():
    r"""The plugin's only head needs both heads of the core.

    core:    a1   a2
               \ /
    plugin:     b1
    """
    graph = graph_of("core", "plugin", a1=("core", []), a2=("core", []), b1=("plugin", ["a1", "a2"]))
    assert up(graph, None) == ("b1",)


def test_a_fork_in_one_folder_is_refused_even_if_the_other_folder_is_fine():
    graph = graph_of("core", "plugin", a1=("core", []), b1=("plugin", []), b2=("plugin", []))
    with pytest.raises(PlanError, match=r"^The folder 'plugin' has 2 heads: 'b1', 'b2'\.$"):
        up(graph, None)


def test_an_exact_id_beats_a_prefix():
    graph = graph_of(v1=[], v10=["v1"], v11=["v10"])
    assert find(graph, "v1") == "v1"
    assert find(graph, "v11") == "v11"


def test_a_unique_prefix_is_enough():
    assert find(CHAIN, "c") == "c3"


def test_an_ambiguous_prefix_lists_what_it_fits():
    graph = graph_of(v10=[], v11=["v10"], w=["v11"])
    with pytest.raises(TargetError) as caught:
        find(graph, "v1")
    assert caught.value.message == "'v1' is the beginning of 2 ids: 'v10', 'v11'."
    assert caught.value.details == {"candidates": ["v10", "v11"]}
    assert caught.value.exit_code == 2


def test_a_long_list_of_candidates_is_shortened():
    graph = graph_of(**{f"v{number:02}": [] for number in range(12)})
    with pytest.raises(TargetError, match=r"'v09' and 2 more\."):
        find(graph, "v")


def test_an_unknown_target_suggests_what_was_meant():
    with pytest.raises(TargetError) as caught:
        up(graph_of(release=[], other=["release"]), "relaese")
    assert caught.value.message == "There is no update 'relaese'; did you mean 'release'?"


@pytest.mark.parametrize("target", ["qqqq", "+", "-x", "@head", "+1x", "+" + "9" * 5000])
def test_a_target_that_is_nothing_is_unknown(target):
    with pytest.raises(TargetError, match=r"^There is no update '"):
        up(CHAIN, target)


@pytest.mark.parametrize(
    ("target", "said"), [("", "An empty id names no update."), ("f:", "'f:' names a package, but no update of it.")]
)
def test_a_target_without_an_id_is_told(target, said):
    with pytest.raises(TargetError) as caught:
        up(graph_of("f", a=("f", [])), target)
    assert caught.value.message == said


def test_an_applied_update_without_script_is_told_apart_from_a_typo():
    with pytest.raises(TargetError, match="'ghost' is applied, but no update script with this id is known"):
        down(CHAIN, "ghost", "a1", "ghost")


def test_plus_counts_from_what_is_applied():
    assert up(CHAIN, "+1") == ("a1",)
    assert up(CHAIN, "+2", "a1") == ("b2", "c3")
    assert up(CHAIN, "+3", "a1") == ("b2", "c3", "d4")


@pytest.mark.parametrize(
    ("applied", "text"), [([], "4 updates are"), (["a1", "b2", "c3"], "1 update is"), (CHAIN.updates, "no updates are")]
)
def test_plus_beyond_the_end_says_how_many_there_are(applied, text):
    with pytest.raises(TargetError, match=rf"^'\+5' goes too far: {text} pending\.$"):
        up(CHAIN, "+5", *applied)


def test_steps_are_counted_from_one():
    with pytest.raises(TargetError, match="does not go anywhere"):
        up(CHAIN, "+0")
    with pytest.raises(TargetError, match="does not go anywhere"):
        down(CHAIN, "-0", "a1")


@pytest.mark.parametrize(("target", "instead"), [("-1", "downgrade -1"), ("base", "downgrade base")])
def test_update_does_not_go_back(target, instead):
    with pytest.raises(TargetError) as caught:
        up(CHAIN, target, "a1")
    assert f"`fietsupdate {instead}`" in caught.value.hint


@pytest.mark.parametrize("target", ["+1", "head", "heads"])
def test_downgrade_does_not_go_forward(target):
    with pytest.raises(TargetError):
        down(CHAIN, target, "a1")


def test_minus_takes_the_last_applied_ones():
    assert down(CHAIN, "-1", "a1", "b2", "c3") == {"c3"}
    assert down(CHAIN, "-3", "a1", "b2", "c3") == {"a1", "b2", "c3"}


def test_minus_beyond_the_beginning_says_how_many_there_are():
    with pytest.raises(TargetError, match=r"^'-3' goes too far: 2 updates are applied\.$"):
        down(CHAIN, "-3", "a1", "b2")


def test_minus_counts_no_ghosts():
    with pytest.raises(TargetError, match=r"1 update is applied"):
        down(CHAIN, "-2", "a1", "ghost")


def test_base_reverts_everything_that_is_known():
    assert down(CHAIN, "base", "a1", "b2", "ghost") == {"a1", "b2"}


def test_downgrade_keeps_its_target():
    assert down(CHAIN, "b", "a1", "b2", "c3", "d4") == {"c3", "d4"}


def test_downgrade_to_where_one_is_reverts_nothing():
    assert down(CHAIN, "b2", "a1", "b2") == NONE


def test_downgrade_reverts_exactly_the_dependants():
    r"""The sibling of the target is none of its dependants.

    root - left  - more
         \ right
    """
    graph = graph_of(root=[], left=["root"], more=["left"], right=["root"])
    assert down(graph, "left", "root", "left", "more", "right") == {"more"}
    assert down(graph, "root", "root", "left", "right") == {"left", "right"}


def test_downgrade_past_a_merge_takes_the_merge_and_leaves_the_other_side():
    r"""The right side does not need the merge.

    root - left  - merge
         \ right /
    """
    graph = graph_of(root=[], left=["root"], right=["root"], merge=["left", "right"])
    assert down(graph, "left", "root", "left", "right", "merge") == {"merge"}


def test_downgrade_to_what_is_not_applied_is_refused():
    with pytest.raises(TargetError, match="'c3' is not applied"):
        down(CHAIN, "c3", "a1", "b2")


@st.composite
def instances(draw):
    """A random graph, and a set of applied updates that is closed under `previous`."""
    names = [f"n{number}" for number in range(draw(st.integers(1, 10)))]
    graph = graph_of(**{n: draw(st.lists(st.sampled_from(names[:i]))) if i else [] for i, n in enumerate(names)})
    return graph, graph.dag.ancestors(draw(st.lists(st.sampled_from(names))))


@given(instances(), st.data())
def test_what_stays_after_a_downgrade_has_everything_that_it_needs(instance, data):
    graph, applied = instance
    steps = [f"-{number}" for number in range(1, len(applied) + 1)]
    target = data.draw(st.sampled_from(["base", *steps, *sorted(applied)]))
    stays = applied - resolve_down(graph, applied, target)
    assert graph.dag.ancestors(stays) == stays


@given(instances(), st.data())
def test_plus_n_applies_exactly_n(instance, data):
    graph, applied = instance
    pending = len(graph.updates) - len(applied)
    number = data.draw(st.integers(1, 10))
    if number > pending:
        with pytest.raises(TargetError):
            resolve_up(graph, applied, f"+{number}")
    else:
        reached = graph.dag.ancestors(resolve_up(graph, applied, f"+{number}")) | applied
        assert len(reached) == len(applied) + number
