"""Which hooks are called, and what they must not do to the update around them: end its transaction, or come twice."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from fietsupdate import Updater, UpdateScript
from fietsupdate.engine import hooks
from fietsupdate.errors import FietsupdateError
from fietsupdate.model import Direction
from fietsupdate.process import forked_children_exit
from support.notes import notes

CHILD = """
import os, signal, sys
child = os.fork()
if child == 0:
    signal.alarm(20)
    {leave}
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == {code}
"""


@pytest.fixture
def run(project):
    def run(body):
        notes(project, 0)
        project.update("v1", (), None, up_pre=body)
        return Updater.from_config(project.ini).update()

    return run


@pytest.mark.parametrize(("leave", "code"), [("sys.exit(7)", 7), ("return", 0), ("raise ValueError", 1)])
def test_a_forked_child_that_leaves_the_hook_ends_there(run, leave, code):
    """Unwinding into the update it would wait for locks of its parent, which waits for it."""
    assert run(CHILD.format(leave=leave, code=code)).done == ("v1",)


@pytest.mark.parametrize(("error", "code"), [(SystemExit(), 0), (SystemExit("words"), 1), (KeyboardInterrupt(), 1)])
def test_a_forked_child_ends_with_its_own_code(error, code, capfd):
    owner = os.getpid()
    try:
        with forked_children_exit():
            child = os.fork()
            if child == 0:
                raise error
    finally:
        if os.getpid() != owner:
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == code
    assert ("words" in capfd.readouterr().err) == (str(error) == "words")


@pytest.mark.parametrize("end", ["rollback", "commit"])
def test_a_hook_that_ends_the_transaction_is_told_so(run, end):
    with pytest.raises(FietsupdateError, match=rf"{end}\(\) would end the transaction of the update") as caught:
        run(f"self.files.write('a', 'a')\nself.connection.{end}()")
    assert caught.value.stands.startswith("Nothing of v1 stands")


def test_nothing_but_a_hook_that_the_script_leaves_alone_is_passed_over():
    class Overrides(UpdateScript):
        def pre_alembic(self, config):
            """Do something."""

    class Assigns(UpdateScript):
        def __init__(self):
            self.pre_alembic = print

    untouched = type("Up", (UpdateScript,), {})
    duck = type("Up", (), {"pre_alembic": print, "post_alembic": print})
    empty = [
        hooks.is_empty(SimpleNamespace(Up=up), Direction.UP, "pre_alembic")
        for up in (untouched, Overrides, Assigns, duck)
    ]
    assert empty == [True, False, False, False]
    assert not hooks.is_empty(
        SimpleNamespace(Up=type("Up", (UpdateScript,), {"verify": print})), Direction.UP, "verify"
    )
