"""The guard: journals plain Python file calls that hooks and revisions make in the data directory.

``Path.write_bytes``, ``shutil.move``, ``os.remove`` and the like, also in threads, also those of tempfile, zipfile or
numpy, notify Python's audit hooks before they act (https://docs.python.org/3/library/audit_events.html). While a hook
is watched, the guard saves what such a call is about to change, so that it is undone like a verb of ``self.files``.
Changes that other threads of the application make meanwhile are not the hook's
(`fietsupdate.filesystem.guard.threads`).

The guard cannot see changes that raise no audit event: C libraries that open files themselves (lxml's ``write(path)``,
h5py, SQLite), ctypes, ``os.mkfifo``, ``os.mknod``, ``os.posix_fallocate``, writing through a memory map or a descriptor
that was opened before, and other processes. As far as possible it handles these: it refuses descriptors that are open
for writing when a hook begins or ends, it reports that a hook starts processes or opens SQLite databases, it refuses
changes by forked children, and after the hook it looks in folders of the journal for changed entries that are not in
the journal.

An audit hook cannot be removed; outside of a watched hook it returns at once.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import Any, Self

from fietsupdate.errors import UNCHANGED, FilesError
from fietsupdate.filesystem.guard import blind
from fietsupdate.filesystem.guard.children import Children
from fietsupdate.filesystem.guard.intercept import Interceptor
from fietsupdate.filesystem.guard.outside import Kept, Outside
from fietsupdate.filesystem.guard.threads import CalledCode, Left, Whose
from fietsupdate.filesystem.journal.changes import Changes
from fietsupdate.filesystem.journal.undo import ANY_TIME
from fietsupdate.filesystem.journal.watch import GuardChannel
from fietsupdate.filesystem.posix import descriptors
from fietsupdate.filesystem.posix.audit_events import PATHS, is_reading, names, paths_of
from fietsupdate.filesystem.run_file import is_own_thread
from fietsupdate.filesystem.transaction import FileTransaction

_TEST = "fietsupdate.guard"
_NOT_UNDONE = "what other programs change is not undone."

_watch: _Watch | None = None
"""The hook that is being watched; there is one transaction in a process at a time."""
_left: list[tuple[Left, Interceptor]] = []
"""Threads that hooks have left running, each with the interceptor that knows the roots of its transaction."""
_awake = False
"""Whether a hook is being watched, or a thread is refused changes."""
_installed = False


class Guard:
    """Watches hooks and revisions. As a context manager it keeps observing other threads between them.

    Args:
        report: Called with a sentence, once for each kind of change that the guard cannot undo.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._stays = False
        self._kept: Kept = {}

    def __enter__(self) -> Self:
        self._stays = True
        return self

    def __exit__(self, *_: object) -> None:
        self._stays = False
        _listen(None)

    @contextmanager
    def watching(self, transaction: FileTransaction) -> Iterator[None]:
        """Journal every plain Python file call in the transaction's roots that called code makes.

        Raises:
            FilesError: A descriptor is open for writing in a root, before or afterwards; a thread is still running; or
                Python does not report file calls.
        """
        _install()
        watch = _Watch(transaction, self._report, self._kept)
        journal = transaction.changes.journal
        try:
            _refuse_descriptors(transaction.changes, "The update cannot begin while")
            watch.test()
            begin = journal.end
            transaction.changes.watch = watch
            with watch.call.running():
                yield
        except BaseException:
            self._fail(transaction, watch)
            raise
        if left := watch.call.left_running():
            self._fail(transaction, watch, left)
            raise _goes_on(left)
        if any(_open_in(transaction.changes)):
            gc.collect()  # closes files that are not referenced any more
        self._rest(watch)
        _refuse_descriptors(transaction.changes, "The update fails, because at its end")
        watch.look_for_children()
        if journal.end == begin:
            return  # no known change was made
        transaction.look_again()
        for path in blind.changed_unseen(transaction, watch.outside.since_ns):
            watch.tell(path, f"{path} was changed by something that the guard cannot see; that is not undone.")

    def _rest(self, watch: _Watch) -> None:
        """Keep observing other threads, if more hooks are to come."""
        watch.is_over = True
        watch.changes.watch = GuardChannel()
        _listen(watch if self._stays else None)

    def _fail(self, transaction: FileTransaction, watch: _Watch, left: Sequence[Left] | None = None) -> None:
        """Refuse further changes by threads that are still running, and record what cannot be undone of theirs."""
        left = watch.call.left_running() if left is None else left
        _left.extend((thread, watch.saving) for thread in left)
        self._rest(watch)
        watch.look_for_children()
        if left:
            for number, path in _open_in(transaction.changes):
                text = "is still open for writing; what a thread that goes on writes there is not undone."
                watch.tell(path, f"{path} (descriptor {number}) {text}")
        with suppress(FilesError, OSError):
            transaction.look_again()


