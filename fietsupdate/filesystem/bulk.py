"""The verbs by which update scripts change files: ``self.files``, and ``self.dirs["media"]`` for further roots.

``transform`` calls a function for each file: in this process, or in worker processes
(`fietsupdate.filesystem.workers`). In either case new contents become drafts first, and take their places in batches,
in the order of the files.
"""

from __future__ import annotations

import errno
import functools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from fietsupdate.filesystem.batches import QuickDraft
from fietsupdate.filesystem.entries import check_replaceable
from fietsupdate.filesystem.files import Name, at_work
from fietsupdate.filesystem.many import ManyFiles
from fietsupdate.filesystem.posix import durable
from fietsupdate.filesystem.posix.metadata import Meta
from fietsupdate.filesystem.posix.rename import NEW, copy_file, open_file, place
from fietsupdate.filesystem.waiting import BATCH, Waiting
from fietsupdate.filesystem.worker import Setup, Task, TaskResult, checked, perform
from fietsupdate.filesystem.workers import Workers, packed

Answers = Callable[[Iterator[Task | None]], Iterator[TaskResult]]
"""Answers tasks, in their order."""
_NOT_UNDONE = "what other programs change is not undone."


class FailedFile(NamedTuple):
    """A file that ``transform`` has left alone, because the function failed."""

    path: PurePosixPath
    error: BaseException


class Transformed(int):
    """How many files ``transform`` has changed or renamed."""

    failures: tuple[FailedFile, ...] = ()
    """The files that were left alone; there are some only with ``max_failures``."""

    @classmethod
    def of(cls, changed: int, failures: Iterable[FailedFile]) -> Transformed:
        """Return a number, with the failures."""
        made = cls(changed)
        made.failures = tuple(failures)
        return made


class _Item(NamedTuple):
    """A file that is being transformed, by paths below the root."""

    target: str
    draft: str
    """Where its new content is written."""
    name: str
    """Its new path."""


@dataclass
class _State:
    """How far ``transform`` has come."""

    max_failures: int
    changed: int = 0
    items: deque[_Item] = field(default_factory=deque)
    """The files whose tasks are not answered."""
    failures: list[FailedFile] = field(default_factory=list)

    def has_failed(self, item: _Item, answer: TaskResult) -> bool:
        """Return whether the function has failed for a file that is left alone.

        Raises:
            BaseException: Its error, if too many have failed.
        """
        if answer.error is None:
            return False
        self.failures.append(FailedFile(PurePosixPath(item.target), answer.error))
        if len(self.failures) > self.max_failures:
            raise answer.error
        return True


