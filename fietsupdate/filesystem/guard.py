"""The guard: journals plain Python file calls that hooks make in the data directory.

``Path.write_bytes``, ``shutil.move``, ``os.remove`` and the like, also in threads, also those of tempfile, zipfile or
numpy, tell Python's audit hooks before they act (https://docs.python.org/3/library/audit_events.html). While a hook is
watched, the guard saves what such a call is about to change, so that it is undone like a verb of ``self.files``.

It cannot see what does not tell Python: C libraries that open files themselves (lxml's ``write(path)``, h5py, SQLite),
ctypes, ``os.mkfifo``, ``os.mknod``, ``os.posix_fallocate``, writing through a memory map or a descriptor that was open
before, and other processes. Of these it refuses descriptors that are open for writing when a hook begins or ends, it
reports that a hook starts programs or opens SQLite databases, it refuses changes by forked children, and after the
hook it looks for entries that changed in folders which the journal knows and that it knows nothing of.

An audit hook cannot be removed; outside of a watched hook it returns at once.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import Any

from fietsupdate.errors import FilesError
from fietsupdate.filesystem import blind, descriptors
from fietsupdate.filesystem.changes import Changes
from fietsupdate.filesystem.saving import Saving
from fietsupdate.filesystem.transaction import FileTransaction
from fietsupdate.filesystem.undo import ANY_TIME

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_TEST = "fietsupdate.guard"

_watch: _Watch | None = None
"""What is watched at the moment; there is one transaction in a process at a time."""
_installed = False


class Guard:
    """Watches hooks.

    Args:
        report: Told, once for each kind, what the guard cannot undo, in one sentence.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report

    @contextmanager
    def watching(self, transaction: FileTransaction) -> Iterator[None]:
        """Journal every plain Python file call in the transaction's roots.

        Raises:
            FilesError: a descriptor is open for writing in a root, before or afterwards, or Python does not tell us
                of file calls.
        """
        _install()
        changes = transaction.changes
        _refuse_descriptors(changes, "The update cannot begin while")
        watch = _Watch(changes, self._report)
        try:
            since = watch.test()
            yield
        except BaseException:
            _release()
            with suppress(FilesError, OSError):
                transaction.look_again()
            raise
        _release()
        if any(_open_in(changes)):
            gc.collect()  # files that nobody holds any more are closed
            _refuse_descriptors(changes, "The update fails, because at its end")
        transaction.look_again()
        for path in blind.changed_unseen(transaction, since):
            self._report(f"{path} was changed by something that the guard cannot see; that is not undone.")


class _Watch:
    """One watched hook."""

    def __init__(self, changes: Changes, report: Callable[[str], None]) -> None:
        self.changes = changes
        self.saving = Saving(changes)
        self.tested = False
        self._report = report
        self._reported: set[str] = set()

    def test(self) -> int:
        """See that calls are told to us, and give the file system's idea of the time, in ns.

        Raises:
            FilesError: they are not: another audit hook has kept ours out.
        """
        global _watch  # noqa: PLW0603  # an audit hook belongs to the process
        _watch = self
        with self.changes.at_work():
            folder = self.changes.roots[""].absolute(f".fietsupdate/txn/{self.changes.txn}/vault")
            os.utime(folder)
        sys.audit(_TEST)
        if not self.tested:
            _release()
            raise FilesError(
                "Python does not tell the guard of file calls: another audit hook keeps it out.",
                stands="Nothing was changed.",
                hint="Set guard = false to run without it; then only self.files is undone.",
            )
        return os.stat(folder).st_ctime_ns

    def act(self, action: Callable[[_Watch, tuple[Any, ...]], None], arguments: tuple[Any, ...]) -> None:
        """Do what an event calls for, unless it is our own work."""
        if not self.changes.is_at_work:
            with self.changes.at_work(), self.changes.lock:
                action(self, arguments)

    def tell(self, kind: str, text: str) -> None:
        """Report something, once for each kind."""
        if kind not in self._reported:
            self._reported.add(kind)
            self._report(text)

    # -- one for each event; the arguments are those of the audit event

    def on_test(self, _: tuple[Any, ...]) -> None:
        self.tested = True

    def on_open(self, arguments: tuple[Any, ...]) -> None:
        path, _, flags = arguments
        if isinstance(path, int):
            return  # an open descriptor gets a file object
        follow = not flags & os.O_NOFOLLOW and flags & (os.O_CREAT | os.O_EXCL) != os.O_CREAT | os.O_EXCL
        names = _names(path, None, candidates=self._folders(path))
        for name in names:
            if place := self.saving.find(name, follow=follow, destroys=len(names) == 1):
                self.saving.write(place, flags, certain=len(names) == 1)

    def on_truncate(self, arguments: tuple[Any, ...]) -> None:
        if not isinstance(arguments[0], int):  # a descriptor was journaled when it was opened
            for name in _names(arguments[0], None):
                if place := self.saving.find(name, follow=True, destroys=True):
                    self.saving.write(place, os.O_WRONLY)

    def on_rename(self, arguments: tuple[Any, ...]) -> None:
        source, target, source_folder, target_folder = arguments
        for here in _names(source, source_folder):
            for there in _names(target, target_folder):
                self.saving.rename(here, there)

    def on_remove(self, arguments: tuple[Any, ...]) -> None:
        for name in _names(*arguments[:2]):
            if place := self.saving.find(name, follow=False, destroys=True):
                self.saving.remove(place)

    def on_remove_tree(self, arguments: tuple[Any, ...]) -> None:
        folder = arguments[1] if len(arguments) > 1 else None
        for name in _names(arguments[0], folder):
            if place := self.saving.find(name, follow=False, destroys=True):
                self.saving.remove_tree(place)

    def on_mkdir(self, arguments: tuple[Any, ...]) -> None:
        for name in _names(arguments[0], arguments[2]):
            if place := self.saving.find(name, follow=False):
                self.saving.mkdir(place)

    def on_symlink(self, arguments: tuple[Any, ...]) -> None:
        for name in _names(arguments[1], arguments[2]):
            if place := self.saving.find(name, follow=False):
                self.saving.symlink(place, os.fsdecode(arguments[0]))

    def on_link(self, arguments: tuple[Any, ...]) -> None:
        source, target, source_folder, target_folder = arguments
        for name in _names(target, target_folder):
            if place := self.saving.find(name, follow=False):
                self.saving.link(_names(source, source_folder)[0], place)

    def on_meta(self, arguments: tuple[Any, ...]) -> None:
        self._meta(arguments[0], arguments[-1], None)

    def on_attribute(self, arguments: tuple[Any, ...]) -> None:
        self._meta(arguments[0], None, None)

    def on_utime(self, arguments: tuple[Any, ...]) -> None:
        path, _, exact, folder = arguments
        self._meta(path, folder, exact[1] if exact else ANY_TIME)

    def on_sqlite(self, arguments: tuple[Any, ...]) -> None:
        with suppress(TypeError, ValueError):
            name = os.fsdecode(arguments[0])
            if name != ":memory:" and self.saving.find(os.path.abspath(name.removeprefix("file:")), follow=True):
                self.tell("sqlite", f"The hook opens the SQLite database {name}; what it writes there is not undone.")

    def on_program(self, arguments: tuple[Any, ...]) -> None:
        name = arguments[0]
        name = os.fsdecode(name) if isinstance(name, bytes) else str(name)
        self.tell("program", f"The hook starts {name}; what other programs change is not undone.")

    def _meta(self, path: Any, folder: Any, mtime_ns: int | None) -> None:
        for name in _names(path, folder):
            for follow in (True, False) if os.path.islink(name) else (True,):
                if place := self.saving.find(name, follow=follow, or_root=True):
                    self.saving.change_meta(place, mtime_ns)

    def _folders(self, path: Any) -> list[str]:
        """Name the folders that a relative path may mean beside the working directory: ``open`` omits dir_fd."""
        if os.path.isabs(path):
            return []
        return [folder for folder in descriptors.open_folders() if self.saving.find(f"{folder}/x", follow=False)]


