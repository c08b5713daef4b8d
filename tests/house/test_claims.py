"""A message claims nothing that was not looked at (invariant 13)."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import fietsupdate
from fietsupdate.engine.failure import undone
from fietsupdate.engine.recovery import Outcome, Settled

PACKAGE = Path(fietsupdate.__file__).parent
COMPARISON = re.compile(r"\bas before\b|\bas they were\b")
COMPARE = {PACKAGE / "testing", PACKAGE / "cli" / "render" / "rehearsal.py"}
"""Who really has compared an instance, or the clone of one, with what it was."""
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if COMPARE.isdisjoint({path, *path.parents})]


def messages(path: Path) -> Iterator[str]:
    """Return the texts in a module that are no docstrings, those behind attributes among them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    silent = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent:
            yield node.value


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_message_says_that_a_half_is_as_it_was_before(path):
    """Nobody compares a half with what it was: a message tells what was done, and by whom it was seen."""
    assert [text for text in messages(path) if COMPARISON.search(text)] == []


REASONS = ("", "a database connection of its own has committed")
UNSEEN = ("", "The hook starts touch; what other programs change is not undone.")
FOUND = ((), (Path("/data/.fietsupdate/found/1/x"),))


@pytest.mark.parametrize(("reason", "unseen", "found"), [*itertools.product(REASONS, UNSEEN, FOUND)])
def test_nothing_stands_is_said_only_where_nothing_is_known_that_could(reason, unseen, found):
    text = undone("v2", Settled(Outcome.UNDONE, found, reason=reason, unseen=unseen))
    assert text.startswith("Nothing of v2 stands") == (not reason and not unseen)
    assert reason in text
    assert unseen in text
    assert all(str(path) in text for path in found)
    assert ("nothing was deleted" in text) == bool(reason)
    assert "are not its own work" not in text or not reason


def test_a_program_that_a_hook_starts_makes_the_message_of_its_failure_smaller(project):
    """The warning alone scrolls away; what is still there when all is over must not say more than is known."""
    body = (
        "import subprocess\nsubprocess.run(['touch', str(self.data_dir / 'x')], check=True)\nraise RuntimeError('boom')"
    )
    project.update("v1", up_pre=body)
    told = project.run("update", "--yes").exited(1).told
    assert (project.data / "x").exists()
    assert "Nothing of v1 stands" not in told
    assert "The database has no record of v1, and the file changes in its journal are undone" in told
    assert "what other programs change is not undone" in told


def test_without_the_guard_plain_calls_are_named_as_not_undone(make_project):
    project = make_project(section={"guard": "false"})
    project.update("v1", up_pre="(self.data_dir / 'x').touch()\nraise RuntimeError('boom')")
    told = project.run("update", "--yes").exited(1).told
    assert (project.data / "x").exists()
    assert "Nothing of v1 stands" not in told
    assert "What hooks changed by plain Python calls is not undone (guard = false)." in told
