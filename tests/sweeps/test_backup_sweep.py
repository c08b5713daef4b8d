"""Killed before any event, or with a disk that is full from there on, a backup is whole or none; nothing else changes.

``FIETSUPDATE_SWEEP=full`` strikes every event; otherwise a stride of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from fietsupdate.backup import directory
from fietsupdate.backup.verify import verify
from support.breaking import every
from support.injection import FILES, SQL, Injection
from support.notes import notes
from support.projects import Project
from support.states import state_of
from support.zygote import Zygote


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    warm = Zygote()
    yield warm
    warm.close()


@pytest.fixture
def project(make_project, zygote: Zygote) -> Project:
    """A small instance that has a backup already."""
    project = notes(make_project(section={"keep": "all"}), 1)
    zygote.run(project, ["update", "--yes"]).succeeded()
    (project.data / "folder").mkdir()
    (project.data / "folder" / "file").write_text("text")
    os.link(project.data / "folder" / "file", project.data / "other name")
    (project.data / "link").symlink_to("folder")
    zygote.run(project, ["backup"]).succeeded()
    return project


def whole(project: Project) -> set[str]:
    """Name the backups, after seeing that each that counts is good."""
    there = directory.inspect_directory(project.data / ".fietsupdate" / "backups")
    assert [verify(backup) for backup in there.backups] == [()] * len(there.backups)
    assert all(name.startswith(directory.PARTIAL) for name in there.broken)
    return {backup.name for backup in there.backups}


def left(project: Project) -> list[str]:
    return list(directory.inspect_directory(project.data / ".fietsupdate" / "backups").broken)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("action", "stride"), [pytest.param("kill", 2, id="killed"), pytest.param("ENOSPC", 7, id="disk-full")]
)
def test_a_backup_is_whole_or_none_whatever_breaks_it(zygote: Zygote, project: Project, action: str, stride: int):
    before, older = state_of(project), whole(project)
    kinds = (FILES, SQL) if action == "kill" else (FILES,)
    number = 0
    for number in every(stride, start=1 + stride // 2):
        broken = zygote.run(project, ["backup"], Injection(action, number, kinds=kinds, every=action != "kill"))
        if not broken.fired:
            broken.succeeded()
            break
        assert state_of(project) == before, f"at event {number}, {broken.fired!r}"
        now = whole(project)
        assert now >= older, f"at event {number}, {broken.fired!r}"
        assert len(now - older) <= 1
        if action != "kill" and now == older:  # a complete backup is one, even if the lock's text cannot be erased
            assert broken.code == 1, f"at event {number}, {broken.fired!r}\n{broken.output}"
        older = now
    assert number > 40
    zygote.run(project, ["backup"]).succeeded()
    assert left(project) == []


def test_a_backup_that_is_killed_while_it_is_taken_away_is_gone_or_whole(zygote: Zygote, project: Project):
    zygote.run(project, ["backup"]).succeeded()
    first = min(whole(project))
    struck = 0
    for number in range(1, 1000):
        killed = zygote.run(project, ["backup", "prune", "--keep", "1"], Injection("kill", number, kinds=(FILES,)))
        if first not in whole(project):
            break
        struck += killed.was_killed
    assert struck
    zygote.run(project, ["backup", "prune", "--keep", "1"]).succeeded()
    assert left(project) == []
    assert len(whole(project)) == 1
