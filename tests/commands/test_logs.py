"""The logging of a program stays its own, whatever env.py configures and whichever call looks at the instance."""

from __future__ import annotations

import logging
import logging.config
import subprocess
import sys
import textwrap

import pytest

from fietsupdate.process import logging_kept
from support.notes import notes

PROGRAM = """
import logging, pathlib, sys
from fietsupdate import Updater, ensure_current, require_current

file = logging.FileHandler("app.log", mode="w")  # which does not open again once somebody has closed it
logging.basicConfig(level="INFO", handlers=[file])
log = logging.getLogger("myapp")
log.setLevel("INFO")
named = logging.StreamHandler()
named.set_name("of the application")
before = (list(logging.root.handlers), logging.root.level, log.level, file.level, file.formatter)
{call}
assert (list(logging.root.handlers), logging.root.level, log.level, file.level, file.formatter) == before
assert not log.disabled
assert log.propagate
assert logging.root.manager.disable == 0
assert logging._handlers["of the application"] is named
log.info("after it")
text = pathlib.Path("app.log").read_text()
assert text.endswith("after it\\n"), text
assert "from the hook" in text or sys.argv[1] == "state"
"""

CALLS = {
    "state": 'Updater.from_config("alembic.ini").state()',
    "ensure_current": 'ensure_current("alembic.ini")',
    "update": 'Updater.from_config("alembic.ini").update()',
}
CONFIGURE = {
    "fileConfig": "from logging.config import fileConfig\nfileConfig(context.config.config_file_name)",
    "dictConfig": """
        import logging.config
        logging.config.dictConfig({
            "version": 1,
            "handlers": {"h": {"class": "logging.StreamHandler"}},
            "root": {"level": "ERROR", "handlers": ["h"]},
            "loggers": {"myapp": {"level": "CRITICAL", "propagate": False}},
        })
        """,
    "basicConfig": 'import logging\nlogging.basicConfig(force=True, level="CRITICAL")\nlogging.disable(60)',
}


@pytest.mark.parametrize(
    ("configure", "call"), [("fileConfig", "state"), ("dictConfig", "ensure_current"), ("basicConfig", "update")]
)
def test_no_call_changes_the_logging_of_the_program(make_project, configure, call):
    project = notes(make_project("engine_begin"), 1)
    env = project.root / "migrations" / "env.py"
    head = "from alembic import context\n" + textwrap.dedent(CONFIGURE[configure])
    env.write_text(f"{head}\n{env.read_text().replace('fileConfig(config.config_file_name)', 'pass')}")
    project.update("v2", "v1", "r1", up_pre="import logging\nlogging.getLogger('hook').info('from the hook')")
    program = PROGRAM.format(call=CALLS[call])
    done = subprocess.run(
        [sys.executable, "-c", program, call], cwd=project.root, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def own_root():
    """Give the root logger back as it was: what stays in the program would stay in all tests after this one."""
    root = logging.root
    level, handlers, known = root.level, list(root.handlers), dict(logging._handlers)
    references = list(logging._handlerList)
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)
    logging._handlers.clear()
    logging._handlers.update(known)
    logging._handlerList[:] = references


def test_what_a_module_configures_while_it_is_imported_stays(tmp_path, monkeypatch, own_root):
    """It comes only once: the application that is imported again afterwards would log nowhere."""
    (tmp_path / "configures_as_imported.py").write_text(
        "import logging.config\n"
        "logging.config.dictConfig({'version': 1, 'disable_existing_loggers': False,\n"
        "    'handlers': {'own': {'class': 'logging.NullHandler'}}, 'root': {'level': 33, 'handlers': ['own']}})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with logging_kept():
        import configures_as_imported  # noqa: F401

        logging.config.dictConfig({"version": 1, "root": {"level": 55}})
        assert own_root.level == 55
    assert own_root.level == 33
    assert [handler.name for handler in own_root.handlers] == ["own"]
    assert logging.config.dictConfig.__module__ == "logging.config"