class _Watch(GuardChannel):
    """One watched hook."""

    def __init__(self, transaction: FileTransaction, report: Callable[[str], None], kept: Kept) -> None:
        self.changes = transaction.changes
        self.outside = Outside(self.changes, transaction.beyond, self.tell, kept)
        self.saving = Interceptor(self.changes, self.outside)
        self.call = CalledCode()
        self.tested = False
        self.is_over = False
        self._beyond = transaction.beyond
        self._children = Children()
        self._report = report
        self._reported: set[str] = set()

    def test(self) -> None:
        """Check that audit events reach us, and read the current time of the file system.

        Raises:
            FilesError: No event arrives: another audit hook prevents it.
        """
        _listen(self)
        with self.changes.at_work():
            folder = self.changes.roots[""].absolute(f".fietsupdate/txn/{self.changes.txn}/vault")
            os.utime(folder)
        sys.audit(_TEST)
        if not self.tested:
            _listen(None)
            raise FilesError(
                "Python does not tell the guard of file calls: another audit hook keeps it out.",
                stands=UNCHANGED,
                hint="Set guard = false to run without it; then only self.files is undone.",
            )
        self.outside.since_ns = os.stat(folder).st_ctime_ns

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Handle an audit event, unless it comes from our own work."""
        if self.changes.is_at_work:
            return
        whose = Whose.OTHERS if self.is_over else self.call.whose()
        if whose is not Whose.CALLED:
            self._share(event, arguments)
        if whose is not Whose.OTHERS:
            with self.changes.at_work(), self.changes.lock:
                self.saving.missed.clear()
                _ACTIONS[event](self, arguments)
                for path, real in self.saving.missed:
                    self.outside.notice(event, path, real)

    def _share(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Record that the file at a path is not certainly the hook's own work any more."""
        for path, folder in paths_of(event, arguments):
            for name in names(path, folder):
                if place := self.saving.locate(name):
                    self.changes.own.share(place.root, place.path)

    def tell(self, kind: str, text: str) -> None:
        """Report something that is not undone, once for each kind, and record it."""
        if kind not in self._reported and self.changes.is_own_process:
            self._reported.add(kind)
            self._beyond.note(text)
            self._report(text)

    @contextmanager
    def workers(self) -> Iterator[None]:
        """Take child processes that start and end meanwhile for our own; those that were there before are told."""
        self.look_for_children()
        try:
            yield
        finally:
            self._children = Children()

    def look_for_children(self) -> None:
        """Report child processes that raised no audit event."""
        if "program" not in self._reported and self._children.have_changed():
            self.tell("program", f"Child processes ran while the hook did; {_NOT_UNDONE}")

    # -- one for each event; the arguments are those of the audit event

    def on_test(self, _: tuple[Any, ...]) -> None:
        self.tested = True

    def on_open(self, arguments: tuple[Any, ...]) -> None:
        path, _, flags = arguments
        if isinstance(path, int):
            return  # an open descriptor is only wrapped in a file object
        follow = not flags & os.O_NOFOLLOW and flags & (os.O_CREAT | os.O_EXCL) != os.O_CREAT | os.O_EXCL
        meant = names(path, None, self._folders(path))
        for name in meant:
            if place := self.saving.find(name, follow=follow, destroys=len(meant) == 1):
                self.saving.write(place, flags, certain=len(meant) == 1)

    def on_truncate(self, arguments: tuple[Any, ...]) -> None:
        if not isinstance(arguments[0], int):  # a descriptor was journaled when it was opened
            for name in names(arguments[0], None):
                if place := self.saving.find(name, follow=True, destroys=True):
                    self.saving.write(place, os.O_WRONLY)

    def on_rename(self, arguments: tuple[Any, ...]) -> None:
        source, target, source_folder, target_folder = arguments
        for here in names(source, source_folder):
            for there in names(target, target_folder):
                self.saving.rename(here, there)

    def on_remove(self, arguments: tuple[Any, ...]) -> None:
        for name in names(*arguments[:2]):
            if place := self.saving.find(name, follow=False, destroys=True):
                self.saving.remove(place)

    def on_remove_tree(self, arguments: tuple[Any, ...]) -> None:
        folder = arguments[1] if len(arguments) > 1 else None
        for name in names(arguments[0], folder):
            if place := self.saving.find(name, follow=False, destroys=True):
                self.saving.remove_tree(place)

    def on_mkdir(self, arguments: tuple[Any, ...]) -> None:
        for name in names(arguments[0], arguments[2]):
            if place := self.saving.find(name, follow=False):
                self.saving.mkdir(place)

    def on_symlink(self, arguments: tuple[Any, ...]) -> None:
        for name in names(arguments[1], arguments[2]):
            if place := self.saving.find(name, follow=False):
                self.saving.symlink(place, os.fsdecode(arguments[0]))

    def on_link(self, arguments: tuple[Any, ...]) -> None:
        source, target, source_folder, target_folder = arguments
        for name in names(target, target_folder):
            if place := self.saving.find(name, follow=False):
                self.saving.link(names(source, source_folder)[0], place)

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
        self.tell("program", f"The hook starts {name}; {_NOT_UNDONE}")

    def on_fork(self, _: tuple[Any, ...]) -> None:
        self.tell("program", f"The hook starts a child process; {_NOT_UNDONE}")

    def _meta(self, path: Any, folder: Any, mtime_ns: int | None) -> None:
        for name in names(path, folder):
            for follow in (True, False) if os.path.islink(name) else (True,):
                if place := self.saving.find(name, follow=follow, or_root=True):
                    self.saving.change_meta(place, mtime_ns)

    def _folders(self, path: Any) -> list[str]:
        """Return the folders that a relative path may refer to besides the working directory: ``open`` omits dir_fd."""
        if os.path.isabs(path):
            return []
        return [folder for folder in descriptors.open_folders() if self.saving.locate(f"{folder}/x")]


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
        "os.fork": _Watch.on_fork,
        "os.forkpty": _Watch.on_fork,
    }
)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _awake:
        return
    if event not in _ACTIONS or is_reading(event, arguments) or is_own_thread():
        return
    if _left and event in PATHS:
        _keep_away(event, arguments)
    watch = _watch
    if watch is not None:
        watch.hear(event, arguments)


