"""The audit events of file calls: which paths a call is about to change.

The events, and the order of their arguments, are those of https://docs.python.org/3/library/audit_events.html.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

from fietsupdate.filesystem.posix import descriptors

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PATHS: Mapping[str, tuple[tuple[int, int | None], ...]] = MappingProxyType(
    {
        "open": ((0, None),),
        "os.truncate": ((0, None),),
        "os.rename": ((0, 2), (1, 3)),
        "os.remove": ((0, 1),),
        "os.rmdir": ((0, 1),),
        "shutil.rmtree": ((0, 1),),
        "os.mkdir": ((0, 2),),
        "os.symlink": ((1, 2),),
        "os.link": ((0, 2), (1, 3)),  # because the file could be changed through its second name
        "os.chmod": ((0, 2),),
        "os.chown": ((0, 3),),
        "os.utime": ((0, 3),),
        "os.setxattr": ((0, None),),
        "os.removexattr": ((0, None),),
    }
)
"""Events, with the positions of each path in their arguments and of the descriptor that it is relative to."""


def is_reading(event: str, arguments: tuple[Any, ...]) -> bool:
    """Return whether an event announces a file that is opened for reading only."""
    return event == "open" and not (arguments[2] or 0) & WRITING


def paths_of(event: str, arguments: tuple[Any, ...]) -> Iterable[tuple[Any, Any]]:
    """Return the paths that a call names, each with the descriptor that it is relative to, or ``None``."""
    for path, folder in PATHS.get(event, ()):
        at = None if folder is None or folder >= len(arguments) else arguments[folder]
        yield arguments[path], at


def names(path: Any, folder: Any, candidates: Iterable[str] = ()) -> list[str]:
    """Return the absolute paths that the arguments of a call may mean.

    Args:
        path: Text, bytes, a path object, or a descriptor.
        folder: The descriptor that a relative path is relative to; negative or ``None`` for the working directory.
        candidates: Folders that it may be relative to as well: ``open`` omits dir_fd.
    """
    if isinstance(path, int):
        name = descriptors.path_of(path)
        return [name] if name else []
    text = os.fsdecode(path)
    if os.path.isabs(text):
        return [text]
    if isinstance(folder, int) and folder >= 0:
        base = descriptors.path_of(folder)
        return [f"{base}/{text}"] if base else []
    with suppress(OSError):
        return [f"{base}/{text}" for base in dict.fromkeys([os.getcwd(), *candidates])]
    return []
