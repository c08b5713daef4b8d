"""Planning with versions: which one the data belongs to, which change is a hook's, what is older."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

import pytest

from fietsupdate.config.hook_modules import HookModule
from fietsupdate.engine.version_hooks import load, takes, version_upgrade
from fietsupdate.model import Direction, Update
from fietsupdate.planning.version_hooks import (
    LastRun,
    Recorded,
    VersionHook,
    Versions,
    crosses,
    is_older,
    recorded,
    version_steps,
    wrong_specifier,
)
from support.instances import database, entry, update

LETTERS = {"=": Direction.STAMP, "-": Direction.DOWN}


def hook(old: str = "", new: str = "", name: str = "app.hooks:one", **how: bool) -> VersionHook:
    return VersionHook(update(name), old, new, **how)


def history(text: str) -> list:
    """Write a ledger: ``a@0.1`` up, ``-a@0.1`` down, ``=a@0.1`` stamp, ``m:f@0.1`` a hook, ``app==0.2`` a mark."""
    entries = []
    for seq, word in enumerate(text.split(), 1):
        name, _, version = word.lstrip("=-").partition("@")
        special = "==" in name or ":" in name
        direction = Direction.VERSION if special else LETTERS.get(word[0], Direction.UP)
        entries.append(replace(entry(seq, name, direction), app_version=version or name.partition("==")[2]))
    return entries


@pytest.mark.parametrize(
    ("ledger", "version", "newest"),
    [
        ("", "", ""),
        ("a@ b@", "", ""),
        ("a@0.1", "0.1", "0.1"),
        ("a@ b@0.2 c@0.3", "0.2", "0.3"),  # the first that is named counts, until a change is completed
        ("a@0.1 b@0.7 m:f@0.7", "0.1", "0.7"),
        ("a@0.1 b@0.7 m:f@0.7 app==0.7", "0.7", "0.7"),
        ("a@0.1 app==0.7 =a@0.5", "0.5", "0.5"),  # taken back: a stamp by older code
        ("a@0.1 =a@0.7", "0.1", "0.7"),  # a stamp by newer code skips no hook
        ("a@0.1 -a@0.7", "0.1", "0.1"),  # nothing of the newer version is left
        ("a@unknown b@0.2", "0.2", "0.2"),
        ("a@0.9 app==0.10", "0.10", "0.10"),
    ],
)
def test_the_ledger_says_which_version_the_data_belongs_to(ledger: str, version: str, newest: str) -> None:
    seen = recorded(history(ledger))
    assert (seen.version, seen.newest) == (version, newest)


def test_hooks_that_have_run_are_known_for_ever() -> None:
    assert recorded(history("a@0.1 m:f@0.2 app==0.2 m:g@0.3 app==0.3")).ran.keys() == {"m:f", "m:g"}


@pytest.mark.parametrize(
    ("old", "new", "before", "installed", "runs"),
    [
        ("<0.6.4", ">=1.0.0", "0.6.3", "1.0.0", True),
        ("<0.6.4", ">=1.0.0", "0.6.4", "1.0.0", False),
        ("<0.6.4", ">=1.0.0", "0.6.3", "0.9", False),
        ("<0.6.4", ">=0.6.4", "0.1", "0.7", True),
        ("<0.10", ">=0.10", "0.9", "0.10", True),  # not as texts
        (">=0.3,<0.7", "", "0.1", "0.7", False),
        (">=0.3,<0.7", "", "0.3", "0.7", True),
        ("", ">=2", "0.1", "1.9", False),
        ("", "", "0.1", "0.2", True),
        ("<1.0", ">=1.0", "0.9", "1.0rc1", True),  # a candidate has the code of its release
        ("<1.0", ">=1.0", "0.9", "1.0.dev3+g12ab", True),
        ("<1.0", ">=1.0", "1.0rc1", "1.0", True),  # for those written since; the others have run
        ("<1.0", ">=1.0", "1.0", "1.1", False),
        ("<1.0", "<2.0", "0.9", "2.0rc1", False),
        (">=0.5,<0.6", "", "0.5rc1", "0.7", True),
        ("<1.0rc2", "", "1.0rc1", "1.0", True),  # who names a candidate means it
        ("<1.0rc2", "", "1.0rc3", "1.0", False),
        ("", ">=1.0rc2", "0.9", "1.0rc1", False),
        ("==0.5.*", "~=0.7.1", "0.5.9", "0.7.3", True),
        ("<0.7", "", "0.7.post1", "0.8", False),
    ],
)
def test_a_change_of_version_is_a_hooks_when_both_ends_match(old, new, before, installed, runs) -> None:
    assert crosses(hook(old, new), before, installed) is runs


@pytest.mark.parametrize(
    ("one", "other", "older"),
    [
        ("0.9", "0.10", True),
        ("0.10", "0.9", False),
        ("1.0", "1.0.0", False),
        ("1.0rc1", "1.0", True),
        ("1.0.dev2+gabc", "1.0.dev2+gdef", False),
        ("1.0+build.2", "1.0+build.1", False),
        ("what", "1.0", False),
    ],
)
def test_versions_are_compared_as_versions_and_builds_have_no_order(one: str, other: str, older: bool) -> None:
    assert is_older(one, other) is older


def test_specifiers_that_cannot_be_read_are_named() -> None:
    assert wrong_specifier(">=1.0,<2") == ""
    assert wrong_specifier("1.0") == "Invalid specifier: '1.0'"


def versions(before: str, installed: str, *hooks: VersionHook, ran: frozenset[str] = frozenset()) -> Versions:
    return Versions("app", installed, Recorded(before, before, dict.fromkeys(ran, LastRun("1.0"))), hooks)


def steps(seen: Versions | None, *, changes: bool = False) -> list[str]:
    return [step.update.update_id for step in version_steps(seen, database(), besides=(), changes=changes)]


def test_hooks_come_in_their_order_and_the_version_last() -> None:
    one, two = hook("<2", name="m:one"), hook("<2", name="m:two")
    assert steps(versions("1.0", "2.0", two, one)) == ["m:two", "m:one", "app==2.0"]
    assert steps(versions("1.0", "2.0", two, one, ran=frozenset({"m:two"}))) == ["m:one", "app==2.0"]


def test_nothing_is_planned_where_the_version_stands() -> None:
    assert steps(None) == []
    assert steps(versions("2.0", "2.0", hook())) == []


def test_another_build_of_the_same_version_is_only_recorded() -> None:
    assert steps(versions("1.0+b2", "1.0+b1", hook())) == ["app==1.0+b1"]


def test_the_first_version_needs_no_entry_of_its_own_where_others_name_it() -> None:
    assert steps(versions("", "1.0", hook())) == ["app==1.0"]
    assert steps(versions("", "1.0", hook()), changes=True) == []


def test_recording_is_atomic_everywhere_and_a_hook_only_where_the_database_lets_it() -> None:
    view = database(not_transactional="MariaDB commits at every schema change")
    one, mark = version_steps(versions("1.0", "2.0", hook()), view, besides=(), changes=False)
    assert (one.not_atomic, one.only_records) == ("MariaDB commits at every schema change", False)
    assert (mark.not_atomic, mark.only_records) == ("", True)
    assert isinstance(mark.update, Update)


def waits(ledger: str, installed: str, one: VersionHook) -> bool:
    return bool(Versions("app", installed, recorded(history(ledger)), (one,)).waiting)


@pytest.mark.parametrize(
    ("ledger", "installed", "runs"),
    [
        ("", "0.1", False),  # a new installation
        ("a@0.1", "0.1", False),
        ("a@0.1", "0.2", True),
        ("a@0.1 m:f@0.2", "0.2", False),  # it ran, and the change was cut off before its end
        ("a@0.1 m:f@0.2", "0.3", True),  # ... and another version was installed meanwhile
        ("a@0.1 m:f@0.2 app==0.2", "0.2", False),
        ("a@0.1 m:f@0.2 app==0.2", "0.3", True),
        ("a@0.1+b1 m:f@0.1+b1", "0.1+b2", True),  # another build has other files, too
        ("a@0.1 m:f@0.2 app==0.2 =a@0.1", "0.1", True),  # back to the older version
        ("a@0.1 m:f@0.2 app==0.2 =a@0.1 m:f@0.1", "0.1", False),
        ("a@0.1 m:f@0.2 app==0.2 =a@0.1 m:f@0.1 app==0.1", "0.1", False),
        ("a@0.1 m:f@0.2 app==0.2 =a@0.1 m:f@0.1 app==0.1", "0.2", True),
    ],
)
def test_every_change_of_version_runs_a_hook_for_every_change_once(ledger: str, installed: str, runs: bool) -> None:
    assert waits(ledger, installed, hook(name="m:f", every=True)) is runs


def test_a_hook_for_every_change_may_have_ranges_and_sees_the_version_that_was_taken_back_from() -> None:
    one = hook(">=0.3", name="m:f", every=True)
    assert [waits("a@0.2", "0.3", one), waits("a@0.3", "0.4", one)] == [False, True]
    assert [waits(f"a@0.1 app=={version} =a@0.1", "0.1", one) for version in ("0.2", "0.3")] == [False, True]


def test_a_hook_for_every_change_ends_it_in_the_ledger_also_where_it_goes_back() -> None:
    seen = Versions("app", "0.1", recorded(history("a@0.1 app==0.2 =a@0.1")), (hook(name="m:f", every=True),))
    *_, mark = version_steps(seen, database(), besides=(), changes=False)
    assert (steps(seen), mark.update.summary) == (["m:f", "app==0.1"], "Records the version; it was 0.2.")
    assert steps(replace(seen, hooks=(hook(name="m:f"),))) == []


@pytest.mark.parametrize(
    ("ledger", "installed", "runs"),
    [
        ("a@0.6 m:f@0.7 app==0.7 =a@0.6", "0.7", True),
        ("a@0.6 m:f@0.7 app==0.7", "0.8", False),
        ("a@0.6 m:f@0.8 app==0.8 =a@0.7", "0.8", False),  # 0.7 is after the range: it is not crossed again
        ("a@0.6 m:f@0.7 app==0.7 =a@0.6 m:f@0.7", "0.7", False),
        ("a@0.6 m:f@0.7 app==0.7 =a@0.6 m:f@0.7 app==0.7", "0.8", False),
        ("a@0.6 m:f@0.7 app==0.7 =a@0.6 m:f@0.7 app==0.7 =a@0.6", "0.8", True),
        ("a@0.6 m:f@0.7 app==0.7 =a@0.6 app==0.6.1", "0.7", True),  # by way of a version before the range
        ("a@0.6 m:f@0.7 app==0.7 app==0.9 =a@0.8", "0.9", False),  # it did not go back to before what it did
    ],
)
def test_a_hook_that_repeats_runs_again_where_the_range_is_crossed_again(
    ledger: str, installed: str, runs: bool
) -> None:
    assert waits(ledger, installed, hook("<0.7", ">=0.7", "m:f", repeat=True)) is runs
    assert not waits(ledger, installed, hook("<0.7", ">=0.7", "m:f"))


@pytest.mark.parametrize(
    ("given", "old", "new"),
    [
        (("<0.6.4", ">=1.0.0"), "<0.6.4", ">=1.0.0"),
        ((None, ">0.15.0,<0.18.0"), "", ">0.15.0,<0.18.0"),
        (("*", "1.0.0"), "", "==1.0.0"),
        ((" <0.15.0-beta1 ", None), "<0.15.0-beta1", ""),
    ],
)
def test_ranges_as_kolibri_writes_them(given: tuple[str | None, str | None], old: str, new: str) -> None:
    @version_upgrade(old_version=given[0], new_version=given[1])
    def named() -> None: ...

    @version_upgrade(*given)
    def in_order() -> None: ...

    for function in (named, in_order):
        mark = vars(function)["__fietsupdate_versions__"]
        assert (mark.old, mark.new, wrong_specifier(mark.old), wrong_specifier(mark.new)) == (old, new, "", "")


@pytest.mark.parametrize(("atomic", "expected"), [(None, [True, False]), (True, [True, True]), (False, [False, False])])
def test_a_hook_is_atomic_where_it_takes_the_script_or_says_so(
    monkeypatch: pytest.MonkeyPatch, atomic: bool | None, expected: list[bool]
) -> None:
    module = ModuleType("hooks_of_this_test")
    for name, function in {"one": lambda script, config: None, "two": lambda: None}.items():
        function.__module__, function.__qualname__ = module.__name__, name
        setattr(module, name, version_upgrade(atomic=atomic)(function))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    hooks = load([HookModule(module.__name__, "version_hooks")])
    assert [one.update.atomic for one in hooks] == expected


def test_one_end_is_named_once() -> None:
    with pytest.raises(TypeError, match="`old` or `old_version`"):
        version_upgrade(old="<1", old_version="<1")


@pytest.mark.parametrize(
    ("function", "count"),
    [
        (lambda: None, 0),
        (lambda script, config: None, 2),
        (lambda script, config=None: None, 2),
        (lambda using="default": None, 0),
        (lambda *arguments: None, 2),
    ],
)
def test_a_hook_that_can_do_without_arguments_is_called_without(function: Callable[..., object], count: int) -> None:
    assert takes(function) == count
