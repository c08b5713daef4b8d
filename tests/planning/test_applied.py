"""What is applied and current after one update more or less is what a fresh look at the whole would say."""

from hypothesis import given
from hypothesis import strategies as st

from fietsupdate.planning.applied import AppliedSet
from fietsupdate.planning.graph import build
from fietsupdate.planning.history import current_of
from support.fake_updater import make_update


@st.composite
def graphs(draw):
    """A DAG of up to nine updates, each after some of those before it."""
    size = draw(st.integers(1, 9))
    before = [draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else () for number in range(size)]
    return build([make_update(f"u{n}", *(f"u{m}" for m in sorted(ms))) for n, ms in enumerate(before)], ["updates"])


@given(graphs(), st.data())
def test_one_update_more_or_less_is_as_computed_from_nothing(graph, data):
    """Also where the applied set has gaps, as a stamp may leave them, and ids without a script."""
    ids = st.sampled_from([*graph.dag.order, "removed"])
    applied = AppliedSet.of(data.draw(st.sets(ids)), graph)
    for update_id, is_more in data.draw(st.lists(st.tuples(ids, st.booleans()), max_size=12)):
        applied = applied.plus(update_id) if is_more else applied.minus(update_id)
        assert applied == AppliedSet.of(applied.ids, graph)
        assert applied.current == current_of(applied.ids, graph)


def test_an_update_more_does_not_walk_through_those_before_it():
    """A chain of 5,000: each step looks at one parent."""
    graph = build([make_update(f"u{n:05}", *([f"u{n - 1:05}"] if n else [])) for n in range(5000)], ["updates"])
    looked = []

    class Watched(dict):
        def __getitem__(self, key):
            looked.append(key)
            return super().__getitem__(key)

    applied = AppliedSet.of(graph.dag.order[:4000], graph)
    object.__setattr__(graph.dag, "parents", Watched(graph.dag.parents))
    applied = applied.plus("u04000").plus("u04001").minus("u04001")
    assert applied.current == ("u04000",)
    assert len(looked) == 3