_ACTIONS: Mapping[str, Callable[[_Watch, tuple[Any, ...]], None]] = MappingProxyType(
    {
        _TEST: _Watch.on_test,
        "open": _Watch.on_open,
        "os.truncate": _Watch.on_truncate,
        "os.rename": _Watch.on_rename,
        "os.remove": _Watch.on_remove,
        "os.rmdir": _Watch.on_remove,
        "shutil.rmtree": _Watch.on_remove_tree,
        "os.mkdir": _Watch.on_mkdir,
        "os.symlink": _Watch.on_symlink,
        "os.link": _Watch.on_link,
        "os.chmod": _Watch.on_meta,
        "os.chown": _Watch.on_meta,
        "os.utime": _Watch.on_utime,
        "os.setxattr": _Watch.on_attribute,
        "os.removexattr": _Watch.on_attribute,
        "sqlite3.connect": _Watch.on_sqlite,
        "subprocess.Popen": _Watch.on_program,
        "os.posix_spawn": _Watch.on_program,
        "os.system": _Watch.on_program,
    }
)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    watch = _watch
    if watch is None:
        return
    action = _ACTIONS.get(event)
    if action is None or (event == "open" and not (arguments[2] or 0) & _WRITING):
        return
    watch.act(action, arguments)


def _install() -> None:
    global _installed  # noqa: PLW0603  # as above
    if not _installed:
        sys.addaudithook(_hook)
        _installed = True


def _release() -> None:
    global _watch  # noqa: PLW0603  # as above
    _watch = None


def _names(path: Any, folder: int | None, *, candidates: list[str] | None = None) -> list[str]:
    """Give the absolute paths that the arguments of a call may mean.

    Args:
        path: Text, bytes, a path object, or a descriptor.
        folder: The descriptor that a relative path is relative to; negative or ``None`` for the working directory.
        candidates: Folders that it may be relative to as well.
    """
    if isinstance(path, int):
        name = descriptors.path_of(path)
        return [name] if name else []
    text = os.fsdecode(path)
    if os.path.isabs(text):
        return [text]
    if folder is not None and folder >= 0:
        base = descriptors.path_of(folder)
        return [f"{base}/{text}"] if base else []
    with suppress(OSError):
        return [f"{base}/{text}" for base in dict.fromkeys([os.getcwd(), *(candidates or ())])]
    return []


def _open_in(changes: Changes) -> Iterator[tuple[int, str]]:
    """Give the descriptors that are open for writing in a root, each with its path."""
    for number, path in descriptors.open_for_writing():
        for paths in changes.roots.values():
            if path.startswith(f"{paths.root}/") and not paths.is_kept_out(path):
                yield number, path


def _refuse_descriptors(changes: Changes, what: str) -> None:
    for number, path in _open_in(changes):
        raise FilesError(
            f"{what} {path} is open for writing (descriptor {number}).",
            hint="Close it: what is written through it cannot be undone.",
            details={"path": path},
        )
