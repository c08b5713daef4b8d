"""Makes changes: each batch of undo records first becomes durable, then it is carried out.

What a record announces is all that is needed to carry it out, so there is one place where files change, here, and
one where they change back, `fietsupdate.filesystem.undo`.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path

from fietsupdate.errors import FilesError
from fietsupdate.filesystem import durable, mounts
from fietsupdate.filesystem.barrier import Barrier
from fietsupdate.filesystem.journal import Journal
from fietsupdate.filesystem.layout import HOME, make_folder, make_home, open_folder
from fietsupdate.filesystem.own import OwnFiles
from fietsupdate.filesystem.owner import give_owner
from fietsupdate.filesystem.paths import Paths
from fietsupdate.filesystem.place import NO_LINK, erase, place
from fietsupdate.filesystem.record import Do, Record
from fietsupdate.filesystem.status import seen
from fietsupdate.filesystem.undo import undo

_IN_PLACE = frozenset({Do.META, Do.APPEND, Do.MADE, Do.OVERWRITE})
"""What leaves the folder's entries as they are."""
_FOLDERS = 4096
"""So many folders are remembered as noted; noting one again does no harm, the first note is undone last."""


class Changes:
    """Makes the changes of one transaction, in every root of it.

    Args:
        txn: The transaction's UUID.
        journal: Where the undo records go.
        roots: The paths of each root, by name; "" is the data directory.
    """

    def __init__(self, txn: str, journal: Journal, roots: Mapping[str, Paths]) -> None:
        self.txn = txn
        self.journal = journal
        self.roots = roots
        self.barrier = Barrier()
        self.own = OwnFiles(self.absolute)
        self.lock = threading.RLock()
        self._thread = threading.local()
        self.is_sealed = False
        self._pid = os.getpid()
        self._noted: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._mounts: dict[str, str] = {}
        last = 0
        for record in journal.forwards():
            last = max([last, *(int(os.path.basename(name), 16) for name in (record.draft, record.vault) if name)])
            if record.do is Do.MOUNT:
                self._mounts[self.absolute(record)] = record.root
        self._numbers = count(last + 1)

    def check_process(self) -> None:
        """Refuse a forked child: the transaction belongs to the process that began it.

        Raises:
            FilesError: this is another process.
        """
        if not self.is_own_process:
            raise FilesError(
                f"Process {os.getpid()} was forked from {self._pid}, which alone may change files in its transaction.",
                hint="Let the child processes compute, and change the files in the process that runs the hook.",
            )

    @property
    def is_own_process(self) -> bool:
        """Whether this is the process that began the transaction, and not a child that was forked from it."""
        return os.getpid() == self._pid

    @property
    def is_at_work(self) -> bool:
        """Whether this thread is in the middle of a verb, or of the guard's own work."""
        return getattr(self._thread, "depth", 0) > 0

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Mark this thread's file calls as our own: the guard does not journal them."""
        self._thread.depth = getattr(self._thread, "depth", 0) + 1
        try:
            yield
        finally:
            self._thread.depth -= 1

    def absolute(self, record: Record, path: str | None = None) -> str:
        """Give the absolute path of a record's path, or of another one in its root."""
        return self.roots[record.root].absolute(record.path if path is None else path)

    def make(self, *records: Record) -> None:
        """Carry out a batch of changes. If one of them fails, those before it are undone, and none was made.

        Raises:
            FilesError: the undo records could not be made durable, or this is a forked child.
            OSError: a change failed.
        """
        with self.lock:
            self.check_process()
            names = self._names_when_durable(records)
            self._journal(records)
            for number, record in enumerate(records):
                try:
                    if number and self._must_wait(record, names[number]):  # for another one of this batch
                        self.barrier.sync()
                    self._add_to_barrier(record, names[number])
                    self._carry_out(record)
                except OSError:
                    self._take_back(records[: number + 1])
                    raise

    def make_many(self, folders: Sequence[Record], records: Sequence[Record]) -> int:
        """Carry out, with one sync of the journal, changes of single files that have nothing to do with each other.

        Args:
            folders: Creates the folders above them that are missing, outermost first.
            records: The changes; no name is in two of them.

        Returns:
            How many were made. The next one failed and was not made, nor any after it, nor a folder for these alone.

        Raises:
            FilesError: something could not be made durable, or this is a forked child.
        """
        with self.lock:
            self.check_process()
            names = [self._names(record) for record in records]
            carries = any(record.do is Do.MOVE for record in records)
            try:
                touched = [*map(self.absolute, folders), *chain(*names)]
                if self.barrier.is_due(touched, alone=False, carries=carries):
                    self.barrier.sync()
                self._journal([*folders, *records])
            except OSError:
                return 0
            made = 0
            try:
                for record in folders:
                    self._add_to_barrier(record, self._names(record))
                    self._carry_out(record)
                if folders and carries:
                    self.barrier.sync()
                self._add_many_to_barrier(records, names)
                self._save(records)
                for record, group in zip(records, names, strict=True):
                    self._carry_out_saved(record, group)
                    made += 1
            except OSError:
                self._take_back([*folders, *records[made:]])
            return made

    def announce(self, *records: Record, prepare: Callable[[], None] | None = None) -> None:
        """Journal a batch of changes that somebody else is about to make, of whom nothing more will be heard.

        Args:
            records: What will be done.
            prepare: Saves the bytes that would be destroyed (invariant 2); called when the records are durable.

        Raises:
            FilesError: the undo records could not be made durable, or this is a forked child.
            OSError: the bytes could not be saved; then the change must not be made.
        """
        with self.lock:
            self.check_process()
            names = self._names_when_durable(records)
            self._journal(records)
            for record, group in zip(records, names, strict=True):
                self._add_to_barrier(record, group)
            try:
                if prepare is not None:
                    prepare()
            except OSError:
                self._take_back(records)
                raise

    def _names_when_durable(self, records: Sequence[Record]) -> list[list[str]]:
        """Give the absolute names of each record, when what they build on is durable."""
        names = [self._names(record) for record in records]
        if any(map(self._must_wait, records, names)):
            self.barrier.sync()
        return names

    def _journal(self, records: Sequence[Record]) -> None:
        """Make the records durable, with what they need (invariant 1)."""
        if self.is_sealed:
            raise FilesError("The transaction is complete; nothing more can be changed in it.")
        notes = self._folder_notes(records)
        try:
            self.journal.append([*notes, *self.own.notes(records), *records])
        except OSError:
            for note in notes:
                self._noted.pop((note.root, note.path), None)
            raise

    def _take_back(self, records: Sequence[Record]) -> None:
        for record in reversed(records):
            undo(record, self.roots, self.txn)

    def draft(self, root: str, path: str) -> str:
        """Give a free name for a new file that will be put at ``path``, on the same file system."""
        return self._free_name(root, path, "drafts")

    def vault(self, root: str, path: str) -> str:
        """Give a free name in the vault for what is now at ``path``, on the same file system."""
        return self._free_name(root, path, "vault")

    def know_mount(self, root: str, path: str) -> bool:
        """Learn that a path lies on another file system than its root; False if that is no news.

        Asked after rename(2) answered EXDEV: device numbers do not tell bind mounts apart.
        """
        paths = self.roots[root]
        point = mounts.mount_point(paths.absolute(path))
        if not point.startswith(f"{paths.root}/") or point in self._mounts:
            return False
        make_home(Path(point))
        durable.sync_path(prepare_folder(Path(point), self.txn))
        relative = paths.relative(point)
        with self.lock:
            self.journal.append([Record(Do.MOUNT, root, relative, was=seen(point))])
            self._mounts[point] = root
        return True

    def _free_name(self, root: str, path: str, kind: str) -> str:
        paths = self.roots[root]
        place_of_home = self._home_for(paths.absolute(path), paths.root)
        name = f"{place_of_home}{HOME}/txn/{self.txn}/{kind}/{next(self._numbers):x}"
        with suppress(FileNotFoundError):
            os.lstat(paths.absolute(name))
            erase(paths.absolute(name))  # left by a crash before its record was durable
        return name

    def _home_for(self, absolute: str, root: str) -> str:
        """Give the path below the root, with a slash, of the mount point that has a file; "" for the root."""
        if not self._mounts:
            return ""
        holding = [point for point in self._mounts if absolute.startswith(f"{point}/")]
        return f"{max(holding, key=len)[len(root) + 1 :]}/" if holding else ""

    def _must_wait(self, record: Record, names: Sequence[str]) -> bool:
        """Tell whether something must be durable before this change, and the record of it."""
        return self.barrier.is_due(names, alone=record.is_alone, carries=record.do is Do.MOVE)

    def _add_to_barrier(self, record: Record, names: Sequence[str]) -> None:
        unsynced = record.unsynced()
        if unsynced is not None:
            unsynced = tuple(map(self.roots[record.root].absolute, unsynced))
        self.barrier.add(names, alone=record.is_alone, unsynced=unsynced)

    def _add_many_to_barrier(self, records: Sequence[Record], names: Sequence[list[str]]) -> None:
        """Do the same for a batch: of a large one the folders will do, which tell what file systems are synced."""
        if len(records) < durable.MANY:
            for record, group in zip(records, names, strict=True):
                self._add_to_barrier(record, group)
            return
        touched = [*chain(*names)]
        unsynced = {*touched[: durable.MANY], *(name.rpartition("/")[0] for name in touched)}
        self.barrier.add(touched, alone=False, unsynced=unsynced)

    def _names(self, record: Record) -> list[str]:
        return [*map(self.roots[record.root].absolute, record.names())]

    def _folder_notes(self, records: Sequence[Record]) -> list[Record]:
        """Note the times of the folders in which these records work, unless they are noted already."""
        notes: list[Record] = []
        made: set[str] = set()
        for record in records:
            if record.do is Do.MKDIR:
                made.add(record.path)
            for path in (record.path, record.other) if record.do is Do.MOVE else (record.path,):
                folder = path.rpartition("/")[0]
                key = (record.root, folder)
                if key in self._noted or path.startswith("/") or folder in made or record.do in _IN_PLACE:
                    continue
                look = seen(self.absolute(record, folder))
                if look is not None and look.kind == "folder":
                    notes.append(Record(Do.FOLDER, record.root, folder, was=look))
                    self._note(key)
        return notes

    def note_folders_anew(self) -> None:
        """Forget which folders are noted: from here on their times matter once more."""
        self._noted.clear()

    def _note(self, key: tuple[str, str]) -> None:
        self._noted[key] = None
        if len(self._noted) > _FOLDERS:
            self._noted.popitem(last=False)

    def _carry_out_saved(self, record: Record, names: Sequence[str]) -> None:
        """Carry out a record of a batch, whose names are known, and what is to be replaced is saved."""
        if record.do is Do.MOVE:
            place(*names)
        elif record.do is Do.REPLACE:
            os.rename(self.absolute(record, record.draft), names[0])
        else:
            self._carry_out(record)

    def _carry_out(self, record: Record) -> None:
        path = self.absolute(record)
        match record.do:
            case Do.CREATE:
                place(self.absolute(record, record.draft), path)
            case Do.REPLACE:
                self._replace(path, self.absolute(record, record.draft), self.absolute(record, record.vault))
            case Do.REMOVE:
                place(path, self.absolute(record, record.vault))  # invariant 2: the same file under another name
                self._forget_below(record)
            case Do.MOVE:
                place(path, self.absolute(record, record.other))
                self._forget_below(record)
            case Do.MKDIR:
                os.mkdir(path, 0o777 if record.after is None else record.after.mode)
                self._adopt(path, record)
            case Do.RMDIR:
                os.rmdir(path)
                self._forget_below(record)
            case Do.SYMLINK:
                os.symlink(record.other, path)
                self._adopt(path, record)
            case Do.META if record.after is not None:
                record.after.apply(path)
            case _:
                pass

    def _adopt(self, path: str, record: Record) -> None:
        """Give a new folder or symlink its owner: that of the folder it is in, or what the record says."""
        if record.after is not None:
            record.after.apply(path, time=False)
        else:
            give_owner(path, os.stat(os.path.dirname(path)))

    def _replace(self, path: str, draft: str, vault: str) -> None:
        """Put a draft in the place of a file: at no moment is there none, and the old one keeps its inode."""
        try:
            os.link(path, vault, follow_symlinks=False)
        except OSError as error:
            if error.errno not in NO_LINK:
                raise
            place(path, vault)
            durable.sync_path(os.path.dirname(vault))
            place(draft, path)
            return
        durable.sync_path(os.path.dirname(vault))  # invariant 2: the name in the vault is durable before the old goes
        os.rename(draft, path)

    def _save(self, records: Sequence[Record]) -> None:
        """Give files that will be replaced their second names in the vault, all durable before the first one goes."""
        vaults = set()
        for record in records:
            if record.do is Do.REPLACE:
                vault = self.absolute(record, record.vault)
                os.link(self.absolute(record), vault, follow_symlinks=False)
                vaults.add(os.path.dirname(vault))
        durable.sync_many(vaults)

    def _forget_below(self, record: Record) -> None:
        """Forget folders that are not there any more: another may take the name, with another time."""
        if not (record.do is Do.RMDIR or record.is_alone):
            return
        prefix = f"{record.path}/"
        for root, folder in [*self._noted]:
            if root == record.root and (folder == record.path or folder.startswith(prefix)):
                del self._noted[root, folder]


def prepare_folder(root: Path, txn: str) -> Path:
    """Create the folder of a transaction in a root, with its drafts and vault; what is there will do.

    All is durable then but the names in the folder, which its maker has to sync.
    """
    folder = open_folder(root) / txn
    for path in (folder.parent, folder, folder / "drafts", folder / "vault"):
        make_folder(path)
    durable.sync_many([folder.parent, folder.parent.parent, root])
    return folder
