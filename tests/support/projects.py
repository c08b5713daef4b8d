"""Real projects on disk: ``alembic init``, an env.py as found in the wild, revisions, update scripts, a data directory.

Commands run in processes of their own, as an administrator's do.
"""

from __future__ import annotations

import argparse
import atexit
import functools
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import sqlalchemy as sa

from fietsupdate.testing import content as trees
from fietsupdate.testing.forkserver import Zygote
from fietsupdate.testing.injection import Injection
from support.databases import POSTGRESQL, SQLITE, Database
from support.environments import env_py
from support.paths import TESTS

TIMEOUT = 120
"""Seconds after which a command of ours is taken to hang."""


@dataclass(frozen=True)
class Result:
    """The result of a command."""

    args: Sequence[str]
    code: int
    stdout: str
    stderr: str

    def succeeded(self) -> Result:
        """Assert exit code 0; return the result itself."""
        return self.exited(0)

    def exited(self, code: int) -> Result:
        """Assert the exit code, with all output in the assertion's message; return the result itself."""
        shown = f"{' '.join(self.args)}\nexit code {self.code}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"
        assert self.code == code, shown
        assert self.code < 0 or "Traceback (most recent call last)" not in self.stderr + self.stdout, shown
        return self

    @property
    def output(self) -> str:
        """Both streams."""
        return self.stdout + self.stderr

    @property
    def told(self) -> str:
        """Give stderr as one line: where messages are wrapped does not matter."""
        return " ".join(self.stderr.split())

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.stdout)

    @property
    def events(self) -> list[dict[str, Any]]:
        """One JSON document a line of stdout."""
        return [json.loads(line) for line in self.stdout.splitlines()]