def _keep_away(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse changes by a thread that still runs although its hook has ended.

    Raises:
        FilesError: The thread would change something in a root.
    """
    for thread, saving in [*_left]:
        if thread.is_current:
            for path, folder in paths_of(event, arguments):
                for name in names(path, folder):
                    if saving.is_inside(name):
                        raise FilesError(
                            f"The hook that started this thread has ended without it: {name} cannot change any more.",
                            hint="Join threads before the hook returns.",
                        )
        elif not thread.is_alive:
            _left.remove((thread, saving))


def _goes_on(left: Sequence[Left]) -> FilesError:
    names = ", ".join(repr(thread.name) for thread in left)
    what = "the thread" if len(left) == 1 else "the threads"
    return FilesError(
        f"The update fails, because {what} {names}, which it has started, went on when its code had returned.",
        hint="Join threads, and shut pools down, before the hook returns. What is to run for longer than an update "
        "belongs into `setup`.",
        details={"threads": [thread.name for thread in left]},
    )


def _install() -> None:
    global _installed  # noqa: PLW0603  # as above
    if not _installed:
        sys.addaudithook(_hook)
        _installed = True


def _listen(watch: _Watch | None) -> None:
    """Observe the calls of a hook, or of none."""
    global _watch, _awake
    _watch, _awake = watch, watch is not None or bool(_left)


def _open_in(changes: Changes) -> Iterator[tuple[int, str]]:
    """Yield the descriptors that are open for writing in a root, with their paths, except those of other threads."""
    for number, path in descriptors.open_for_writing():
        for root, paths in changes.roots.items():
            if not path.startswith(f"{paths.root}/") or paths.is_kept_out(path):
                continue
            if not changes.own.is_shared(root, paths.relative(path)):
                yield number, path


def _refuse_descriptors(changes: Changes, what: str) -> None:
    for number, path in _open_in(changes):
        raise FilesError(
            f"{what} {path} is open for writing (descriptor {number}).",
            hint="Close it: what is written through it cannot be undone.",
            details={"path": path},
        )
