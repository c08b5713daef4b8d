"""Make folders read-only for this process and its children, by a mount namespace of its own (Linux).

The folders are mounted over themselves, read-only, visible to this process and its children only; nothing changes for
other processes. Root may do that; another user may in a user namespace, where the system allows those
(mount_namespaces(7), user_namespaces(7), mount_setattr(2); Linux 5.12). Python's ``os`` has none of these calls.

To be called in a child process, since it cannot be undone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Iterable
from pathlib import Path

_NEW_MOUNTS, _NEW_USER = 0x0002_0000, 0x1000_0000
_BIND, _RECURSIVE, _PRIVATE = 4096, 16384, 1 << 18
_MOUNT_SETATTR = 442
"""The number of the system call, which is the same on all architectures but Alpha."""
_AT_RECURSIVE, _READ_ONLY = 0x8000, 1
_HERE = -100
"""AT_FDCWD."""
_CAPABILITIES_3 = 0x2008_0522


class _Attributes(ctypes.Structure):
    """``struct mount_attr``."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user")]  # ctypes


def isolate(read_only: Iterable[Path], writable: Iterable[Path]) -> None:
    """Make folders and files read-only for this process and its children.

    The working directory is entered again by its name, because the old one would still be writable.

    Args:
        read_only: Absolute paths, with everything that is mounted below them.
        writable: Folders inside of them that stay writable.

    Raises:
        OSError: The system refuses; the process must not go on then, since it may be half isolated.
    """
    if not sys.platform.startswith("linux"):
        raise OSError(errno.ENOSYS, "only Linux has mount namespaces")
    folder = os.getcwd()
    libc = ctypes.CDLL(None, use_errno=True)
    has_user_namespace = _unshare(libc)
    _mount(libc, None, "/", _RECURSIVE | _PRIVATE)
    paths, gates = _outermost_first(read_only), _outermost_first(writable)
    for path in paths:
        _mount(libc, path, path, _BIND | _RECURSIVE)
    for path in gates:
        _mount(libc, path, path, _BIND)
    for path in paths:
        _set_attributes(libc, path, set_=_READ_ONLY, flags=_AT_RECURSIVE)
    for path in gates:
        _set_attributes(libc, path, clear=_READ_ONLY)
    if has_user_namespace and os.geteuid():
        _drop_capabilities(libc)
    os.chdir(folder)


def is_faithful_for(owners: Iterable[tuple[int, int]]) -> bool:
    """Return whether owners and groups of files look the same in a user namespace as outside.

    Inside, only the user and the user's group are mapped; all other ids appear as the overflow id, and cannot be set.

    Args:
        owners: Pairs of user and group that own files.
    """
    return may_mount() or set(owners) <= {(os.geteuid(), os.getegid())}


def may_mount() -> bool:
    """Return whether this process may make a mount namespace without a user namespace (CAP_SYS_ADMIN)."""
    try:
        with open("/proc/self/status", "rb") as file:
            found = next((line.split()[1] for line in file if line.startswith(b"CapEff:")), b"0")
    except OSError:
        return False
    return bool(int(found, 16) >> 21 & 1)


def _unshare(libc: ctypes.CDLL) -> bool:
    """Leave the mounts that other processes see; return whether a user namespace was needed."""
    user, group = os.geteuid(), os.getegid()
    if may_mount():
        _checked(libc.unshare(_NEW_MOUNTS), "unshare")
        return False
    _checked(libc.unshare(_NEW_MOUNTS | _NEW_USER), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "wb", buffering=0) as file:
            file.write(text.encode())
    return True


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Drop the capabilities: in the new namespace even an ordinary user has all of them, for own files too."""
    header, nothing = (ctypes.c_uint32 * 2)(_CAPABILITIES_3, 0), (ctypes.c_uint32 * 6)()
    _checked(libc.capset(ctypes.byref(header), ctypes.byref(nothing)), "capset")


def _mount(libc: ctypes.CDLL, source: str | None, target: str, flags: int) -> None:
    name = None if source is None else os.fsencode(source)
    _checked(libc.mount(name, os.fsencode(target), None, ctypes.c_ulong(flags), None), f"mount {target}")


def _set_attributes(libc: ctypes.CDLL, path: str, *, set_: int = 0, clear: int = 0, flags: int = 0) -> None:
    wanted = _Attributes(set_, clear, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    answer = libc.syscall(_MOUNT_SETATTR, _HERE, os.fsencode(path), flags, ctypes.byref(wanted), size)
    _checked(answer, f"mount_setattr {path}")


def _checked(answer: int, what: str) -> None:
    if answer != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def _outermost_first(paths: Iterable[Path]) -> list[str]:
    """Return the real paths, each once, outermost first: a later mount must not be covered by one above it."""
    return sorted({os.path.realpath(path) for path in paths}, key=lambda path: path.count("/"))
