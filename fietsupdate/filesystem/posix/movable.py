"""Tells before anything is moved what this user cannot move: by its modes, its owner, or its flags.

Flags keep a file or folder from being moved by anybody, root among them (chattr(1), chflags(1)).
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct

_AT_FDCWD = -100
_AT_SYMLINK_NOFOLLOW = 0x100
_SIZE, _ATTRIBUTES = 256, 8
"""Bytes of a ``struct statx``, and where in it its attributes are (statx(2))."""
_LINUX = {0x10: "immutable (chattr +i)", 0x20: "append-only (chattr +a)"}
_BSD = {
    stat.UF_IMMUTABLE | stat.SF_IMMUTABLE: "immutable (chflags uchg)",
    stat.UF_APPEND | stat.SF_APPEND: "append-only (chflags uappnd)",
}

_statx = getattr(ctypes.CDLL(None, use_errno=True), "statx", None)


def obstacle(folder: str, path: str) -> tuple[str, str] | None:
    """Say why this user cannot move an entry of a folder, or what is in the folder itself, and what to do about it.

    To move a folder to another one, rename(2) needs the right to write into it, as its ``..`` changes; one that is
    our own can be opened for that. From a sticky folder only the owner of an entry, or of the folder, takes it away.
    """
    if flag := _flag_of(path):
        return f"it is {flag}", "Take that flag away, and try again."
    reason = _refused(folder, path) if os.geteuid() else ""
    return (reason, "Run as the owner of the files, or as root with --as-root.") if reason else None


def _refused(folder: str, path: str) -> str:
    """Say what keeps an ordinary user from it; "" for nothing."""
    status, above = os.lstat(path), os.stat(folder)
    user, is_inside = os.geteuid(), path != folder
    if is_inside and above.st_mode & stat.S_ISVTX and user not in {status.st_uid, above.st_uid}:
        return "it belongs to somebody else, and its folder is sticky"
    if not stat.S_ISDIR(status.st_mode) or (is_inside and status.st_uid == user):
        return ""
    may = os.access(path, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)
    return "" if may else "this user may not write into it"


def _flag_of(path: str) -> str:
    """Say what keeps a path, or what is in a folder, from being moved; "" for nothing, or unknown."""
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
