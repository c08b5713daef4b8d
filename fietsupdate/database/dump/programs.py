"""Run the databases' own programs: no visible secrets, constant memory, and no process left behind.

All data goes through pipes that end here. When this process is killed, a program that we feed sees the end of its
input, and a program that we read from cannot write any more; on an error or a signal they are ended before we go on.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from fietsupdate.database.dump.store import OnBytes
from fietsupdate.errors import DatabaseError
from fietsupdate.filesystem.posix.durable import write_all
from fietsupdate.model.listeners import ignore
from fietsupdate.process import SIGNALS

PIECE = 1 << 20
"""Bytes that are in memory at once."""
GRACE = 5.0
"""Seconds that a program has to end by itself; pg_dump uses them to cancel its query."""
LINES = 6
"""Lines of a program's messages that an error repeats."""
WIDEST = 400
"""The most characters of a line that an error repeats."""
TAIL = 16_384
_STATEMENT = re.compile(r"\A.*^-{14}$\n?", re.MULTILINE | re.DOTALL)
Edit = Callable[[bytes], bytes]
"""Changes the beginning of a line; the rest of a long line may follow."""
_NOT_MEANT = re.compile(r"unknown (option|variable) '(--)?loose-|^\s*Is the server running")
"""Messages of the other family's programs about options that they do not know; and libpq's question, which the hint
asks."""


class ProgramFailedError(DatabaseError):
    """A program failed; `said` holds its last lines, `exit_status` its exit status."""

    def __init__(self, program: str, exit_status: int, said: Sequence[str], *, hint: str = "") -> None:
        text = " ".join(said) or f"it ended with status {exit_status}"
        super().__init__(f"{program} failed: {text.rstrip('.')}.", hint=hint, details={"program": program})
        self.exit_status = exit_status
        self.said = tuple(said)


@dataclass(frozen=True)
class Call:
    """One program with its arguments.

    Args:
        arguments: The program's path first. They contain no secret, since every user of the machine can read them.
        environment: Variables to set; None removes one. They contain no secrets, only names of files.
        descriptors: Open files that the program inherits.
        secrets: Texts that no message may repeat.
        hint: The hint of the error when it fails.
        forgiven: If it matches every line of the messages, the failure is ignored.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str | None] = field(default_factory=dict)
    descriptors: tuple[int, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)
    hint: str = ""
    forgiven: re.Pattern[str] | None = None

    @property
    def name(self) -> str:
        """The program's name, for messages."""
        return os.path.basename(self.arguments[0])


def find(names: Sequence[str], hint: str) -> str:
    """Return the path of the first program that is installed.

    Raises:
        DatabaseError: None is installed; with the hint.
    """
    for name in names:
        if path := shutil.which(name):
            return path
    raise DatabaseError(f"The program {' or '.join(names)} is not installed, or not in PATH.", hint=hint)


