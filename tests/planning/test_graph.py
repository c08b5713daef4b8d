"""The DAG and the graph of updates: order, heads, and what is refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fietsupdate.errors import GraphError
from fietsupdate.model import Update
from fietsupdate.planning.graph import CycleError, Dag, build, closest


def update(update_id, *previous, folder="updates", name=None):
    return Update(
        update_id=update_id,
        previous=previous,
        alembic_revisions=(),
        folder=folder,
        path=Path("/app", folder, name or f"{update_id}.py"),
        checksum="",
        id_line=3,
        previous_line=4,
    )


@st.composite
def parent_maps(draw, most=12):
    """Random DAGs: each id comes after some of the ids that were drawn before it; listed in any order."""
    names = [f"n{number}" for number in range(draw(st.integers(0, most)))]
    parents = {name: draw(st.lists(st.sampled_from(names[:i]))) if i else [] for i, name in enumerate(names)}
    return {name: parents[name] for name in draw(st.permutations(names))}


def test_parents_come_first():
    r"""An order starts at the root and ends at the merge.

    a - c - d
      \ b /
    """
    assert Dag({"d": ["b", "c"], "c": ["a"], "b": ["a"], "a": []}).order == ("a", "c", "b", "d")


def test_ties_go_by_the_order_of_the_mapping():
    assert Dag({"z": [], "a": [], "m": []}).order == ("z", "a", "m")


def test_an_empty_dag_has_an_empty_order():
    assert Dag({}).order == ()
    assert Dag({}).heads() == ()


def test_a_parent_named_twice_counts_once():
    dag = Dag({"a": [], "b": ["a", "a"]})
    assert dag.parents["b"] == ("a",)
    assert dag.children["a"] == ("b",)
    assert dag.order == ("a", "b")


def test_a_dag_cannot_be_changed_from_outside():
    parents = {"a": [], "b": ["a"]}
    dag = Dag(parents)
    parents["c"] = []
    assert dag.order == ("a", "b")
    with pytest.raises(TypeError):
        dag.parents["c"] = ()


def test_a_parent_that_does_not_exist_is_named():
    with pytest.raises(GraphError, match="'b' comes after 'x', which does not exist"):
        Dag({"b": ["x"]})


def test_heads_have_nothing_after_them():
    r"""The ends of both branches are heads.

    a - b
      \ c - d
    """
    dag = Dag({"a": [], "b": ["a"], "c": ["a"], "d": ["c"]})
    assert dag.heads() == ("b", "d")
    assert dag.heads({"a", "c"}) == ("c",)
    assert dag.heads({"a", "unknown"}) == ("a",)
    assert dag.heads(()) == ()


def test_a_head_among_some_looks_beyond_the_others():
    """Among a and c of a - b - c, only c is a head, although neither names the other."""
    assert Dag({"a": [], "b": ["a"], "c": ["b"]}).heads({"a", "c"}) == ("c",)


def test_ancestors_and_descendants_include_their_start_and_leave_out_strangers():
    r"""The merge comes after both sides; e stands alone.

    a - b - d
      \ c /   e
    """
    dag = Dag({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": []})
    assert dag.ancestors(["d", "stranger"]) == {"a", "b", "c", "d"}
    assert dag.descendants(["c"]) == {"c", "d"}
    assert dag.ancestors(["b", "e"]) == {"a", "b", "e"}
    assert dag.ancestors([]) == frozenset()


def test_sort_keeps_what_is_known_in_order():
    assert Dag({"b": [], "a": ["b"]}).sort({"a", "b", "x"}) == ("b", "a")
    assert "a" in Dag({"a": []})
    assert len(Dag({"a": []})) == 1


def test_a_cycle_is_told_without_what_merely_hangs_on_it():
    r"""Only three ids go around; x waits for one of them.

    root   x - a -> c -> b -> a   (after; x waits for a)
    """
    with pytest.raises(CycleError) as caught:
        Dag({"root": [], "x": ["a"], "a": ["c", "root"], "b": ["a"], "c": ["b"]})
    assert caught.value.cycle == ("a", "c", "b")
    assert caught.value.message == "There is a cycle: a -> c -> b -> a."
    assert caught.value.details == {"cycle": ["a", "c", "b"]}


def test_a_long_chain_needs_no_deep_stack():
    count = 20_000
    dag = Dag({str(number): [str(number - 1)] if number else [] for number in reversed(range(count))})
    assert dag.order == tuple(map(str, range(count)))
    assert len(dag.ancestors([str(count - 1)])) == count
    assert dag.heads() == (str(count - 1),)


@given(parent_maps())
def test_every_order_is_complete_and_topological(parents):
    order = Dag(parents).order
    assert sorted(order) == sorted(parents)
    place = {member: number for number, member in enumerate(order)}
    assert all(place[parent] < place[member] for member in parents for parent in parents[member])


@given(parent_maps())
def test_every_place_in_the_order_goes_to_the_first_that_may_come(parents):
    """The rule of ties, said in another way: at each place, nothing listed earlier was ready."""
    rank = list(parents)
    done = []
    for member in Dag(parents).order:
        ready = [one for one in rank if one not in done and set(parents[one]) <= set(done)]
        assert member == ready[0]
        done.append(member)


@given(parent_maps(), st.data())
def test_ancestors_and_descendants_mirror_each_other(parents, data):
    dag = Dag(parents)
    ids = data.draw(st.lists(st.sampled_from(sorted(parents)))) if parents else []
    for one in parents:
        assert (one in dag.ancestors(ids)) == bool(dag.descendants([one]) & set(ids))


@given(parent_maps(), st.data())
def test_heads_of_a_set_lead_to_all_of_it_and_not_to_each_other(parents, data):
    dag = Dag(parents)
    within = set(data.draw(st.lists(st.sampled_from(sorted(parents))))) if parents else set()
    heads = dag.heads(within)
    assert within <= dag.ancestors(heads)
    assert all(dag.descendants([head]) & within == {head} for head in heads)


@given(parent_maps(), st.data())
def test_closing_a_circle_is_always_noticed(parents, data):
    if not parents:
        return
    dag = Dag(parents)
    early = data.draw(st.sampled_from(dag.order))
    late = data.draw(st.sampled_from(dag.sort(dag.descendants([early]))))
    with pytest.raises(CycleError) as caught:
        Dag({**parents, early: [*parents[early], late]})
    cycle = caught.value.cycle
    edges = {(member, parent) for member in parents for parent in parents[member]} | {(early, late)}
    assert all(pair in edges for pair in zip(cycle, (*cycle[1:], cycle[0]), strict=True))
    assert len(set(cycle)) == len(cycle)


def test_ties_go_by_folder_then_by_id():
    updates = [
        update("b", folder="two"),
        update("c", folder="one"),
        update("a", folder="two"),
        update("d", folder="one"),
    ]
    assert build(updates, ["one", "two"]).dag.order == ("c", "d", "a", "b")
    assert build(reversed(updates), ["one", "two"]).dag.order == ("c", "d", "a", "b")
    assert build(updates, ["two", "one"]).dag.order == ("a", "b", "c", "d")


def test_ordered_gives_the_updates_themselves():
    first, second = update("z"), update("a", "z")
    graph = build([second, first], ["updates"])
    assert graph.ordered == (first, second)
    assert graph.updates["a"] is second


def test_each_folder_has_heads_of_its_own():
    r"""Folders depend on each other and end in heads of their own.

    core:    a1 - a2
                \
    plugin:      b1 - b2
    """
    graph = build(
        [
            update("a1", folder="core"),
            update("a2", "a1", folder="core"),
            update("b1", "a1", folder="plugin"),
            update("b2", "b1", folder="plugin"),
        ],
        ["core", "plugin"],
    )
    assert graph.heads_of("core") == ("a2",)
    assert graph.heads_of("plugin") == ("b2",)
    assert graph.of("plugin") == {"b1", "b2"}


def test_an_update_of_another_folder_does_not_end_being_head_of_the_own():
    """core: a1, named by plugin: b1."""
    graph = build([update("a1", folder="core"), update("b1", "a1", folder="plugin")], ["core", "plugin"])
    assert graph.heads_of("core") == ("a1",)
    assert graph.dag.heads() == ("b1",)


def test_a_path_over_another_folder_ends_being_head():
    """core: a1 - (plugin: b1) - a2."""
    graph = build(
        [update("a1", folder="core"), update("b1", "a1", folder="plugin"), update("a2", "b1", folder="core")],
        ["core", "plugin"],
    )
    assert graph.heads_of("core") == ("a2",)


def test_a_duplicate_id_names_both_files():
    with pytest.raises(GraphError) as caught:
        build([update("a", name="one.py"), update("a", name="two.py"), update("b")], ["updates"])
    assert caught.value.message == (
        "update_id 'a' stands in more than one script: /app/updates/one.py:3, /app/updates/two.py:3"
    )
    assert caught.value.hint == "Give each script an id of its own, or delete the copy."


def test_duplicates_across_folders_are_found_too():
    with pytest.raises(GraphError, match=r"/app/one/a\.py:3, /app/two/a\.py:3"):
        build([update("a", folder="two"), update("a", folder="one")], ["one", "two"])


def test_an_unknown_previous_names_file_line_and_id_and_what_was_meant():
    with pytest.raises(GraphError) as caught:
        build([update("v0.4.0"), update("v0.5.0", "v0.40"), update("x", "qqqqqqqq")], ["updates"])
    assert caught.value.message == (
        "/app/updates/v0.5.0.py:4: previous of 'v0.5.0' names 'v0.40', which no update script has as its update_id; "
        "did you mean 'v0.4.0'?\n"
        "/app/updates/x.py:4: previous of 'x' names 'qqqqqqqq', which no update script has as its update_id."
    )


def test_a_forgotten_folder_is_told_without_comparing_everything_to_everything():
    updates = [update(f"plugin-{number:05}", f"core-{number:05}") for number in range(3000)]
    with pytest.raises(GraphError) as caught:
        build(updates, ["updates"])
    assert len(caught.value.message.splitlines()) == 3000


def test_a_cycle_names_ids_and_files():
    """Two updates wait for each other: a -> b -> a; the root is fine."""
    with pytest.raises(CycleError) as caught:
        build([update("root"), update("a", "root", "b"), update("b", "a")], ["updates"])
    assert caught.value.message == (
        "The updates form a cycle: a -> b -> a.\n"
        "/app/updates/a.py:4: 'a' comes after 'b'\n"
        "/app/updates/b.py:4: 'b' comes after 'a'"
    )
    assert caught.value.cycle == ("a", "b")
    assert caught.value.exit_code == 1


def test_an_update_that_names_itself_is_a_cycle():
    with pytest.raises(CycleError, match="a -> a"):
        build([update("a", "a")], ["updates"])


@pytest.mark.parametrize(("word", "meant"), [("v0.40", "v0.4.0"), ("zzzz", ""), ("v0.5", "v0.5.0")])
def test_the_closest_id_is_suggested(word, meant):
    assert closest(word, {"v0.4.0", "v0.5.0", "initial"}) == meant
