"""The lock that a running updater holds on a data directory, and the name of its holder.

It is a lock of the operating system on ``.fietsupdate/lock``, so the system releases it when its holder dies, however
it dies. On Linux it is an open file description lock (fcntl(2), F_OFDSETLK): unlike flock(2) it can be inspected
without being taken, and unlike a plain POSIX lock it is not lost when other code in the same process reads the file.
Elsewhere it is flock(2), which those systems show to F_GETLK.

The folder that contains the file is locked, too, so that the lock remains when the file is deleted: on Linux by a lock
for reading, as a folder cannot be opened for writing. A process that has locked the file then checks that no other
process has locked the folder.

The file's content names the holder. Locks are polled, never waited for inside a system call.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from fietsupdate.errors import UNCHANGED, FilesError, LockedError
from fietsupdate.filesystem.layout import home, lock_file, make_home, open_home
from fietsupdate.filesystem.posix.durable import write_all
from fietsupdate.filesystem.posix.locks import SET, is_taken, packed
from fietsupdate.filesystem.posix.ownership import give_owner_of
from fietsupdate.filesystem.posix.regular import opened
from fietsupdate.model.clock import now, shown_time
from fietsupdate.model.readback import built, parsed
from fietsupdate.views import LockHolder

_TAKEN = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES})
_NO_FILE = frozenset({errno.EINVAL, errno.ELOOP, errno.EPERM})
"""The errors of `opened` for a path that is no file of ours."""
NAME = "lock"
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0
_UNKNOWN = LockHolder(pid=0, host="", since="", command="")

_held: set[int] = set()
"""Descriptors of the locks that this process holds."""


@contextmanager
def hold(
    data_dir: Path, *, timeout: float, on_wait: Callable[[LockHolder | None], None], command: str
) -> Iterator[None]:
    """Hold the lock of a data directory.

    Args:
        data_dir: The data directory; our own folder is created in it if it is missing.
        timeout: Seconds to wait for another holder; 0 does not wait.
        on_wait: Called once for each holder that is waited for, with ``None`` for a holder that has not signed the
            lock.
        command: The name of our command, for other processes to show.

    Raises:
        LockedError: Another process still holds it.
        FilesError: The data directory is missing or cannot be written, or its file system has no locks.
    """
    make_home(data_dir)
    folder, descriptor = _acquire(data_dir, timeout, on_wait)
    pid = os.getpid()
    _held.update((folder, descriptor))
    try:
        _sign(descriptor, LockHolder(pid, socket.gethostname(), now(), command))
        yield
    finally:
        if os.getpid() == pid:
            _held.difference_update((folder, descriptor))
            try:
                # closing releases the lock; a name that is left in the file has no meaning then
                with suppress(OSError):
                    os.ftruncate(descriptor, 0)
            finally:
                os.close(descriptor)
                os.close(folder)


def holder(data_dir: Path) -> LockHolder | None:
    """Return the current holder of the lock, or ``None``, without taking, creating or disturbing anything.

    A holder that has not signed the lock has pid 0.
    """
    try:
        folder = open_home(data_dir)
    except (OSError, FilesError):
        return None
    try:
        return _holder(folder)
    finally:
        os.close(folder)


def _holder(folder: int) -> LockHolder | None:
    try:
        descriptor = opened(NAME, folder=folder)
    except OSError:
        return _UNKNOWN if is_taken(folder) else None
    try:
        if is_taken(descriptor):
            return _read(descriptor)
        return _UNKNOWN if is_taken(folder) else None
    finally:
        os.close(descriptor)


def _acquire(data_dir: Path, timeout: float, on_wait: Callable[[LockHolder | None], None]) -> tuple[int, int]:
    """Poll until the lock is ours; return the descriptors of the folder and of the file in it."""
    until = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    told: LockHolder | None = None
    while True:
        folder, descriptor = _open(data_dir)
        try:
            if _try_both(folder, descriptor, data_dir) and _is_still_there(folder, descriptor, data_dir):
                return folder, descriptor
            who = _read(descriptor)
        except BaseException:
            os.close(descriptor)
            os.close(folder)
            raise
        os.close(descriptor)
        os.close(folder)
        if time.monotonic() >= until:
            raise _locked(data_dir, who)
        if who != told:
            told = who
            on_wait(who if who.pid else None)
        time.sleep(min(pause, max(0.0, until - time.monotonic())))
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def _open(data_dir: Path) -> tuple[int, int]:
    """Open the folder, and the file in it, which is created if it is missing.

    Raises:
        FilesError: The folder is not ours alone, or the file cannot be locked.
    """
    path = lock_file(data_dir)
    try:
        folder = open_home(data_dir)
        try:
            return folder, _open_file(folder)
        except BaseException:
            os.close(folder)
            raise
    except OSError as error:
        hint = f"Take it away: rm {path}" if error.errno in _NO_FILE else "Run as the owner of the data directory."
        raise FilesError(f"The lock {path} cannot be opened: {error.strerror}.", stands=UNCHANGED, hint=hint) from error


def _open_file(folder: int) -> int:
    descriptor = opened(NAME, os.O_RDWR | os.O_CREAT, folder=folder)
    try:
        if os.fstat(descriptor).st_nlink > 1:  # we write into it, and another name of it could be any user's file
            raise OSError(errno.EINVAL, "it has another name, too")
        give_owner_of(descriptor, os.fstat(folder))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _try_both(folder: int, descriptor: int, data_dir: Path) -> bool:
    """Take the lock of the file, then that of the folder."""
    if not _try_lock(descriptor, data_dir):
        return False
    if SET is None:
        return _try_lock(folder, data_dir)
    if is_taken(folder):
        return False
    with suppress(OSError):  # where folders cannot be locked, the lock of the file has to suffice
        fcntl.fcntl(folder, SET, packed(fcntl.F_RDLCK))
    return True


def _try_lock(descriptor: int, data_dir: Path) -> bool:
    try:
        if SET is None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            fcntl.fcntl(descriptor, SET, packed(fcntl.F_WRLCK))
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise FilesError(
            f"The file system of {data_dir} does not support locks: {error.strerror}.",
            stands=UNCHANGED,
            hint="On a network share, mount it with locking (NFS: start the lock service, no 'nolock').",
        ) from error
    return True


def _is_still_there(folder: int, descriptor: int, data_dir: Path) -> bool:
    """Return whether other processes will find the folder and file that we locked, which may have been replaced."""
    try:
        there = os.lstat(home(data_dir)), os.stat(NAME, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return all(map(os.path.samestat, there, (os.fstat(folder), os.fstat(descriptor))))


def _sign(descriptor: int, who: LockHolder) -> None:
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    write_all(descriptor, json.dumps(asdict(who)).encode())


def _read(descriptor: int) -> LockHolder:
    try:
        return built(LockHolder, parsed(os.pread(descriptor, 4096, 0)))
    except (OSError, ValueError):
        return _UNKNOWN  # it has just been taken, and not signed yet


def _locked(data_dir: Path, who: LockHolder) -> LockedError:
    since = shown_time(who.since)
    name = f"Process {who.pid} on {who.host} ({who.command}, since {since})" if who.pid else "Another process"
    return LockedError(
        f"{name} is updating {data_dir}.",
        stands=UNCHANGED,
        hint="Wait until it has finished, or give it longer with --lock-timeout SECONDS.",
        details=asdict(who),
    )


def _let_go_in_child() -> None:
    """Close inherited locks after a fork: a child must not keep its parent's lock after the parent has died."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go_in_child)