def output_of(call: Call, text: str | bytes = b"") -> bytes:
    """Run a program with a text as its input; return all of its output.

    Raises:
        ProgramFailedError: The program ended with an error.
    """
    with _running(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        output, _ = child.communicate(text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text)
    return bytes(output)


def to_file(call: Call, path: Path, moved: OnBytes = ignore, edit: Edit | None = None) -> None:
    """Append a program's output to an existing file, each line changed by ``edit``; report how it grows.

    Raises:
        ProgramFailedError: The program ended with an error.
        OSError: The file cannot be written.
    """
    with (
        open(path, "ab", buffering=0) as file,  # before the program, so that a signal is raised inside of its block
        _running(call, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as child,
    ):
        _pour(child.stdout, file, moved, edit)


@contextlib.contextmanager
def lines_of(call: Call) -> Iterator[Iterator[bytes]]:
    """Yield the lines that a program writes, as they come; all of them must be read.

    Raises:
        ProgramFailedError: The program ended with an error.
    """
    with _running(call, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as child:
        yield iter(io.BufferedReader(cast("io.RawIOBase", child.stdout), PIECE))  # `_start` gives it no buffer


def from_file(call: Call, path: Path, edit: Edit | None = None, moved: OnBytes = ignore) -> None:
    """Feed a file to a program, each line changed by ``edit``; report the progress.

    Raises:
        ProgramFailedError: The program ended with an error.
        OSError: The file cannot be read.
    """
    with (
        open(path, "rb", buffering=0) as file,
        _running(call, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as child,
    ):
        _feed(file, child, moved, edit)


def through(source: Call, sink: Call, edit: Edit | None = None, moved: OnBytes = ignore) -> None:
    """Feed one program's output to another, each line changed by ``edit``; report the progress.

    Raises:
        ProgramFailedError: One of them ended with an error.
    """
    with (
        _running(source, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as giver,
        _running(sink, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as taker,
    ):
        _feed(giver.stdout, taker, moved, edit)


@contextlib.contextmanager
def secret_file(text: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the path of a file that only a child of ours can open, and the descriptors that the child needs for that.

    On Linux the file has no name on disk, so that it cannot be left behind; elsewhere it is in a private folder.
    """
    data = text.encode("utf-8", "surrogateescape")
    if os.path.isdir("/proc/self/fd"):
        with tempfile.TemporaryFile(prefix="fietsupdate-") as unnamed:
            unnamed.write(data)
            unnamed.flush()
            yield f"/proc/self/fd/{unnamed.fileno()}", (unnamed.fileno(),)
        return
    with tempfile.TemporaryDirectory(prefix="fietsupdate-") as folder:
        path = os.path.join(folder, "secret")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
        yield path, ()


def version(program: str, pattern: re.Pattern[str]) -> tuple[int, ...]:
    """Return the version of a program; empty when it does not print one."""
    text = output_of(Call((program, "--version"))).decode(errors="replace")
    match = pattern.search(text)
    return tuple(int(part) for part in match[1].split(".")) if match else ()


@contextlib.contextmanager
def _running(call: Call, **streams: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program beside a block; it has ended without an error when the block is left without one."""
    with contextlib.ExitStack() as stack:
        errors = stack.enter_context(tempfile.TemporaryFile(prefix="fietsupdate-"))
        with _undisturbed():
            child = _start(call, errors, **streams)
            stack.push(lambda kind, _error, _trace: _end(child) if kind else None)
        yield child
        _close(child.stdin)
        _close(child.stdout)
        status = child.wait()
        said = _said(errors, call.secrets) if status else []
        if status and not (said and call.forgiven and all(map(call.forgiven.search, said))):
            raise ProgramFailedError(call.name, status, said[-LINES:], hint=call.hint)


def _start(call: Call, errors: Any, **streams: int) -> subprocess.Popen[bytes]:
    try:
        child: subprocess.Popen[bytes] = subprocess.Popen(
            call.arguments,
            env=_environment(call),
            bufsize=0,  # every read is one system call, so that signals are handled in between
            pass_fds=call.descriptors,
            stderr=errors,
            start_new_session=True,  # Ctrl-C is for us; and there is no terminal to ask for a password
            **streams,  # type: ignore[call-overload]
        )
    except OSError as error:
        raise DatabaseError(f"{call.name} cannot be started: {error.strerror}.", hint=call.hint) from error
    return child


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Defer signals while a program starts; otherwise it could run without our knowing its process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    before = {signum: signal.signal(signum, lambda number, _: arrived.append(number)) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, installed in before.items():
            signal.signal(signum, installed if installed is not None else signal.SIG_DFL)
    for number in arrived:
        signal.raise_signal(number)


def _environment(call: Call) -> dict[str, str]:
    changed = {**os.environ, "LC_ALL": "C", **call.environment}
    return {name: value for name, value in changed.items() if value is not None}


def _pour(source: IO[bytes] | None, target: IO[bytes] | None, moved: OnBytes, edit: Edit | None = None) -> None:
    assert source is not None and target is not None  # noqa: S101, PT018  # both are pipes or files of ours
    pieces = iter(lambda: source.read(PIECE), b"")
    for piece in _edited(pieces, edit) if edit else pieces:
        write_all(target.fileno(), piece)
        moved(len(piece))


def _edited(pieces: Iterable[bytes], edit: Edit) -> Iterator[bytes]:
    """Edit the beginnings of lines, in pieces: a line may be larger than memory."""
    rest, is_start = b"", True
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield (edit(line) if is_start else line) + b"\n"
            is_start = True
        if len(rest) > PIECE:
            yield edit(rest) if is_start else rest
            rest, is_start = b"", False
    yield edit(rest) if is_start else rest


def _feed(source: IO[bytes] | None, child: subprocess.Popen[bytes], moved: OnBytes, edit: Edit | None) -> None:
    """Feed a program; when it accepts no more input it has failed, and its own messages tell why."""
    try:
        _pour(source, child.stdin, moved, edit)
        _close(child.stdin)
    except BrokenPipeError:
        with contextlib.suppress(BrokenPipeError):
            _close(child.stdin)
        child.wait()


def _close(stream: IO[bytes] | None) -> None:
    if stream is not None:
        stream.close()


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a program, whatever it does."""
    child.terminate()
    try:
        child.wait(GRACE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    finally:
        for stream in (child.stdin, child.stdout):
            with contextlib.suppress(OSError):
                _close(stream)


def _said(errors: Any, secrets: Sequence[str]) -> list[str]:
    errors.seek(max(0, errors.seek(0, os.SEEK_END) - TAIL))
    text = errors.read().decode(errors="replace")
    for secret in secrets:
        text = text.replace(secret, "***")
    text = _STATEMENT.sub("", text)  # the client of MariaDB repeats its input: rows, passwords, megabytes
    lines = [" ".join(line.split())[:WIDEST] for line in text.splitlines()]
    return [line for line in lines if line and not _NOT_MEANT.search(line)]