class BulkFiles(ManyFiles):
    """The files of one root, one at a time and many at once.

    The verbs for many files accept any iterable, also a generator, and take its items as they are needed: memory does
    not grow with the number of files. Thousands of changes are made together, so files that an iterable itself reads
    may not be changed yet. When one item fails, its error is raised: the items before it are made, it and those after
    it are not.
    """

    def transform(
        self,
        paths: str | Iterable[Name],
        change: Callable[..., Any],
        *,
        rename: Callable[[PurePosixPath], Name | None] | None = None,
        workers: int = 1,
        as_paths: bool = False,
        max_failures: int = 0,
    ) -> Transformed:
        """Replace the content of files by the result of a function.

        ``paths`` are the files, or a pattern as for `glob`, which selects files only, no symlinks. ``change`` is called
        with a whole content, and returns the new one, or ``None`` to leave the file as it is. ``rename`` is called with
        the path of each file, and returns its new path, which must be free, or ``None`` to keep it.

        With ``as_paths`` the function is called with two paths instead, and returns nothing: it reads the first, and
        writes the second, which is not there yet and ends in the file's new name. Where it writes none the file keeps
        its content. Neither content has to fit into memory.

        With ``workers`` the function runs in as many processes, 0 for one a core. It must be defined by ``def`` at the
        top of the update script or of a module, and may change nothing else in the data directory.

        A file keeps its mode, owner and attributes. A file whose content and name stay the same is not touched.

        Args:
            paths: The files.
            change: The function.
            rename: Gives new names.
            workers: The number of processes; 1 for this one.
            as_paths: Whether the function takes two paths.
            max_failures: So many files may fail: they are left alone, and named in the result. The next one raises.

        Returns:
            How many files were changed or renamed.

        Raises:
            FileNotFoundError: One of the paths does not exist.
            FileExistsError: Another file has the new name.
            TypeError: The function returned a value of another type, or worker processes cannot be given it.
            FilesError: A worker process has died; names the file that it was busy with.
        """
        state = _State(max_failures)

        def move(pairs: list[tuple[Name, Name]]) -> None:
            contents.make()
            self._move_waiting(pairs)

        with (
            self._answering(change, workers, as_paths=as_paths) as answers,
            Waiting(self._put_quickly) as contents,
            Waiting(move) as moves,
        ):
            for answer in answers(self._tasks(paths, rename, state, moves.make, as_paths=as_paths)):
                item = state.items.popleft()
                is_renamed = not state.has_failed(item, answer) and item.name != item.target
                if answer.has_changed:
                    contents.add(self._taken(item, as_paths=as_paths))
                if is_renamed:
                    moves.add((item.target, item.name))
                state.changed += answer.has_changed or is_renamed
        return Transformed.of(state.changed, state.failures)

    def _tasks(
        self,
        paths: str | Iterable[Name],
        rename: Callable[[PurePosixPath], Name | None] | None,
        state: _State,
        make: Callable[[], None],
        *,
        as_paths: bool,
    ) -> Iterator[Task | None]:
        """Yield the task of each file; before one whose file an earlier one has touched, what waits is made."""
        known = set[str]()
        for path in self._matching(paths) if isinstance(paths, str) else paths:
            target = self._resolve(path)
            new = rename(PurePosixPath(target)) if rename is not None else None
            name = target if new is None else os.fspath(new)
            if target in known or len(known) > BATCH:
                yield None
                make()
                known.clear()
            known.update((target, name))
            item = self._stage(target, name, as_paths=as_paths)
            state.items.append(item)
            yield Task(self._paths.absolute(item.target), self._paths.absolute(item.draft))

    @contextmanager
    def _answering(self, change: Callable[..., Any], workers: int, *, as_paths: bool) -> Iterator[Answers]:
        """Yield what answers tasks, in this process or in workers."""
        self._changes.check_process()
        if workers == 1:
            yield functools.partial(self._answers_here, change, as_paths=as_paths)
            return
        function, modules = packed(change)
        setup = Setup(function, modules, [paths.root for paths in self._changes.roots.values()], as_paths)
        watch = self._changes.watch
        with watch.workers(), Workers(workers or _cores(), setup, self._changes.at_work) as pool:

            def answers(tasks: Iterator[Task | None]) -> Iterator[TaskResult]:
                for answer in pool.answers(tasks):
                    for program in answer.programs:
                        watch.tell("program", f"The function starts {program}; {_NOT_UNDONE}")
                    if answer.error is not None and answer.trace:
                        answer.error.add_note(f"In a worker process:\n{answer.trace.rstrip()}")
                    yield answer

            yield answers

    def _answers_here(
        self, change: Callable[..., Any], tasks: Iterator[Task | None], *, as_paths: bool
    ) -> Iterator[TaskResult]:
        for task in tasks:
            if task is None:
                continue
            try:
                if as_paths:
                    with self._changes.staging.opened(os.path.dirname(task.draft)):
                        answer = TaskResult(perform(change, task, as_paths=True))
                else:
                    answer = TaskResult(self._change_here(change, task))
            except Exception as error:  # noqa: BLE001  # whatever the function raises; it is raised again, or reported
                answer = TaskResult(has_changed=False, error=error)
            yield answer

    def _change_here(self, change: Callable[[bytes], bytes | None], task: Task) -> bool:
        with self._changes.at_work(), open(open_file(self._changes.folders.slot(task.source)), "rb") as file:
            content = file.read()
        new = checked(change(content), task.source)
        if new is None or new == content:
            return False
        with self._changes.at_work():
            descriptor = open_file(self._changes.folders.slot(task.draft), NEW)
            try:
                durable.write_all(descriptor, new)
            finally:
                os.close(descriptor)
        return True

    @at_work
    def _stage(self, target: str, name: str, *, as_paths: bool) -> _Item:
        """Choose where the new content of a file is written; a function that takes paths gets a folder for it."""
        check_replaceable(self._look(target), target)
        draft = self._changes.draft(self._root, target)
        if as_paths:
            slot = self._slot(draft)
            os.mkdir(slot.name, 0o700, dir_fd=slot.folder)
            draft = f"{draft}/{os.path.basename(name)}"
        return _Item(target, draft, name)

    @at_work
    def _taken(self, item: _Item, *, as_paths: bool) -> QuickDraft:
        """Return the draft that has been written for a file."""
        draft = item.draft
        if as_paths:
            draft = self._changes.draft(self._root, item.target)
            if self._look(item.draft).kind != "file":
                raise OSError(errno.EINVAL, "The function has not written an ordinary file", item.target)
            if self._status(item.draft).st_nlink == 1:
                place(self._slot(item.draft), self._slot(draft))
            else:  # a second name of a file that stays
                copy_file(self._slot(item.draft), self._slot(draft))
            Meta.of(self._slot(item.target)).apply(self._slot(draft), time=False)
            with suppress(OSError):  # what else is in it goes when the transaction ends
                slot = self._slot(os.path.dirname(item.draft))
                os.rmdir(slot.name, dir_fd=slot.folder)
        status = self._status(draft)
        name = os.path.basename(draft)
        return QuickDraft(item.target, draft, name, status.st_ino, status.st_size, status.st_mtime_ns)

    def _status(self, path: str) -> os.stat_result:
        slot = self._slot(path)
        return os.stat(slot.name, dir_fd=slot.folder, follow_symlinks=False)

    @at_work
    def _resolve(self, path: Name) -> str:
        return self._target(path)[0]

    def _matching(self, pattern: str) -> Iterator[Name]:
        for path in self.glob(pattern):
            with self._changes.at_work():
                look = self._changes.look(self._root, str(path))
            if look is not None and look.kind == "file":
                yield path


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
