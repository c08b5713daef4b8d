"""Plans: which updates, in which order, with which Alembic revisions."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fietsupdate.errors import PlanError, TargetError
from fietsupdate.model import Adoption, Begun, Direction, Phase
from fietsupdate.planning.planner import plan_down, plan_up
from support.instances import LINE, database, files, graph_of, update

CHAIN = graph_of(update("a", at="r1"), update("b", "a", at="r1"), update("c", "b", at="r3"), update("d", "c"))
"""a (r1) - b (r1, a release) - c (r3) - d (none)"""

FORK = graph_of(
    update("a", at="r1"), update("b", "a", at="r2"), update("c", "a", at="r3"), update("m", "b", "c", at="r3")
)
r"""
a (r1) - b (r2) - m (r3)     over one line of revisions: r1 - r2 - r3 - r4
      \- c (r3) -/
"""

DIAMOND = {"r1": (), "r2a": ("r1",), "r2b": ("r1",), "r3": ("r2a", "r2b")}
BRANCHES = graph_of(
    update("a", at="r1"), update("b", "a", at="r2a"), update("c", "a", at="r2b"), update("m", "b", "c", at="r2a r2b")
)
r"""
a (r1) - b (r2a) - m (r2a, r2b)     over branched revisions: r1 - r2a - r3
      \- c (r2b) -/                                             \- r2b -/
