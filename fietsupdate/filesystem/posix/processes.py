"""Inspect other processes of this system, as far as it shows them: Linux in /proc, other systems not at all."""

from __future__ import annotations

import os

RUNNING, STOPPED, GONE = "running", "stopped", "gone"

_AFTER_NAME = 2
"""The number of the first field of /proc/PID/stat after the name, minus one; see proc_pid_stat(5)."""
_START = 22
_ENDED = frozenset("ZXx")
_HALTED = frozenset("Tt")


def boot_id() -> str:
    """Return the id of this boot of this system, which is the same in all of its containers; "" if it has none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return file.read(64).decode("ascii", "replace").strip()
    except OSError:
        return ""


def pid_namespace() -> str:
    """Return the id of the namespace in which the number of this process is valid; "" if it is not known."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def started(pid: int) -> int:
    """Return when a process began, in ticks since the system was booted; 0 if that is not known."""
    fields = _fields(pid)
    return int(fields[_START - _AFTER_NAME - 1]) if fields else 0


def state_of(pid: int, born: int) -> str:
    """Return ``running``, ``stopped`` or ``gone``; "" if processes cannot be inspected.

    Args:
        pid: The number of the process, in our namespace.
        born: The result of `started` when the process ran; a process with another time is another process.
    """
    if not born:
        return ""
    fields = _fields(pid)
    if not fields:
        return "" if _is_there(pid) else GONE  # /proc may hide the processes of other users
    if int(fields[_START - _AFTER_NAME - 1]) != born or fields[0] in _ENDED:
        return GONE
    return STOPPED if fields[0] in _HALTED else RUNNING


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # the process exists and belongs to another user; or the number is not valid
    return True


def _fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third one on; the name before them may contain any characters."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read(4096).rpartition(b")")[2].decode("ascii", "replace").split()
    except OSError:
        return []
