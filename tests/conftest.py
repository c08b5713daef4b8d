"""Fixtures that every test may ask for; what they give is described in ``tests/support``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.databases import KINDS, MARIADB, POSTGRESQL, SQLITE, Database, create
from support.projects import Project


@pytest.fixture
def make_database(tmp_path: Path) -> Iterator[Callable[[str], Database]]:
    """Give a function that makes an empty database of a kind; all are dropped at the end."""
    made: list[Database] = []

    def make(kind: str = SQLITE) -> Database:
        made.append(create(kind, tmp_path))
        return made[-1]

    yield make
    for database in made:
        database.drop()


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, make_database: Callable[[str], Database]) -> Database:
    """Give an empty database; the test runs once for each kind."""
    return make_database(request.param)


@pytest.fixture
def sqlite(make_database: Callable[[str], Database]) -> Database:
    """Give a SQLite database whose file is not there yet."""
    return make_database(SQLITE)


@pytest.fixture
def postgresql(make_database: Callable[[str], Database]) -> Database:
    """Give an empty PostgreSQL database."""
    return make_database(POSTGRESQL)


@pytest.fixture
def mariadb(make_database: Callable[[str], Database]) -> Database:
    """Give an empty MariaDB database."""
    return make_database(MARIADB)


@pytest.fixture
def make_project(tmp_path: Path, make_database: Callable[[str], Database]) -> Callable[..., Project]:
    """Give a function ``(variant="stock", kind="sqlite", *, name="project", ...)`` that writes a project."""

    def make(variant: str = "stock", kind: str = SQLITE, *, name: str = "project", **options: object) -> Project:
        return Project.create(tmp_path / name, make_database(kind), variant, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    """Give a project without revisions and updates, stock env.py, on SQLite."""
    return make_project()


@pytest.fixture
def any_project(tmp_path: Path, database: Database) -> Project:
    """Give a project without revisions and updates, stock env.py; the test runs once for each kind of database."""
    return Project.create(tmp_path / "project", database)
