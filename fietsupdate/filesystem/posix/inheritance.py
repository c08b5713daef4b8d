"""Create new files as a plain call in their folder would, although they are first written elsewhere.

A folder may pass on its group (set-group-ID bit) and an access control list (``system.posix_acl_default``), also a
group that this user is not in, and could not set on an existing file. So the kernel creates the file in that very
folder, without a name (O_TMPFILE), and the file gets its first name among the drafts.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from fietsupdate.filesystem.posix.descriptors import open_at
from fietsupdate.filesystem.posix.folders import Slot
from fietsupdate.filesystem.posix.rename import NEW, open_file

_DEFAULT_ACL = "system.posix_acl_default"
_NAMELESS = getattr(os, "O_TMPFILE", 0)


def passes_on(folder: int) -> bool:
    """Return whether new files in an open folder get a group or an access control list from it."""
    return bool(os.fstat(folder).st_mode & stat.S_ISGID) or _has_default_list(folder)


def create(draft: Slot, folder: int) -> int:
    """Create a draft for a new file in a folder, and open it to read and write.

    Where the file system cannot create files without names, the folder's group is set; an access control list is not.

    Raises:
        FileExistsError: The draft's name is taken.
    """
    status = os.fstat(folder)
    is_of_group = bool(status.st_mode & stat.S_ISGID)
    if is_of_group or _has_default_list(folder):
        descriptor = _create_in(folder, draft)
        if descriptor is not None:
            return descriptor
    descriptor = open_file(draft, NEW)
    if is_of_group:
        _give_group(descriptor, status.st_gid)
    return descriptor


def _create_in(folder: int, draft: Slot) -> int | None:
    """Create the file in its folder, and name it as a draft; return ``None`` where that is not possible."""
    if not _NAMELESS:
        return None
    try:
        descriptor = open_at(".", _NAMELESS | os.O_RDWR | os.O_CLOEXEC, 0o666, folder=folder)
    except OSError:  # a user who may not write there gets the error when the file is put in its place
        return None
    try:
        os.link(f"/proc/self/fd/{descriptor}", draft.name, dst_dir_fd=draft.folder, follow_symlinks=True)
    except OSError as error:
        os.close(descriptor)
        if error.errno == errno.EEXIST:
            raise
        return None
    return descriptor


def _has_default_list(folder: int) -> bool:
    if not hasattr(os, "listxattr"):
        return False
    try:
        return _DEFAULT_ACL in os.listxattr(f"/proc/self/fd/{folder}")
    except OSError:  # the file system has no attributes, or /proc is not mounted
        return False


def _give_group(descriptor: int, gid: int) -> None:
    with suppress(PermissionError):  # a group that this user is not in, which only the kernel can set
        os.fchown(descriptor, -1, gid)