"""


def up(graph, target=None, *, history="", at="", tree=None, version=None, **options):
    return plan_up(graph, database(history, at=at, tree=tree, **options), files(history, version=version), target)


def down(graph, target, *, history="", at="", tree=None, version=None, **options):
    return plan_down(graph, database(history, at=at, tree=tree, **options), files(history, version=version), target)


def drawn(plan):
    """Give the steps as ``update: revisions``."""
    return [f"{step.update.update_id}: {' '.join(step.revisions)}".strip() for step in plan.steps]


def refused(call, *arguments, **options):
    with pytest.raises(PlanError) as caught:
        call(*arguments, **options)
    assert caught.value.stands == "Nothing was changed."
    return caught.value


def test_a_new_instance_runs_everything_from_the_root():
    plan = up(CHAIN)
    assert drawn(plan) == ["a: r1", "b:", "c: r2 r3", "d:"]
    assert (plan.direction, plan.target, plan.current, plan.result) == (Direction.UP, ("d",), (), ("d",))
    assert plan.adoption is None


def test_a_new_instance_runs_the_baseline_script_like_any_other():
    plan = up(graph_of(update("a", at="r2", baseline=True), update("b", "a", at="r3")))
    assert drawn(plan) == ["a: r1 r2", "b: r3"]
    assert plan.adoption is None


def test_a_plan_goes_on_from_where_the_ledger_ends():
    plan = up(CHAIN, history="a b", at="r1")
    assert drawn(plan) == ["c: r2 r3", "d:"]
    assert (plan.current, plan.result, plan.tip_seq) == (("b",), ("d",), 2)


def test_nothing_to_do_is_an_empty_plan():
    plan = up(CHAIN, history="a b c d", at="r3")
    assert not plan
    assert (plan.current, plan.result) == (("d",), ("d",))


def test_a_partial_target_brings_what_it_builds_on_and_nothing_else():
    assert drawn(up(FORK, "c")) == ["a: r1", "c: r2 r3"]
    assert drawn(up(FORK, "+2")) == ["a: r1", "b: r2"]


def test_a_fork_over_one_line_of_revisions_runs_each_revision_once():
    assert drawn(up(FORK)) == ["a: r1", "b: r2", "c: r3", "m:"]


def test_a_sibling_whose_revision_another_one_brought_has_nothing_to_run():
    assert drawn(up(FORK, history="a c", at="r3")) == ["b:", "m:"]


def test_a_merge_of_updates_with_different_revisions_works():
    assert drawn(up(BRANCHES, tree=DIAMOND)) == ["a: r1", "b: r2a", "c: r2b", "m:"]


def test_an_update_may_need_an_alembic_merge():
    graph = graph_of(*BRANCHES.ordered[:3], update("m", "b", "c", at="r3"))
    assert drawn(up(graph, history="a c", at="r2b", tree=DIAMOND)) == ["b: r2a", "m: r3"]


def test_several_alembic_heads_are_reached_together():
    """r1 - r2 - r3 - r4 and, apart from it, p1 - p2, which depends on r2."""
    tree = {**LINE, "p1": (), "p2": ("p1", "r2")}
    assert drawn(up(graph_of(update("a", at="r1 p2")), tree=tree)) == ["a: r1 r2 p1 p2"]


def test_folders_of_their_own_each_go_to_their_head():
    graph = graph_of(update("a", at="r1"), update("p", at="r2", folder="plugin"), update("q", "p", folder="plugin"))
    plan = up(graph, history="a", at="r1")
    assert drawn(plan) == ["p: r2", "q:"]
    assert plan.result == ("a", "q")


def test_each_step_says_why_it_is_not_atomic():
    graph = graph_of(update("a", atomic=False), update("b", "a"))
    assert [step.not_atomic for step in up(graph).steps] == ["upd_a.py does not say `atomic = True`", ""]
    reasons = [step.not_atomic for step in up(graph, not_transactional="MariaDB commits at each DDL statement").steps]
    assert reasons == ["upd_a.py does not say `atomic = True`", "MariaDB commits at each DDL statement"]
    back = down(graph, "base", history="a b", not_transactional="MariaDB commits at each DDL statement")
    assert [step.not_atomic for step in back.steps] == reasons[::-1]


def test_an_unknown_revision_is_found_before_anything_changes():
    error = refused(up, graph_of(update("a", at="r1"), update("b", "a", at="r", revision_line=9)))
    assert error.message == "/app/updates/upd_b.py:9: update b needs Alembic revision 'r', which does not exist."


def test_an_unknown_revision_beyond_the_target_harms_nobody():
    assert drawn(up(graph_of(update("a", at="r1"), update("b", "a", at="zzz")), "a")) == ["a: r1"]


def test_two_heads_in_one_folder_are_refused_unless_all_are_meant():
    graph = graph_of(update("a"), update("b", "a"), update("c", "a"))
    with pytest.raises(PlanError, match="has 2 heads: 'b', 'c'"):
        up(graph, history="a")
    assert drawn(up(graph, "heads", history="a")) == ["b:", "c:"]
    assert not up(graph, history="a b c")


# Downgrade


def test_a_downgrade_reverts_the_dependants_of_its_target_and_mirrors_their_revisions():
    plan = down(CHAIN, "a", history="a b c d", at="r3")
    assert drawn(plan) == ["d:", "c: r3 r2", "b:"]
    assert (plan.direction, plan.current, plan.target, plan.result) == (Direction.DOWN, ("d",), ("a",), ("a",))


def test_a_downgrade_to_base_reverts_the_root_as_well():
    plan = down(CHAIN, "base", history="a b c d", at="r3")
    assert drawn(plan) == ["d:", "c: r3 r2", "b:", "a: r1"]
    assert plan.result == ()


def test_a_downgrade_past_a_merge_leaves_the_other_side_alone():
    """What b needs stays, though the other side of the merge goes."""
    plan = down(BRANCHES, "b", history="a b c m", at="r2a r2b", tree=DIAMOND)
    assert drawn(plan) == ["m:"]
    assert plan.result == ("b", "c")
    plan = down(BRANCHES, "-2", history="a b c m", at="r2a r2b", tree=DIAMOND)
    assert drawn(plan) == ["m:", "c: r2b"]


def test_alembic_is_never_taken_back_under_a_sibling_that_stays():
    """First b was applied and brought r2; p came later, and its r3 builds on r2."""
    graph = graph_of(*FORK.ordered[:2], update("p", at="r3", folder="plugin"))
    error = refused(down, graph, "a", history="a b p", at="r3")
    assert error.message == (
        "Update b cannot be reverted alone: Alembic cannot take back revision r2, which update p needs, "
        "and that stays applied."
    )
    assert error.hint == "Revert p as well: name a target before both, or `base`."


def test_an_update_that_found_its_revision_there_may_go_without_it():
    """The other way round: p was applied first and brought r2 and r3, so b ran on r3, and is reverted on it."""
    graph = graph_of(*FORK.ordered[:2], update("p", at="r3", folder="plugin"))
    assert drawn(down(graph, "a", history="a p b", at="r3")) == ["b:"]


def test_the_last_of_two_siblings_is_reverted_with_what_it_brought():
    assert drawn(down(FORK, "-1", history="a b c", at="r3")) == ["c: r3"]


def test_a_fork_is_reverted_as_a_whole():
    assert drawn(down(FORK, "a", history="a b c m", at="r3")) == ["m:", "c: r3", "b: r2"]


def test_revisions_that_build_on_what_goes_go_first():
    """r4 belongs to no update: a developer ran `alembic upgrade head`."""
    assert drawn(down(CHAIN, "b", history="a b c", at="r4")) == ["c: r4 r3 r2"]


def test_updates_without_down_are_named_before_anything_starts():
    graph = graph_of(update("a"), update("b", "a", has_down=False), update("c", "b", has_down=False), update("d", "c"))
    error = refused(down, graph, "a", history="a b c d")
    assert error.message == (
        "Update c cannot be reverted: /app/updates/upd_c.py has no class Down.\n"
        "Update b cannot be reverted: /app/updates/upd_b.py has no class Down."
    )
    assert error.hint == "Restore a backup of both halves from before, if there is one: `fietsupdate backup list`."
    assert drawn(down(graph, "c", history="a b c d")) == ["d:"]


def test_nothing_is_reverted_while_an_applied_update_has_no_script():
    error = refused(down, CHAIN, "base", history="a ghost")
    assert error.message == (
        "Applied, but without a script here: ghost. What depends on what cannot be told, so nothing can be reverted."
    )


def test_a_target_that_is_reached_is_nothing_to_do():
    assert not down(CHAIN, "b", history="a b", at="r1")


def test_a_target_that_is_not_applied_is_refused():
    with pytest.raises(TargetError):
        down(CHAIN, "c", history="a b", at="r1")


# Adoption


def test_an_instance_of_before_is_adopted_by_its_version_file():
    plan = up(CHAIN, version="b", at="r1")
    assert plan.adoption == Adoption(("b",), (), "VERSION names b, and there is no ledger yet")
    assert (drawn(plan), plan.current) == (["c: r2 r3", "d:"], ("b",))


def test_adoption_alone_is_something_to_do():
    plan = up(CHAIN, version="d", at="r3")
    assert plan
    assert plan.steps == ()


def test_a_version_file_with_doubles_and_ancestors_is_adopted_once():
    assert up(CHAIN, version="b\na\nb", at="r1").adoption.update_ids == ("b",)


def test_an_adopted_instance_can_be_downgraded():
    plan = down(CHAIN, "a", version="b", at="r1")
    assert (drawn(plan), plan.adoption.update_ids) == (["b:"], ("b",))


BASELINE = graph_of(update("a", at="r2", baseline=True), update("b", "a", at="r3"))
"""a (r2, baseline) - b (r3)"""


def test_a_database_at_the_baseline_is_stamped_and_goes_on():
    plan = up(BASELINE, at="r2")
    assert plan.adoption == Adoption(
        ("a",), (), "there is no ledger and no VERSION, and the database is at the baseline a or before"
    )
    assert (drawn(plan), plan.current, plan.result) == (["b: r3"], ("a",), ("b",))


def test_a_database_before_the_baseline_is_taken_there_by_alembic_alone():
    plan = up(BASELINE, at="r1")
    assert plan.adoption.revisions == ("r2",)
    assert (drawn(plan), plan.current, plan.result) == (["b: r3"], (), ("b",))


def test_a_database_past_the_baseline_is_not_adopted():
    assert up(BASELINE, at="r3").adoption is None


def test_a_database_that_must_still_reach_its_baseline_is_not_downgraded():
    error = refused(down, BASELINE, "base", at="r1")
    assert error.message == "The instance has no ledger yet and is not quite at its baseline a."
    assert error.hint == "Type `fietsupdate update` first."


def test_the_baseline_of_a_plugin_that_joined_later_runs_like_any_other_update():
    tree = {**LINE, "p1": ()}
    graph = graph_of(*BASELINE.ordered, update("p", at="p1", baseline=True, folder="plugin"))
    plan = up(graph, at="r2", tree=tree)
    assert plan.adoption.update_ids == ("a",)
    assert drawn(plan) == ["b: r3", "p: p1"]


def test_baselines_of_several_folders_are_adopted_together():
    tree = {**LINE, "p1": (), "p2": ("p1",)}
    graph = graph_of(*BASELINE.ordered, update("p", at="p2", baseline=True, folder="plugin"))
    plan = up(graph, at="r2 p1", tree=tree)
    assert (plan.adoption.update_ids, plan.adoption.revisions) == (("a", "p"), ("p2",))
    assert plan.adoption.reason == (
        "there is no ledger and no VERSION, and the database is at the baselines a, p or before"
    )


# Resuming


def begun(update_id, direction=Direction.UP, *finished):
    return Begun(9, "txn-9", update_id, direction, "", finished, "2026-03-09T12:00:00.000Z", "root")


def test_an_interrupted_update_comes_first_and_keeps_its_finished_phases():
    row = begun("c", Direction.UP, Phase.PRE)
    plan = up(CHAIN, history="a b", at="r2", begun=row)
    assert drawn(plan) == ["c: r3", "d:"]
    assert [step.finished for step in plan.steps] == [(Phase.PRE,), ()]
    assert (plan.current, plan.result) == (("b",), ("d",))


def test_a_finished_alembic_phase_is_not_run_again():
    row = begun("c", Direction.UP, Phase.PRE, Phase.ALEMBIC)
    assert drawn(up(CHAIN, history="a b", at="r3", begun=row)) == ["c:", "d:"]


def test_an_interrupted_update_is_finished_even_when_the_target_is_elsewhere():
    plan = up(FORK, "b", history="a", at="r1", begun=begun("c"))
    assert drawn(plan) == ["c: r2 r3", "b:"]
    assert plan.result == ("b", "c")


def test_an_interrupted_downgrade_goes_on():
    row = begun("c", Direction.DOWN, Phase.PRE)
    plan = down(CHAIN, "a", history="a b c", at="r2", begun=row)
    assert drawn(plan) == ["c: r2", "b:"]
    assert plan.steps[0].finished == (Phase.PRE,)


def test_update_does_not_turn_an_interrupted_downgrade_round():
    error = refused(up, CHAIN, history="a b c", at="r3", begun=begun("c", Direction.DOWN))
    assert error.message == (
        "Update c was interrupted while it was being reverted; that must be finished before anything is updated."
    )
    assert error.hint == (
        "Type `fietsupdate downgrade b` to go on with it, or `fietsupdate recover --accept` when you have finished "
        "it by hand; then update."
    )


def test_an_interrupted_downgrade_of_the_root_goes_on_to_base():
    error = refused(up, CHAIN, history="a", at="r1", begun=begun("a", Direction.DOWN))
    assert error.hint.startswith("Type `fietsupdate downgrade base` to go on")


def test_downgrade_does_not_turn_an_interrupted_update_round():
    error = refused(down, CHAIN, "a", history="a b", at="r1", begun=begun("c"))
    assert error.message == (
        "Update c was interrupted on its way up; that must be finished before anything is reverted."
    )
    assert error.hint == (
        "Type `fietsupdate update` to go on with it, or `fietsupdate recover --accept` when you have finished it "
        "by hand; then downgrade."
    )


def test_an_interrupted_update_without_script_stops_everything():
    error = refused(up, CHAIN, history="a", at="r1", begun=begun("ghost"))
    assert error.message == "Update ghost was interrupted, and its script is not here."
    assert error.hint == ("Install the version of the application that has this update, and type the command again.")


# What holds for every graph


@st.composite
def instances(draw):
    """Draw revisions and updates, each with parents among those before it."""
    revisions = [f"r{n}" for n in range(draw(st.integers(1, 6)))]
    tree = {
        name: tuple(draw(st.sets(st.sampled_from(revisions[:n]), max_size=2))) if n else ()
        for n, name in enumerate(revisions)
    }
    ids = [f"u{n}" for n in range(draw(st.integers(1, 7)))]
    return tree, graph_of(
        *(
            update(
                name,
                *sorted(draw(st.sets(st.sampled_from(ids[:n]), max_size=2)) if n else ()),
                at=tuple(sorted(draw(st.sets(st.sampled_from(revisions), max_size=2)))),
            )
            for n, name in enumerate(ids)
        )
    )


def walk(plan, tree, graph, have, applied):
    """Play a plan and make sure that at no moment an applied update lacks a revision."""
    for step in plan.steps:
        for revision in step.revisions:
            if step.direction is Direction.UP:
                assert revision not in have
                assert have.issuperset(tree[revision])
                have.add(revision)
            else:
                have.remove(revision)
                assert not any(revision in tree[other] for other in have)
        (applied.add if step.direction is Direction.UP else applied.remove)(step.update.update_id)
        for update_id in applied:
            assert have.issuperset(graph.updates[update_id].alembic_revisions)
            assert applied.issuperset(graph.updates[update_id].previous)


@given(instances(), st.data())
@settings(max_examples=100, deadline=None)
def test_no_applied_update_ever_lacks_a_revision_on_any_way_up_and_down(instance, data):
    """To the root there is always a way back; to other targets there may be none, and then nothing is planned."""
    tree, graph = instance
    have, applied = set(), set()
    walk(up(graph, "heads", tree=tree), tree, graph, have, applied)
    assert applied == set(graph.updates)
    instance = {
        "history": " ".join(graph.dag.order),
        "at": " ".join(one for one in have if not any(one in tree[other] for other in have)),
        "tree": tree,
    }
    with suppress(PlanError):
        part = down(graph, data.draw(st.sampled_from(graph.dag.order)), **instance)
        walk(part, tree, graph, set(have), set(applied))
    walk(down(graph, "base", **instance), tree, graph, have, applied)
    assert (have, applied) == (set(), set())


def test_five_thousand_updates_are_planned_up_and_down_without_squares():
    """Every update walks only what it brings; going over all ancestors would take minutes here."""
    count = 5000
    tree = {f"r{n}": (f"r{n - 1}",) if n else () for n in range(count)}
    graph = graph_of(*(update(f"u{n}", *([f"u{n - 1}"] if n else []), at=f"r{n}") for n in range(count)))
    plan = up(graph, tree=tree)
    assert [step.revisions for step in plan.steps] == [(f"r{n}",) for n in range(count)]
    back = down(graph, "base", history=f"=u{count - 1}", at=f"r{count - 1}", tree=tree)
    assert [step.revisions for step in back.steps] == [(f"r{n}",) for n in reversed(range(count))]
