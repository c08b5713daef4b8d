"""The user for whom root changes files: instructions that another user may have written run with that user's rights.

A journal names files to be moved, deleted, and given another owner. The owner of the folder that contains the journal
can have forged it. So root follows it as that user (`acting_as`), who could have done the same without us. What root
itself writes stays owned by root as long as it matters, so that no other user can have forged it.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fietsupdate.errors import OwnershipError

_libc = ctypes.CDLL(None, use_errno=True)
_setfsuid = getattr(_libc, "setfsuid", None)
_setfsgid = getattr(_libc, "setfsgid", None)
_acting = threading.local()
_ASK = -1
"""Changes nothing when passed as a user; setfsuid(2) then returns the current one."""


def user() -> int:
    """Return the id of the user with whose rights this thread changes files."""
    acting: int | None = getattr(_acting, "uid", None)
    return os.geteuid() if acting is None else acting


@contextmanager
def acting_as(owner: os.stat_result) -> Iterator[None]:
    """Let this thread change files with the rights of a file's owner, if root runs it and another user owns the file.

    On Linux this applies to this thread alone (setfsuid(2)), and its supplementary groups are the user's, too;
    elsewhere it applies to the process (seteuid(2)).

    Raises:
        OwnershipError: The system does not let us become that user.
    """
    if user() != 0 or owner.st_uid == 0:
        yield
        return
    groups = os.getgroups()
    try:
        _become(owner.st_uid, owner.st_gid, _groups_of(owner))
        _acting.uid = owner.st_uid
        yield
    finally:
        _acting.uid = None
        _become_root(groups)


def _become(uid: int, gid: int, groups: list[int]) -> None:
    try:
        os.setgroups(groups)
        if _setfsuid is None or _setfsgid is None:
            os.setegid(gid)
            os.seteuid(uid)
            return
    except PermissionError as error:
        raise _refused(uid) from error
    _setfsgid(gid)
    _setfsuid(uid)
    if (_setfsuid(_ASK), _setfsgid(_ASK)) != (uid, gid):
        raise _refused(uid)


def _become_root(groups: list[int]) -> None:
    if _setfsuid is None or _setfsgid is None:
        os.seteuid(0)
        os.setegid(os.getgid())
    else:
        _setfsuid(0)
        _setfsgid(os.getegid())
    with suppress(PermissionError):  # setting groups was refused before, too
        os.setgroups(groups)


def _groups_of(owner: os.stat_result) -> list[int]:
    try:
        return os.getgrouplist(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid)
    except KeyError:  # a user id without a name, as in containers
        return [owner.st_gid]


def _refused(uid: int) -> OwnershipError:
    return OwnershipError(
        f"What belongs to user {uid} is followed with that user's rights only, and the system does not let us take "
        "them.",
        stands="Nothing was changed by this command.",
        hint=f"Run it as that user: setpriv --reuid {uid} --clear-groups fietsupdate ...",
        details={"uid": uid},
    )
