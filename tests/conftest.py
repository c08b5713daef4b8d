"""Fixtures for every test; their values are described in ``tests/support``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fietsupdate.filesystem.bulk import BulkFiles
from fietsupdate.filesystem.transaction import FileTransaction
from support.breaking import FULL
from support.databases import KINDS, MARIADB, POSTGRESQL, SQLITE, Database, create
from support.file_transactions import begin, fill, picture
from support.projects import Project
from support.zygote import STRUCK

os.environ["SSL_CERT_FILE"] = os.devnull
"""No test checks a certificate; PyMySQL reads the system's at each connection, which takes 20 ms."""

os.environ["NO_COLOR"] = "1"
"""What a terminal shows is compared as text; `tests/cli/test_colors.py` is about the colors."""
os.environ.pop("FORCE_COLOR", None)

SWEPT: dict[str, Counter[str]] = {}
"""By test: the number of events that it has struck, by database and action."""


@pytest.fixture(autouse=FULL)
def counted(request: pytest.FixtureRequest) -> Iterator[None]:
    """Count the events that a test strikes: the documentation quotes what ``make sweep`` did."""
    before = STRUCK.copy()
    yield
    request.node.user_properties.append(("struck", dict(STRUCK - before)))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Collect the struck events, also those of other processes."""
    if report.when == "teardown":
        name = report.nodeid.rpartition("/")[2].partition("[")[0]
        for _, struck in (pair for pair in report.user_properties if pair[0] == "struck"):
            SWEPT.setdefault(name, Counter()).update(struck)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the result of a complete sweep."""
    if FULL:
        terminalreporter.section(f"struck, {datetime.now(UTC):%Y-%m-%d}")
        for name, struck in sorted(SWEPT.items()):
            for what, number in sorted(struck.items()):
                terminalreporter.write_line(f"{number:7} {what:20} {name}")
        terminalreporter.write_line(f"{sum(map(Counter.total, SWEPT.values())):7} events in all")


@pytest.fixture
def make_database(tmp_path: Path) -> Iterator[Callable[[str], Database]]:
    """Return a function that makes an empty database of a kind; all are dropped at the end."""
    made: list[Database] = []

    def make(kind: str = SQLITE) -> Database:
        made.append(create(kind, tmp_path))
        return made[-1]

    yield make
    for database in made:
        database.drop()


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, make_database: Callable[[str], Database]) -> Database:
    """Return an empty database; the test runs once for each kind."""
    return make_database(request.param)


@pytest.fixture
def sqlite(make_database: Callable[[str], Database]) -> Database:
    """Return a SQLite database whose file is not there yet."""
    return make_database(SQLITE)


@pytest.fixture
def postgresql(make_database: Callable[[str], Database]) -> Database:
    """Return an empty PostgreSQL database."""
    return make_database(POSTGRESQL)


@pytest.fixture
def mariadb(make_database: Callable[[str], Database]) -> Database:
    """Return an empty MariaDB database."""
    return make_database(MARIADB)


@pytest.fixture
def make_project(tmp_path: Path, make_database: Callable[[str], Database]) -> Callable[..., Project]:
    """Return a function ``(variant="stock", kind="sqlite", *, name="project", ...)`` that writes a project."""

    def make(variant: str = "stock", kind: str = SQLITE, *, name: str = "project", **options: object) -> Project:
        return Project.create(tmp_path / name, make_database(kind), variant, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    """Return a project without revisions and updates, stock env.py, on SQLite."""
    return make_project()


@pytest.fixture
def any_project(tmp_path: Path, database: Database) -> Project:
    """Return a project without revisions and updates, stock env.py; the test runs once for each kind of database."""
    return Project.create(tmp_path / "project", database)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A data directory with files of every kind."""
    return fill(tmp_path)


@pytest.fixture
def before(data_dir: Path) -> dict[str, object]:
    """The picture of `data_dir` before any change."""
    return picture(data_dir)


@pytest.fixture
def transaction(data_dir: Path, before: dict[str, object]) -> FileTransaction:
    """A transaction on `data_dir`, begun."""
    return begin(data_dir)


@pytest.fixture
def files(transaction: FileTransaction) -> BulkFiles:
    """The verbs of `transaction`."""
    return transaction.files