@dataclass
class Project:
    """An application: a folder with alembic.ini, migrations, updates and a data directory, and its database."""

    root: Path
    database: Database
    variant: str = "stock"
    url: str = ""
    """The URL that env.py opens."""
    options: list[str] = field(default_factory=list)
    """Before every command, of ours and Alembic's: ``-x`` arguments."""
    environment: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable

    @classmethod
    def create(
        cls,
        root: Path,
        database: Database,
        variant: str = "stock",
        *,
        models: str = "",
        section: Mapping[str, str] | None = None,
    ) -> Project:
        """Write a project without revisions and updates.

        Args:
            root: The folder; made if it is missing.
            database: An empty one.
            variant: Which env.py; see `support.environments`.
            models: Text of models.py, which must define ``metadata``; env.py then uses it.
            section: More keys of ``[fietsupdate]``; they win over the usual ones.
        """
        root.mkdir(parents=True, exist_ok=True)
        url = database.async_url if variant == "async" else database.url
        project = cls(root, database, variant, url)
        ini = alembic.config.Config(root / "alembic.ini", cmd_opts=argparse.Namespace(quiet=True))
        alembic.command.init(ini, str(root / "migrations"), template="async" if variant == "async" else "generic")
        (root / "migrations" / "env.py").write_text(env_py(variant, models=bool(models)))
        if models:
            (root / "models.py").write_text(models)
        project._configure(section or {})
        project.updates.mkdir()
        project.data.mkdir()
        return project

    @property
    def ini(self) -> Path:
        """The configuration file."""
        return self.root / "alembic.ini"

    @property
    def updates(self) -> Path:
        """The folder of update scripts."""
        return self.root / "updates"

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.root / "data"

    @property
    def version(self) -> str | None:
        """What the VERSION file says; ``None`` when there is none."""
        path = self.data / "VERSION"
        return path.read_text(encoding="utf-8") if path.exists() else None

    def _configure(self, section: Mapping[str, str]) -> None:
        lines = {"updates": "%(here)s/updates", "data_dir": "%(here)s/data", "backup": "never", **section}
        more = {"sqlalchemy.url": self.url.replace("%", "%%")}
        match self.variant:
            case "x_argument":
                more = {}
                self.options += ["-x", f"url={self.url}"]
            case "url_from_environment":
                more = {}
                self.environment["APPLICATION_DATABASE_URL"] = self.url
            case "several_databases":
                more["second.url"] = f"sqlite:///{self.root / 'second.sqlite'}"
            case "other_version_table" if self.database.kind == POSTGRESQL:
                self.database.execute("CREATE SCHEMA bookkeeping")
                more["version_table_schema"] = "bookkeeping"
            case "application_context":
                more = {}
                lines["setup"] = "application:for_updates"
                (self.root / "application.py").write_text(APPLICATION.format(url=self.url))
        text = self.ini.read_text()
        stock = "sqlalchemy.url = driver://user:pass@localhost/dbname\n"
        assert stock in text
        text = text.replace(stock, "".join(f"{key} = {value}\n" for key, value in more.items()))
        if self.variant == "file_config":
            text = text.replace("level = WARNING\nhandlers = console", "level = CRITICAL\nhandlers = console")
            text = text.replace("args = (sys.stderr,)", "args = (sys.stdout,)")
        section_text = "\n[fietsupdate]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items())
        self.ini.write_text(text + section_text)

    def revision(
        self,
        revision: str,
        down: str | Sequence[str] | None = None,
        upgrade: str = "pass",
        downgrade: str = "pass",
        *,
        branch_labels: Sequence[str] = (),
        depends_on: str | Sequence[str] | None = None,
        head: str = "",
    ) -> Path:
        """Write an Alembic revision; `upgrade` and `downgrade` are bodies, `head` is code at module level."""
        path = self.root / "migrations" / "versions" / f"{revision}_.py"
        path.write_text(
            f"import sqlalchemy as sa\nfrom alembic import op\n\n"
            f"revision = {revision!r}\ndown_revision = {_plain(down)!r}\n"
            f"branch_labels = {tuple(branch_labels) or None!r}\ndepends_on = {_plain(depends_on)!r}\n{head}\n\n"
            f"def upgrade():\n{_body(upgrade, 4)}\n\ndef downgrade():\n{_body(downgrade, 4)}"
        )
        return path

    def update(
        self,
        update_id: str,
        previous: str | Sequence[str] = (),
        alembic_revision: str | Sequence[str] | None = None,
        *,
        up_pre: str = "pass",
        up_post: str = "pass",
        down_pre: str = "pass",
        down_post: str = "pass",
        up_more: str = "",
        down_more: str = "",
        head: str = "",
        atomic: bool | None = True,
        baseline: bool = False,
        has_down: bool = True,
        base: str = "UpdateScript",
        folder: str | Path = "updates",
        filename: str = "",
    ) -> Path:
        """Write an update script.

        Hook arguments are bodies, in which ``self``, ``config``, ``sa`` and ``Path`` are known; `up_more` and
        `down_more` are further methods; `head` is code at module level; ``atomic=None`` leaves the line out;
        ``base=""`` subclasses nothing.
        """
        previous = [previous] if isinstance(previous, str) else list(previous)
        head_lines = [
            f'"""Update {update_id}."""',
            head,
            "from pathlib import Path",
            "import sqlalchemy as sa",
            "from fietsupdate import UpdateScript" if base == "UpdateScript" else "",
            f"update_id = {update_id!r}",
            f"previous = {previous!r}",
            f"alembic_revision = {_listed(alembic_revision)!r}",
            "" if atomic is None else f"atomic = {atomic}",
            "baseline = True" if baseline else "",
        ]
        text = "\n".join(line for line in head_lines if line) + "\n"
        text += _class("Up", base, up_pre, up_post, up_more)
        if has_down:
            text += _class("Down", base, down_pre, down_post, down_more)
        path = self.root / folder / (filename or f"upd_{update_id}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def trace(self, text: str) -> str:
        """Return code that appends a line to a log outside the data directory; see `traces`."""
        return f"with open({str(self.root / 'trace.log')!r}, 'a') as log: log.write({text + chr(10)!r})"

    def traces(self) -> list[str]:
        """Return the lines that `trace` code has written, in order."""
        log = self.root / "trace.log"
        return log.read_text().splitlines() if log.exists() else []

    def run(self, *args: str, env: Mapping[str, str] | None = None, input: str | None = None) -> Result:  # noqa: A002
        """Run ``fietsupdate`` in the project's folder: a child of this test process's warm one, where that will do."""
        words = [*self.options, *args]
        if input is not None or any(name.startswith("PYTHON") for name in env or ()):
            return self._finish(["-m", "fietsupdate", *words], env, input)
        environ = self._environment(env)
        done = warm(self.python).command(words, folder=self.root, environ=environ, injection=Injection(kinds=()))
        return Result(words, done.code, done.stdout, done.stderr)

    def alembic(self, *args: str, env: Mapping[str, str] | None = None) -> Result:
        """Run ``alembic`` in the project's folder."""
        return self._finish(["-m", "alembic", *self.options, *args], env, None)

    def start(self, *args: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start ``fietsupdate`` and return at once; pass the process to `result_of`."""
        return subprocess.Popen(
            [self.python, "-m", "fietsupdate", *self.options, *args],
            cwd=self.root,
            env=self._environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _finish(self, args: Sequence[str], env: Mapping[str, str] | None, text: str | None) -> Result:
        done = subprocess.run(
            [self.python, *args],
            cwd=self.root,
            env=self._environment(env),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
            **({"stdin": subprocess.DEVNULL} if text is None else {"input": text}),
        )
        return Result(args, done.returncode, done.stdout, done.stderr)

    def _environment(self, more: Mapping[str, str] | None) -> dict[str, str]:
        """Return this process's environment without what would configure fietsupdate or Alembic."""
        ours = ("FIETSUPDATE_", "ALEMBIC_")
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        return {**inherited, **self.environment, **(more or {})}

    def tree(self, *, exclude: Collection[str] = ()) -> dict[str, trees.Node]:
        """Return what the data directory holds; see `fietsupdate.testing.content.tree`."""
        return trees.tree(self.data, exclude=exclude)

    def alembic_version(self) -> list[str]:
        """Return the rows of Alembic's version table, sorted; nothing when there is none."""
        table = "schema_history" if self.variant == "other_version_table" else "alembic_version"
        if self.database.kind == SQLITE and not self.database.file.exists():
            return []
        with self.database.connect() as connection:
            schema = "bookkeeping" if table == "schema_history" and self.database.kind == POSTGRESQL else None
            if not sa.inspect(connection).has_table(table, schema=schema):
                return []
            name = f"{schema}.{table}" if schema else table
            return sorted(connection.exec_driver_sql(f"SELECT version_num FROM {name}").scalars())


APPLICATION = """\
from contextlib import contextmanager

_current = None


def current():
    if _current is None:
        raise RuntimeError("Working outside of application context.")
    return _current


@contextmanager
def for_updates():
    global _current
    _current = {{"url": {url!r}}}
    try:
        yield {{"application.name": "example"}}
    finally:
        _current = None
"""


@functools.cache
def warm(python: str) -> Zygote:
    """Return this process's warm process, from which most commands are forked: a cold start takes most of the time."""
    module = "support.zygote" if python == sys.executable else "support.fietsboek_zygote"
    made = Zygote(module, TESTS, python=python)
    atexit.register(made.close)
    return made


def result_of(child: subprocess.Popen[str]) -> Result:
    """Wait for a started command and return its result."""
    out, err = child.communicate(timeout=TIMEOUT)
    return Result([str(part) for part in child.args][1:], child.returncode, out, err)  # type: ignore[union-attr]


def _plain(value: str | Sequence[str] | None) -> str | tuple[str, ...] | None:
    return value if value is None or isinstance(value, str) else tuple(value)


def _listed(value: str | Sequence[str] | None) -> str | list[str] | None:
    return value if value is None or isinstance(value, str) else list(value)


def _body(code: str, depth: int) -> str:
    return textwrap.indent(textwrap.dedent(code).strip("\n"), " " * depth) + "\n"


def _class(name: str, base: str, pre: str, post: str, more: str) -> str:
    text = f"\n\nclass {name}({base}):\n" if base else f"\n\nclass {name}:\n"
    for hook, code in (("pre_alembic", pre), ("post_alembic", post)):
        text += f"    def {hook}(self, config):\n{_body(code, 8)}\n"
    return text + (_body(more, 4) if more else "")
