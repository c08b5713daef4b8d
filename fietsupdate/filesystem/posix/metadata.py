"""The metadata of files: how they are read, compared, and restored.

`Seen` distinguishes a file from every other; `Meta` is what has to be restored besides its content.
"""

from __future__ import annotations

import base64
import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from fietsupdate.filesystem.posix.folders import IN_THE_WAY, Folders, Where, by_proc, pinned, split
from fietsupdate.filesystem.posix.identity import user
from fietsupdate.filesystem.posix.ownership import set_times_ns

_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
NOT_THERE = IN_THE_WAY | {errno.ENOENT}
_NO_XATTRS = frozenset({errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.ENODATA, errno.EINVAL})


class Seen(NamedTuple):
    """The attributes of a path at one moment."""

    kind: str
    """``file``, ``folder``, ``link`` or ``other``."""
    size: int
    mtime_ns: int
    inode: int

    def is_same(self, other: Seen | None) -> bool:
        """Return whether both are the same file or folder, unchanged.

        A folder counts as unchanged whatever it contains.
        """
        if other is None or (self.kind, self.inode) != (other.kind, other.inode):
            return False
        return self.kind != "file" or self == other

    def looks_like(self, other: Seen | None) -> bool:
        """Return whether both are equal except for the inode: a copy has another inode."""
        return other is not None and self._replace(inode=other.inode).is_same(other)

    def may_be(self, other: Seen) -> bool:
        """Return whether a later look saw the same file, even if its content has changed.

        Where a file with several names is changed in any way, overlayfs gives it another inode; then it is recognised
        by its size and time.
        """
        return (self.kind, self.inode) == (other.kind, other.inode) or (self.kind == "file" and self.looks_like(other))


def seen(where: Where) -> Seen | None:
    """Return the attributes of a file, not following a symlink at its end; ``None`` when it does not exist."""
    name, folder = split(where)
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NOT_THERE:
            raise
        return None
    return seen_in(status)


def seen_below(folders: Folders, path: str) -> Seen | None:
    """Return the attributes of a canonical absolute path, following no symlink at all.

    ``None`` when it does not exist.
    """
    folder, _, name = path.rpartition("/")
    try:
        status = os.stat(name, dir_fd=folders.descriptor(folder), follow_symlinks=False)
    except OSError as error:
        if error.errno not in NOT_THERE:
            raise
        return None
    return seen_in(status)


def seen_in(status: os.stat_result) -> Seen:
    """Return the attributes in a stat result."""
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), "other")
    return Seen(kind, status.st_size, status.st_mtime_ns, status.st_ino)


def is_file(status: os.stat_result, looks: tuple[Sequence[int], Sequence[int], Sequence[int]], number: int) -> bool:
    """Return whether a stat result is that of an ordinary file with a recorded inode, size and time.

    It compares what `Seen.is_same` does, without the cost of a `Seen`.

    Args:
        status: The stat result.
        looks: The inodes, sizes and times of some files.
        number: Which of them is meant.
    """
    inodes, sizes, times = looks
    return (
        status.st_ino == inodes[number]
        and status.st_size == sizes[number]
        and status.st_mtime_ns == times[number]
        and stat.S_ISREG(status.st_mode)
    )


@dataclass(frozen=True, slots=True)
class Meta:
    """Mode, owner, time and extended attributes of a file or folder."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: Mapping[str, str] = field(default_factory=dict)
    """Values in base64. Access control lists are among them (``system.posix_acl_access``)."""

    def to_json(self) -> list[Any]:
        """Return the metadata as JSON values."""
        return [self.mode, self.uid, self.gid, self.mtime_ns, dict(self.xattrs)]

    @classmethod
    def of(cls, where: Where) -> Meta:
        """Read the metadata of a file, not following a symlink."""
        status = _status(where)
        xattrs = read_xattrs(by_proc(where))
        return cls(stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns, xattrs)

    def apply(self, where: Where, *, time: bool = True) -> None:
        """Set the metadata of a file, not following a symlink; values that are already right are not touched."""
        status = _status(where)
        if (status.st_uid, status.st_gid) != (self.uid, self.gid):
            _chown(where, self.uid, self.gid)
        if not stat.S_ISLNK(status.st_mode):
            if stat.S_IMODE(_status(where).st_mode) != self.mode:  # chown may have cleared the set-id bits
                set_mode(where, self.mode)
            _write_xattrs(by_proc(where), self.xattrs)
        if time and status.st_mtime_ns != self.mtime_ns:
            set_mtime(where, self.mtime_ns)


def attainable(meta: Meta) -> Meta:
    """Return the attributes that this user can set.

    A file that becomes this user's own is opened to no further group.
    """
    own = user()
    if not own:
        return meta
    if meta.uid != own:
        meta = replace(meta, uid=own, mode=meta.mode | 0o600)
    if meta.gid not in {os.getegid(), *os.getgroups()}:
        others = (meta.mode & 0o007) << 3
        meta = replace(meta, gid=os.getegid(), mode=meta.mode & ~0o2070 | meta.mode & others)
    return meta


def set_mode(where: Where, mode: int) -> None:
    """Set the mode of a file or folder, not following a symlink.

    Raises:
        OSError: ELOOP, the path is a symlink.
    """
    with pinned(where) as path:
        os.chmod(path, mode)


def set_mtime(where: Where, mtime_ns: int) -> None:
    """Set the time of the last change, and keep that of the last access."""
    set_times_ns(where, _status(where).st_atime_ns, mtime_ns)


def _status(where: Where) -> os.stat_result:
    name, folder = split(where)
    return os.stat(name, dir_fd=folder, follow_symlinks=False)


def read_xattrs(path: str) -> dict[str, str]:
    """Read the extended attributes that this user may read; an empty mapping where the system has none."""
    if not hasattr(os, "listxattr"):
        return {}
    found: dict[str, str] = {}
    with _refusals():
        for name in sorted(os.listxattr(path, follow_symlinks=False)):
            with _refusals():
                found[name] = base64.b64encode(os.getxattr(path, name, follow_symlinks=False)).decode()
    return found


@contextmanager
def _refusals() -> Iterator[None]:
    """Ignore it when the system refuses one attribute, because the others do not depend on it."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_XATTRS:
            raise


def _write_xattrs(path: str, wanted: Mapping[str, str]) -> None:
    if not hasattr(os, "listxattr"):
        return
    there = read_xattrs(path)
    for name in there.keys() - wanted.keys():
        with _refusals():
            os.removexattr(path, name, follow_symlinks=False)
    for name in wanted:
        if there.get(name) != wanted[name]:
            with _refusals():
                os.setxattr(path, name, base64.b64decode(wanted[name]), follow_symlinks=False)


def _chown(where: Where, uid: int, gid: int) -> None:
    name, folder = split(where)
    try:
        os.chown(name, uid, gid, dir_fd=folder, follow_symlinks=False)
    except PermissionError:
        if user() == 0:
            raise  # an ordinary user cannot give a file back to another user, and did not take it either
