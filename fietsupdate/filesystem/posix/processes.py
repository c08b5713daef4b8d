"""Other processes of this system, as far as it shows them: Linux in /proc, others not at all."""

from __future__ import annotations

import os

RUNNING, STOPPED, GONE = "running", "stopped", "gone"

_AFTER_NAME = 2
"""The number of the first field of /proc/PID/stat after the name, minus one; see proc_pid_stat(5)."""
_START = 22
_ENDED = frozenset("ZXx")
_HALTED = frozenset("Tt")


def boot_id() -> str:
    """Return a name of this boot of this system, the same in all of its containers; "" where it has none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return file.read(64).decode("ascii", "replace").strip()
    except OSError:
        return ""


def pid_namespace() -> str:
    """Return a name of the namespace in which this process has its number; "" where it is not known."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def started(pid: int) -> int:
    """Return when a process began, in ticks since the system was booted; 0 where that is not known."""
    fields = _fields(pid)
    return int(fields[_START - _AFTER_NAME - 1]) if fields else 0


def state_of(pid: int, born: int) -> str:
    """Return ``running``, ``stopped`` or ``gone``; "" where processes cannot be looked at.

    Args:
        pid: Its number, in our namespace.
        born: What `started` returned for it when it ran; a process with another time is another process.
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
        pass  # it is there, and another user's; or the number is none
    return True


def _fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third one on; the name before them may hold anything."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read(4096).rpartition(b")")[2].decode("ascii", "replace").split()
    except OSError:
        return []
