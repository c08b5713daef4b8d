"""The owners of files: everything that we create belongs to the owner of the folder that contains it.

Also checks, before anything changes, whether this user should and can work on a data directory.
"""

from __future__ import annotations

import errno
import os
import pwd
import shutil
from pathlib import Path

from fietsupdate.errors import UNCHANGED, DataDirMissingError, FilesError, OwnershipError
from fietsupdate.filesystem.posix.folders import Where, split
from fietsupdate.filesystem.posix.identity import user

_UNSUPPORTED = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})
"""The errors of file systems and kernels without O_TMPFILE (open(2), BUGS)."""


def give_owner(where: Path | Where, like: os.stat_result) -> None:
    """Set the owner of a new file to that of ``like``; only root can, and only root needs to."""
    if user() == 0 and (like.st_uid or like.st_gid):
        name, folder = split(where if isinstance(where, tuple) else os.fspath(where))
        os.chown(name, like.st_uid, like.st_gid, dir_fd=folder, follow_symlinks=False)


def give_owner_of(descriptor: int, like: os.stat_result) -> None:
    """Set the owner of an open file to that of ``like``, as `give_owner` does."""
    if user() == 0 and (like.st_uid or like.st_gid):
        os.fchown(descriptor, like.st_uid, like.st_gid)


def set_times(path: Path | str, like: os.stat_result) -> None:
    """Set a folder's times to those in ``like``.

    A folder of another user, in which this user may only work, keeps its own.
    """
    set_times_ns(os.fspath(path), like.st_atime_ns, like.st_mtime_ns, follow_symlinks=True)


def set_times_ns(where: Where, atime_ns: int, mtime_ns: int, *, follow_symlinks: bool = False) -> None:
    """Set times in nanoseconds since 1970, as `set_times` does, by default not following a symlink."""
    name, folder = split(where)
    try:
        os.utime(name, ns=(atime_ns, mtime_ns), dir_fd=folder, follow_symlinks=follow_symlinks)
    except PermissionError:
        if user() in {0, os.stat(name, dir_fd=folder, follow_symlinks=follow_symlinks).st_uid}:
            raise


def refuse_root(data_dir: Path, *, as_root: bool) -> None:
    """Refuse to run as root on a data directory that belongs to another user.

    The application could no longer change files that root leaves there.

    Raises:
        OwnershipError: With the command to type instead.
    """
    if as_root or os.geteuid() != 0:
        return
    try:
        owner = os.stat(data_dir)
    except OSError:
        return  # `check_writable` reports what is wrong with it
    uid, name = owner.st_uid, user_name(owner.st_uid)
    if uid == 0:
        return
    raise OwnershipError(
        f"You are root, but the data directory {data_dir} belongs to {name}.",
        stands=UNCHANGED,
        hint=f"{as_user(uid, owner.st_gid)}. Or repeat with --as-root.",
        details={"owner": name, "uid": uid},
    )


def check_writable(data_dir: Path) -> None:
    """Check that this user can create files in the data directory and in our folder there; leave nothing behind.

    Raises:
        DataDirMissingError: There is no such directory.
        FilesError: The path is no directory, is read-only, or belongs to another user.
    """
    try:
        os.stat(data_dir)
    except PermissionError as error:
        raise FilesError(
            f"{data_dir} cannot be reached: {error.strerror}.",
            stands=UNCHANGED,
            hint="Run as a user who may enter the folders above it.",
        ) from error
    except OSError as error:
        raise DataDirMissingError(
            f"The data directory {data_dir} does not exist.",
            hint="Is the volume mounted? Create the directory, or correct data_dir in the configuration.",
        ) from error
    if not data_dir.is_dir():
        raise FilesError(f"{data_dir} is not a directory.", hint="Correct data_dir in the configuration.")
    # The name of our folder is also in layout, which imports this module.
    for folder in (data_dir, data_dir / ".fietsupdate", data_dir / ".fietsupdate" / "txn"):
        if folder.is_dir():
            _check_folder(folder)


def check_readable(data_dir: Path) -> None:
    """Check that this user can read our folder in the data directory, if it exists.

    Raises:
        FilesError: This user may not read it; names the user who may.
    """
    folder = data_dir / ".fietsupdate"
    try:
        os.scandir(folder).close()
    except PermissionError as error:
        try:
            who = f"{user_name(os.stat(folder).st_uid)}, the owner of the directory"
        except OSError:
            who = "a user who may enter the folders above it"
        raise FilesError(
            f"{folder} cannot be read: {error.strerror}.", stands=UNCHANGED, hint=f"Run as {who}."
        ) from error
    except OSError:
        pass  # the folder does not exist


def _check_folder(folder: Path) -> None:
    try:
        _try_to_create(folder)
    except OSError as error:
        hint = (
            "Mount it writable."
            if error.errno == errno.EROFS
            else f"Run as {user_name(os.stat(folder).st_uid)}, the owner of the directory."
        )
        raise FilesError(f"{folder} cannot be written: {error.strerror}.", stands=UNCHANGED, hint=hint) from error


def _try_to_create(folder: Path) -> None:
    """Create a file without a name, which no crash can leave behind.

    Where that is not possible, check the permissions.
    """
    unnamed = getattr(os, "O_TMPFILE", 0)
    if unnamed:
        try:
            os.close(os.open(folder, unnamed | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
        else:
            return
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    effective = os.access in os.supports_effective_ids
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=effective):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def user_name(uid: int) -> str:
    """Return the name of a user, for messages; "user NUMBER" for a user without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def as_user(uid: int, gid: int) -> str:
    """Return how to run as the owner: a command to type here and, inside a container, how to enter it as that user."""
    commands = {
        "runuser": f"runuser -u {user_name(uid)} -- fietsupdate ...",
        "setpriv": f"setpriv --reuid {uid} --regid {gid} --clear-groups fietsupdate ...",
        "su": f"su -s /bin/sh {user_name(uid)} -c 'fietsupdate ...'",
    }
    needs_name = {"runuser", "su"} if user_name(uid) == f"user {uid}" else set()
    here = next((text for name, text in commands.items() if name not in needs_name and shutil.which(name)), "")
    ways = [f"Type `{here}`"] if here else []
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        ways.append(f"Set in the pod: securityContext: {{runAsUser: {uid}, runAsGroup: {gid}}}")
    elif Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        ways.append(f"Type outside of the container: `docker exec -u {uid}:{gid} CONTAINER fietsupdate ...`")
    return ". ".join(ways) or f"Run it as {user_name(uid)}"
