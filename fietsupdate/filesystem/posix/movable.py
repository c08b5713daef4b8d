"""Find out in advance what this user cannot move because of its mode, its owner, or its flags.

Flags prevent every user, even root, from moving a file or folder (chattr(1), chflags(1)).
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct

_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100
_SIZE, _ATTRIBUTES = 256, 8
"""The size of a ``struct statx`` in bytes, and the offset of its attributes (statx(2))."""
_LINUX = {0x10: "immutable (chattr +i)", 0x20: "append-only (chattr +a)"}
_BSD = {
    stat.UF_IMMUTABLE | stat.SF_IMMUTABLE: "immutable (chflags uchg)",
    stat.UF_APPEND | stat.SF_APPEND: "append-only (chflags uappnd)",
}

_statx = getattr(ctypes.CDLL(None, use_errno=True), "statx", None)


def obstacle(folder: str, path: str) -> tuple[str, str] | None:
    """Return why this user cannot move an entry of a folder, or the folder's content, and how to change that.

    To move a folder into another one, rename(2) needs the right to write into it, because its ``..`` changes; for a
    folder of our own, the mode can be changed. From a sticky folder only the owner of an entry, or of the folder, can
    move it.
    """
    if flag := _flag_of(path):
        return f"it is {flag}", "Take that flag away, and try again."
    reason = _refused(folder, path) if os.geteuid() else ""
    return (reason, "Run as the owner of the files, or as root with --as-root.") if reason else None


def _refused(folder: str, path: str) -> str:
    """Return what prevents an ordinary user from moving it, or ""."""
    status, above = os.lstat(path), os.stat(folder)
    user, is_inside = os.geteuid(), path != folder
    if is_inside and above.st_mode & stat.S_ISVTX and user not in {status.st_uid, above.st_uid}:
        return "it belongs to another user, and its folder is sticky"
    if not stat.S_ISDIR(status.st_mode) or (is_inside and status.st_uid == user):
        return ""
    may = os.access(path, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)
    return "" if may else "this user may not write into it"


def _flag_of(path: str) -> str:
    """Return the flag that prevents a path, or a folder's content, from being moved; "" for none, or if unknown."""
    flags, names = (_attributes(path), _LINUX) if _statx is not None else (_flags(path), _BSD)
    return next((name for bits, name in names.items() if flags & bits), "")


def _attributes(path: str) -> int:
    assert _statx is not None  # noqa: S101  # for the type checker
    found = ctypes.create_string_buffer(_SIZE)
    if _statx(_AT_FDCWD, os.fsencode(path), _AT_SYMLINK_NOFOLLOW, 0, found):
        return 0
    attributes: int = struct.unpack_from("=Q", found, _ATTRIBUTES)[0]
    return attributes


def _flags(path: str) -> int:
    try:
        return getattr(os.lstat(path), "st_flags", 0)
    except OSError:
        return 0
