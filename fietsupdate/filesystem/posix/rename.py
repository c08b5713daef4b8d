"""Move files and folders to a name without ever replacing an existing file, copy them, and erase our own.

rename(2) replaces silently. While a transaction runs or is undone, the application may create a file under the name of
ours. So names are taken with RENAME_NOREPLACE (renameat2(2); ``renameatx_np`` on macOS), else by a link, else after
checking that the name is free.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from fietsupdate.filesystem.posix import durable
from fietsupdate.filesystem.posix.content import copy_content
from fietsupdate.filesystem.posix.descriptors import open_at
from fietsupdate.filesystem.posix.folders import Opened, Slot, Where, path_of, split
from fietsupdate.filesystem.posix.metadata import Meta, seen, set_mode

_AT_FDCWD = -2 if sys.platform == "darwin" else -100
NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL
_NOREPLACE, _EXCHANGE = 1, 2
_EXCL, _SWAP = 4, 2
_UNKNOWN = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})
NO_LINK = frozenset({errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EACCES})
"""The errors of link(2) where a second name is refused: the file system has no links, or the file is not ours."""

_libc = ctypes.CDLL(None, use_errno=True)
_renameat2 = getattr(_libc, "renameat2", None)
_renameatx_np = getattr(_libc, "renameatx_np", None)


def place(source: Where, target: Where) -> None:
    """Rename a file, symlink or folder to a name that is free.

    Raises:
        FileExistsError: The name is taken; nothing was changed.
        OSError: As for rename(2).
    """
    audit(source, target)
    number = _rename_exclusively(source, target)
    if not number:
        return
    if number in _UNKNOWN:
        _place_by_looking(source, target)
    else:
        raise OSError(number, os.strerror(number), path_of(source), None, path_of(target))


_rename_with = _renameat2 or _renameatx_np
_TO_FREE = ctypes.c_uint(_NOREPLACE if _renameat2 is not None else _EXCL)
_TO_EACH_OTHER = ctypes.c_uint(_EXCHANGE if _renameat2 is not None else _SWAP)


def renaming(source: Opened, target: Opened, *, exchange: bool = False) -> Callable[[str, str], None]:
    """Return what renames many files between two open folders: each to a name that is free, or exchanging two names.

    Unlike `place`, it does nothing else where the file system has no such call.

    Raises:
        OSError: As for renameat2(2), when it is called; nothing was changed.
    """
    old_path, new_path, say, encode, rename = source.path, target.path, sys.audit, os.fsencode, _rename_with
    if rename is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    old, new = ctypes.c_int(source.descriptor), ctypes.c_int(target.descriptor)
    how = _TO_EACH_OTHER if exchange else _TO_FREE

    def call(name: str, other: str) -> None:
        say("os.rename", f"{old_path}/{name}", f"{new_path}/{other}", -1, -1)
        if rename(old, encode(name), new, encode(other), how):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), f"{old_path}/{name}", None, f"{new_path}/{other}")

    return call


def audit(source: Where, target: Where) -> None:
    """Report a rename to Python's audit hooks, which cannot see it, as os.rename would."""
    sys.audit("os.rename", path_of(source), path_of(target), -1, -1)


def _rename_exclusively(source: Where, target: Where) -> int:
    """Rename unless the target exists; return the error number, 0 for success."""
    if _renameat2 is not None:
        failed = _renameat2(*_arguments(source), *_arguments(target), _NOREPLACE)
    elif _renameatx_np is not None:
        failed = _renameatx_np(*_arguments(source), *_arguments(target), _EXCL)
    else:
        return errno.ENOSYS
    return ctypes.get_errno() if failed else 0


def _arguments(where: Where) -> tuple[int, bytes]:
    if isinstance(where, str):
        return _AT_FDCWD, os.fsencode(where)
    return where.folder, os.fsencode(where.name)


def _place_by_looking(source: Where, target: Where) -> None:
    (old, old_folder), (new, new_folder) = split(source), split(target)
    if not stat.S_ISDIR(os.stat(old, dir_fd=old_folder, follow_symlinks=False).st_mode):
        try:
            link(source, target)
        except OSError as error:
            if error.errno not in NO_LINK:
                raise
        else:
            os.unlink(old, dir_fd=old_folder)
            return
    if seen(target) is not None:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path_of(target))
    os.rename(old, new, src_dir_fd=old_folder, dst_dir_fd=new_folder)


def replace(source: Where, target: Where) -> None:
    """Rename a file, replacing a file that has the new name."""
    (old, old_folder), (new, new_folder) = split(source), split(target)
    os.rename(old, new, src_dir_fd=old_folder, dst_dir_fd=new_folder)


def link(source: Where, target: Where) -> None:
    """Link a file or symlink under a second name."""
    (old, old_folder), (new, new_folder) = split(source), split(target)
    os.link(old, new, src_dir_fd=old_folder, dst_dir_fd=new_folder, follow_symlinks=False)


def open_file(where: Where, flags: int = os.O_RDONLY, mode: int = 0o666) -> int:
    """Open a file without following a symlink; a FIFO or device does not block."""
    name, folder = split(where)
    return open_at(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode, folder=folder)


def copy_file(source: Where, target: Where) -> None:
    """Copy a file or symlink to a new name, durably, with all its `Meta`.

    The space is reserved first, so that a full disk is noticed before anything depends on the copy.
    """
    (old, old_folder), (new, new_folder) = split(source), split(target)
    if stat.S_ISLNK(os.stat(old, dir_fd=old_folder, follow_symlinks=False).st_mode):
        os.symlink(os.readlink(old, dir_fd=old_folder), new, dir_fd=new_folder)
        Meta.of(source).apply(target)
        return
    with open(open_file(source), "rb") as reader, open(open_file(target, NEW), "wb") as writer:
        copy_content(reader.fileno(), writer.fileno())
        Meta.of(source).apply(target)
        durable.sync(writer.fileno(), path_of(target))


def erase(where: Where) -> None:
    """Delete a file or a whole folder of ours, whatever its modes and the length of its paths.

    Ignore a missing file.
    """
    name, folder = split(where)
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise
    else:
        return
    with suppress(OSError):
        set_mode(where, 0o700)
    with opened(where) as descriptor:
        for inside in slots_in(descriptor, path_of(where)):
            erase(inside)
    os.rmdir(name, dir_fd=folder)


def unlink(slot: Slot) -> None:
    """Remove the name of a file that is no folder."""
    os.unlink(slot.name, dir_fd=slot.folder)


@contextmanager
def opened(where: Where) -> Iterator[int]:
    """Open a folder to list it, without following a symlink."""
    name, folder = split(where)
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def slots_in(descriptor: int, path: str) -> list[Slot]:
    """Return the entries of an open folder, sorted; valid as long as the folder is open.

    Args:
        descriptor: The folder.
        path: Its path, for messages.
    """
    return [Slot(name, descriptor, f"{path}/{name}") for name in sorted(os.listdir(descriptor))]


def copy_tree(source: Slot, target: Slot) -> None:
    """Copy a file, symlink or whole folder to a new name, durably, with all its `Meta`."""
    look = seen(source)
    if look is None or look.kind != "folder":
        copy_file(source, target)
        return
    os.mkdir(target.name, 0o700, dir_fd=target.folder)
    with opened(source) as old, opened(target) as new:
        for inside in slots_in(old, source.path):
            copy_tree(inside, Slot(inside.name, new, f"{target.path}/{inside.name}"))
    Meta.of(source).apply(target)
