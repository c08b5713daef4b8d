"""Find the possible places of a missing file: set aside, in quarantine, in a backup, or renamed."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Literal

from fietsupdate.backup.manifest import Backup, Scope
from fietsupdate.backup.places import found
from fietsupdate.config.application import Application
from fietsupdate.errors import FilesError
from fietsupdate.filesystem.hashing import digest
from fietsupdate.filesystem.journal.header import JOURNAL
from fietsupdate.filesystem.journal.journal import Journal
from fietsupdate.filesystem.journal.record import Do
from fietsupdate.filesystem.layout import home, kept_folder
from fietsupdate.model.references import Finding

SET_ASIDE = ("found", "quarantine")
"""The folders of ours in which each run has a folder of its own, and keeps files under their paths."""
VAULTS = ("kept", "txn")
"""Folders of ours in which the vault of a kept transaction lies: in the data directory, and in a further root."""
LARGEST_JOURNAL = 1 << 25
"""The most bytes of a kept journal that is searched."""
FORMS: tuple[Literal["NFC"], Literal["NFD"]] = ("NFC", "NFD")
"""The normal forms of Unicode in which file systems and programs write names."""


class MissingFileSearch:
    """Searches for the missing files of one instance."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._roots = {"": application.data_dir, **application.config.extra_dirs}

    def of(self, finding: Finding) -> tuple[str, ...]:
        """Return the absolute paths of files that may be the missing one."""
        path = finding.path
        if finding.reason or path.startswith("/") or ".." in path.split("/"):
            return ()
        return tuple(place for place in self._places(finding.root, path) if _is_file(place))

    def fitting(self, finding: Finding) -> tuple[str, ...]:
        """Return the names of the backups whose copy has the size and the digest in the row."""
        path = finding.path
        if path.startswith("/") or ".." in path.split("/"):
            return ()
        return tuple(
            backup.name for backup in self._backups if _fits(os.path.join(backup.tree(finding.root), path), finding)
        )

    def _places(self, root: str, path: str) -> Iterator[str]:
        for folder in self._folders[root]:
            yield os.path.join(folder, path)
        yield from self._kept(root, path)
        for form in FORMS:
            if (other := unicodedata.normalize(form, path)) != path:
                yield os.path.join(self._roots[root], other)
        for backup in self._backups:
            yield os.path.join(backup.tree(root), path)

    @cached_property
    def _folders(self) -> dict[str, list[Path]]:
        """The folders that may contain files under their paths, by root."""
        return {root: list(_set_aside(folder)) for root, folder in self._roots.items()}

    def _kept(self, root: str, path: str) -> Iterator[str]:
        """Yield the places in the vaults that updates have kept which were not atomic."""
        parts, ours = path.split("/"), home(self._roots[root])
        for txn, known in self._vaults.items():
            for length in range(len(parts), 0, -1):
                if vault := known.get((root, "/".join(parts[:length]))):
                    yield from (os.path.join(ours, kind, txn, "vault", vault, *parts[length:]) for kind in VAULTS)

    @cached_property
    def _vaults(self) -> dict[str, dict[tuple[str, str], str]]:
        """What kept journals say of replaced and removed files, by transaction: their names in a vault."""
        found = {}
        for kept in _listed(kept_folder(self._application.data_dir)):
            journal = kept / JOURNAL
            try:
                if not os.access(journal, os.R_OK | os.W_OK) or journal.stat().st_size > LARGEST_JOURNAL:
                    continue
                records = Journal(kept).forwards(Do.REMOVE, Do.REPLACE)
                found[kept.name] = {(one.root, one.path): os.path.basename(one.vault) for one in records if one.vault}
            except (OSError, FilesError):
                continue  # a damaged one is told where it matters
        return found

    @cached_property
    def _backups(self) -> tuple[Backup, ...]:
        try:
            backups = found(self._application).backups
        except FilesError:
            return ()  # this user may not read the folder of backups
        return tuple(backup for backup in backups if backup.manifest.scope is Scope.FULL)


def _set_aside(root: Path) -> Iterator[Path]:
    for kind in SET_ASIDE:
        for run in _listed(home(root) / kind):
            yield run
            yield from _listed(run)


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:
        return []


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


def _fits(path: str, finding: Finding) -> bool:
    if not _is_file(path) or (finding.size is not None and os.lstat(path).st_size != finding.size):
        return False
    return finding.sha256 is None or digest(os.fsencode(path)).hex() == finding.sha256
