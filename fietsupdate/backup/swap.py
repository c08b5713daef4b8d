"""Exchange the content of whole roots for what was staged beside it; a crash at any point does no harm.

1. Until `move_out` begins nothing live is touched; what is staged is durable by then.
2. What was live is moved, never deleted, until `clear`.
3. Each step can be repeated at will: an entry that has moved is no longer there to be moved.
4. All of a step is durable when it returns, so the next one never overtakes it.
5. What must stay is not moved: mount points, the application's SQLite files, the backups, our own folder.

A root may be a mount point, which cannot be renamed, and may contain others. So the entries in it are moved, on the
file system that they are on. A folder that contains something that must stay is not moved either; its other content is.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fietsupdate.errors import UNCHANGED, FilesError
from fietsupdate.filesystem.layout import (
    HOME,
    LOST_FOUND,
    done_folder,
    found_folder,
    home,
    make_folder,
    make_folders,
    make_home,
    restore_folder,
)
from fietsupdate.filesystem.posix.durable import sync_many
from fietsupdate.filesystem.posix.identity import user
from fietsupdate.filesystem.posix.metadata import Meta, seen
from fietsupdate.filesystem.posix.mounts import is_mounted, mounted_below
from fietsupdate.filesystem.posix.movable import obstacle
from fietsupdate.filesystem.posix.ownership import set_times
from fietsupdate.filesystem.posix.rename import copy_file, erase, place

NEW, OLD = "new", "old"
_ELSEWHERE = frozenset({errno.EXDEV, errno.EBUSY})
"""The errors of rename(2) for another file system, a bind mount, a folder of an overlay's lower layer; a mount point.
"""


@dataclass(frozen=True, slots=True)
class SwapUnit:
    """A folder that stays while its entries are exchanged."""

    root: str
    """Name of the root; "" is the data directory."""
    path: str
    """Relative to the root; "" is the root itself."""
    top: str
    """The root or mount point, relative to the root, that contains it; its new and old entries are there."""
    stays: tuple[str, ...]
    """Names of entries that are not moved."""
    meta: Meta | None = None
    """The final attributes of the folder; None leaves them unchanged."""
    closed: tuple[tuple[str, int], ...] = ()
    """Folders that are moved in, by name, with the mode that closes each to its owner; set when they are in place."""

    def live(self, root: Path) -> str:
        """Return the folder itself."""
        return _join(os.path.realpath(root), self.path)

    def new(self, root: Path) -> str:
        """Return the folder of the entries to move in."""
        return self._beside(root, NEW)

    def old(self, root: Path) -> str:
        """Return the folder of the entries that were moved out."""
        return self._beside(root, OLD)

    def _beside(self, root: Path, name: str) -> str:
        below = self.path[len(self.top) :].lstrip("/")
        return _join(f"{restore_folder(Path(_join(os.path.realpath(root), self.top)))}/{name}", below)


def units_of(name: str, root: Path, keep: Iterable[Path]) -> tuple[SwapUnit, ...]:
    """Divide a root into the folders whose entries are exchanged, parents first.

    Args:
        name: The root's name; "" is the data directory.
        root: The root.
        keep: Absolute paths that must stay, whether they exist or not; paths outside of the root do not count.
    """
    real = os.path.realpath(root)
    inside = (_below(real, path) for path in map(_canonical, keep) if path.startswith(f"{real}/"))
    named = {path for path in inside if HOME not in path.split("/")}
    staying = {path for path in named if named.isdisjoint(_above(path))}  # a path inside of one of them stays with it
    points = (_below(real, point) for point in mounted_below(real))
    mounts = {point for point in points if not _is_ours(point, staying)} | {""}
    entered = {above for path in {*mounts, *staying} for above in _above(path)} | mounts
    units = []
    for path in sorted(folder for folder in entered if os.path.isdir(_join(real, folder))):
        stays = {HOME, *(one.rpartition("/")[2] for one in entered | staying if one and one.rpartition("/")[0] == path)}
        if is_mounted(_join(real, path)):
            stays.add(LOST_FOUND)
        top = max((point for point in mounts if point in {"", path} or path.startswith(f"{point}/")), key=len)
        units.append(SwapUnit(name, path, top, tuple(sorted(stays))))
    return tuple(units)


def prepare(root: Path, units: Sequence[SwapUnit]) -> None:
    """Create the folders for the staged entries and for those that are moved out, durably.

    Earlier staged entries are erased.

    Raises:
        FilesError: A folder cannot be created, or could not be made durable.
    """
    created: list[str] = []
    for top in tops(root, units):
        make_home(top)
        make_folder(restore_folder(top), shared=False)
        erase(str(restore_folder(top) / NEW))
        created += [str(top), str(home(top)), str(restore_folder(top))]
        for name in (NEW, OLD):
            make_folder(restore_folder(top) / name)
    sync_many(created)


def complete(root: Path, units: Sequence[SwapUnit]) -> None:
    """Create the folders for the entries of units that are no file systems of their own, where nothing was staged."""
    created: list[Path] = []
    for unit in units:
        if unit.path != unit.top:
            created += [*make_folders(Path(unit.new(root))), *make_folders(Path(unit.old(root)))]
    sync_many(created)


def tops(root: Path, units: Iterable[SwapUnit]) -> list[Path]:
    """Return the root and the mount points in it."""
    real = os.path.realpath(root)
    return [Path(_join(real, top)) for top in dict.fromkeys(unit.top for unit in units)]


def refuse_unmovable(root: Path, units: Iterable[SwapUnit]) -> None:
    """Check before anything is touched that this user can move the entries, and replace them.

    Raises:
        FilesError: Names the first entry that cannot be moved.
    """
    for unit in units:
        folder = unit.live(root)
        for path in (folder, *(f"{folder}/{name}" for name in _names(folder, unit.stays))):
            if reason_and_hint := obstacle(folder, path):
                reason, hint = reason_and_hint
                raise FilesError(
                    f"{path}{'' if path != folder else ', or what is in it,'} cannot be moved: {reason}.",
                    stands=UNCHANGED,
                    hint=hint,
                )


def move_out(root: Path, units: Iterable[SwapUnit], tag: str) -> None:
    """Move live entries away, durably.

    Raises:
        FilesError: A move could not be made durable.
        OSError: An entry cannot be moved; those before it have moved, and the step can be repeated.
    """
    mover = _Mover(root, tag)
    for unit in units:
        live, old = unit.live(root), unit.old(root)
        for name in _names(live, unit.stays):
            _open_own(f"{live}/{name}")
            mover.move(f"{live}/{name}", _free(f"{old}/{name}"))
        mover.touched |= {live, old}
    mover.sync()


def move_in(root: Path, units: Sequence[SwapUnit], tag: str) -> tuple[Path, ...]:
    """Move staged entries to their places, durably, and set the final attributes of the folders that stayed.

    Returns:
        Entries that another program has put in the way meanwhile, at their new places.

    Raises:
        FilesError: A move could not be made durable.
        OSError: An entry cannot be moved; those before it have moved, and the step can be repeated.
    """
    mover = _Mover(root, tag)
    for unit in units:
        live, new = unit.live(root), unit.new(root)
        for name in _names(new, unit.stays):
            _open_own(f"{new}/{name}")  # `Unit.closed` has its mode
            mover.move(f"{new}/{name}", f"{live}/{name}")
        mover.touched |= {live, new}
    apply_folder_attributes(root, units)
    mover.sync()
    return tuple(mover.strange)


def apply_folder_attributes(root: Path, units: Sequence[SwapUnit]) -> None:
    """Set the final attributes of the folders that stayed; to be repeated when files of ours were removed from them."""
    for unit in reversed(units):
        for name, mode in unit.closed:
            with suppress(FileNotFoundError):  # it was removed meanwhile
                os.chmod(f"{unit.live(root)}/{name}", mode)
        if unit.meta is not None:
            unit.meta.apply(unit.live(root))


def clear(root: Path, units: Sequence[SwapUnit], tag: str) -> tuple[Path, ...]:
    """Erase what was staged and what was moved out; can be repeated.

    Returns:
        Folders that this user may not delete, because they belong to other users, at their new places.

    Raises:
        FilesError: A file system is mounted in there, which was not when the restore began; nothing was erased.
    """
    kept: list[Path] = []
    for top in tops(root, units):
        folder = restore_folder(top)
        if mounted := mounted_below(str(folder)):
            raise FilesError(
                f"Something is mounted at {mounted[0]}, in a folder that is to be erased.",
                stands="Both halves are complete; only what was there before is not cleared away.",
                hint="Unmount it, mount it where it belongs, and type `fietsupdate recover`.",
            )
        for name in (NEW, OLD):
            try:
                erase(str(folder / name))
            except PermissionError:
                kept.append(_put_away(top, folder / name, f"{tag}-{name}"))
        if folder.is_dir():
            sync_many([folder])  # the journal, which names them, is removed next
        if top != Path(os.path.realpath(root)) or units[0].root:
            _leave(top)
    return tuple(kept)


def _put_away(top: Path, folder: Path, name: str) -> Path:
    """Move a folder of ours to the garbage that only another user can delete."""
    make_folder(done_folder(top))
    place = Path(_free(str(done_folder(top) / name)))
    os.rename(folder, place)
    sync_many([place.parent, home(top)])
    return place


def _open_own(path: str) -> None:
    """Make a folder of ours writable whose own mode prevents that.

    Otherwise it could not be moved, nor its content erased.
    """
    status = os.lstat(path)
    if stat.S_ISDIR(status.st_mode) and status.st_uid == user() and ~status.st_mode & 0o300:
        os.chmod(path, stat.S_IMODE(status.st_mode) | 0o300)


class _Mover:
    """Moves entries, remembers what has to be made durable, and which files were in the way."""

    def __init__(self, root: Path, tag: str) -> None:
        self._found = found_folder(Path(os.path.realpath(root)), tag)
        self.touched: set[str] = set()
        self.strange: list[Path] = []
        self._copied: dict[tuple[int, int], str] = {}
        """Files with several names that were copied, each with the first name of its copy."""

    def sync(self) -> None:
        """Make every move durable."""
        sync_many(sorted(self.touched))

    def move(self, source: str, target: str) -> None:
        """Move an entry: by rename or, where that is impossible, folder by folder and byte by byte.

        An existing target is the same entry, whose move was interrupted; otherwise it is set aside.
        """
        try:
            place(source, target)
        except FileExistsError:
            self._over(source, target)
        except OSError as error:
            if error.errno not in _ELSEWHERE:
                raise
            (self._over if os.path.lexists(target) else self._piecewise)(source, target)

    def _over(self, source: str, target: str) -> None:
        if _is_folder(source) and _is_folder(target):
            self._piecewise(source, target)
        elif _is_copy(source, target):
            os.unlink(source)
        else:
            created = make_folders(self._found)
            aside = _free(f"{self._found}/{os.path.basename(target)}")
            self.move(target, aside)
            self.strange.append(Path(aside))
            self.touched |= {*map(str, created), str(self._found)}
            self.move(source, target)

    def _piecewise(self, source: str, target: str) -> None:
        folder, _, name = target.rpartition("/")
        if not _is_folder(source):
            draft = f"{folder}/.{name}.moving"
            erase(draft)
            self._copy(source, draft, target)
            place(draft, target)
            sync_many([folder])  # the old name is removed when the new one is durable
            os.unlink(source)
        else:
            meta = Meta.of(source)
            _open_own(source)
            with suppress(FileExistsError):
                os.mkdir(target, 0o700)
            for inside in sorted(os.listdir(source)):
                self.move(f"{source}/{inside}", f"{target}/{inside}")
            meta.apply(target)
            with _mount_point_stays():
                os.rmdir(source)
        self.touched |= {target, folder, os.path.dirname(source)}

    def _copy(self, source: str, draft: str, target: str) -> None:
        """Copy a file; another name of a file that was copied already becomes another name of that copy."""
        status = os.lstat(source)
        key = status.st_dev, status.st_ino
        if first := self._copied.get(key):
            with suppress(OSError):
                os.link(first, draft, follow_symlinks=False)
                return
        copy_file(source, draft)
        if status.st_nlink > 1:
            self._copied[key] = target


@contextmanager
def _mount_point_stays() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise


def _leave(top: Path) -> None:
    """Remove our own folder if it is empty; the folder that contains it keeps its time."""
    with suppress(FileNotFoundError, NotADirectoryError):
        before = os.stat(top)
        for folder in (restore_folder(top), home(top)):
            with suppress(OSError):
                os.rmdir(folder)
        set_times(top, before)


def _is_copy(source: str, target: str) -> bool:
    """Return whether the move of a file was interrupted when its copy was complete, and the file still there."""
    ours, there = seen(source), seen(target)
    if ours is None or there is None or os.lstat(source).st_dev == os.lstat(target).st_dev:
        return False
    return there.is_same(ours._replace(inode=there.inode))


def _names(folder: str, stays: Collection[str]) -> list[str]:
    return sorted(set(os.listdir(folder)) - set(stays))


def _free(path: str) -> str:
    """Return a name that is not taken: an interrupted move, or another program, may have created a file."""
    return next(name for name in (path, *(f"{path}~{n}" for n in range(1, 10_000))) if not os.path.lexists(name))


def _is_folder(path: str) -> bool:
    status = seen(path)
    return status is not None and status.kind == "folder"


def _is_ours(point: str, staying: Collection[str]) -> bool:
    """Return whether a mount point lies in a path that stays as a whole: the backups may be on a volume."""
    return HOME in point.split("/") or any(f"{point}/".startswith(f"{path}/") for path in staying)


def _canonical(path: Path) -> str:
    """Resolve the folders above a path, not the path itself."""
    return f"{os.path.realpath(path.parent)}/{path.name}"


def _below(real: str, path: str) -> str:
    return path[len(real) + 1 :]


def _join(folder: str, path: str) -> str:
    return f"{folder}/{path}" if path else folder


def _above(path: str) -> Iterator[str]:
    """Yield the folders above a relative path, innermost first; the last is the root."""
    while path:
        path = path.rpartition("/")[0]
        yield path
