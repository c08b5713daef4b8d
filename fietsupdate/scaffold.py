"""New update scripts from the templates.

A script that is written here always loads: it is read back, before it reaches the disk, by the same code that will
read it later. Nothing is ever overwritten.
"""

from __future__ import annotations

import enum
import errno
import os
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from fietsupdate.errors import FilesError, ScriptError, UsageError
from fietsupdate.filesystem.owner import give_owner
from fietsupdate.model import RESERVED_IDS, Folder, Update
from fietsupdate.planning.metadata import ID_PATTERN, read_script

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

ID_LENGTH = 16
LINE_LENGTH = 88
"""Of the formatters that most projects use; longer lists stand one item a line."""
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})
"""What file systems without hard links answer; a shared folder of a virtual machine is one."""
LONGEST_ID = 64
"""Characters of a new id: a file's name, a line of the script and a terminal have room for it."""


class Kind(enum.StrEnum):
    """The templates for scripts; the value is the template's name."""

    UPDATE = "update_script"
    """With both hooks, up and down."""
    RELEASE = "release"
    """Only names a release; its hooks are empty."""
    MERGE = "merge"
    """Only joins several heads; its hooks are empty."""
    BASELINE = "baseline"
    """The first script of an application that is older than its update scripts."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What a new script shall say.

    Raises:
        UsageError: The id is none.
    """

    update_id: str
    created: datetime
    message: str = ""
    previous: tuple[str, ...] = ()
    alembic_revisions: tuple[str, ...] = ()
    kind: Kind = Kind.UPDATE

    def __post_init__(self) -> None:
        if self.update_id in RESERVED_IDS:
            raise UsageError(f"{self.update_id!r} cannot name an update: it is a target with a meaning of its own.")
        if not ID_PATTERN.fullmatch(self.update_id) or len(self.update_id) > LONGEST_ID:
            raise UsageError(
                f"{self.update_id!r} cannot name an update.",
                hint=f"An id has letters, digits, `_`, `.` and `-`, at most {LONGEST_ID}, and starts with neither `.` "
                "nor `-`.",
            )

    @property
    def file_name(self) -> str:
        """The name of the script's file: ``upd_20261121_30ppwg8zi4ujb46f.py``."""
        return f"upd_{self.created:%Y%m%d}_{self.update_id}.py"


def new_id() -> str:
    """Make an id up: 16 letters and digits, a letter first."""
    letters = string.ascii_lowercase
    return secrets.choice(letters) + "".join(secrets.choice(letters + string.digits) for _ in range(ID_LENGTH - 1))


def render(draft: Draft) -> str:
    """Give the text of a new script; the same draft gives the same text."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    # The result is Python, not HTML; every value is quoted by the functions below.
    environment = Environment(loader=FunctionLoader(_template), undefined=StrictUndefined, autoescape=False)  # noqa: S701
    text = environment.get_template(f"{draft.kind}.py.j2").render(
        docstring=_docstring(draft),
        created=f"{draft.created:%Y-%m-%d %H:%M:%S}",
        update_id=_quoted(draft.update_id),
        previous=_list("previous", draft.previous),
        alembic_revision=_revision(draft.alembic_revisions),
    )
    return f"{text}\n"


def write(draft: Draft, folder: Folder) -> Path:
    """Write a new script into its folder, whole or not at all.

    Returns:
        The script's path.

    Raises:
        ScriptError: The script would not load, or its file exists already.
        FilesError: The folder cannot be written to.
    """
    path = folder.path / draft.file_name
    content = render(draft).encode()
    _check(draft, read_script(content, path, folder.name))
    try:
        _create(path, content)
    except FileExistsError:
        raise ScriptError(f"{path} exists already.", stands="Nothing was written.", hint="Choose another id.") from None
    except OSError as error:
        raise FilesError(f"{path} cannot be written: {error.strerror}.", stands="Nothing was written.") from error
    return path


def _check(draft: Draft, found: Update) -> None:
    wanted = (draft.update_id, draft.previous, draft.alembic_revisions)
    if wanted != (found.update_id, found.previous, found.alembic_revisions):
        raise ScriptError(f"{draft.update_id} cannot be written as a script: an id is listed twice.")


def _create(path: Path, content: bytes) -> None:
    """Let the file appear with its whole content; a name that starts with a dot is no script to the loader."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with draft.open("xb") as file:
            file.write(content)
        give_owner(draft, path.parent.stat())
        _name(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _name(draft: Path, path: Path) -> None:
    """Give the finished file its name, without ever replacing another one."""
    try:
        os.link(draft, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        draft.rename(path)


def _template(name: str) -> str:
    """Read a template: of the installed package or, in a checkout, of the folder beside it."""
    folder: Traversable = resources.files("fietsupdate") / "templates"
    if not folder.is_dir():
        folder = Path(__file__).parent.parent / "templates"
    return (folder / name).read_text(encoding="utf-8")


_SUMMARIES = {
    Kind.UPDATE: "Update script {}.",
    Kind.RELEASE: "Release {}.",
    Kind.MERGE: "Join the updates before {}.",
    Kind.BASELINE: "The state of the application when its first update script was written.",
}


def _docstring(draft: Draft) -> str:
    """Give the message as the inside of a docstring: it means the message, whatever characters that has."""
    lines = [line.expandtabs().rstrip() for line in draft.message.strip().splitlines()]
    text = "\n".join(lines) or _SUMMARIES[draft.kind].format(draft.update_id)
    inside = "".join(char if char == "\n" else _escaped(char) for char in text).replace('"""', r"\"\"\"")
    return f"\\{inside}" if inside.startswith('"') else inside


def _escaped(char: str) -> str:
    if char == "\\":
        return r"\\"
    return char if char.isprintable() else char.encode("unicode_escape").decode()


def _quoted(text: str) -> str:
    inside = "".join(r"\"" if char == '"' else _escaped(char) for char in text)
    return f'"{inside}"'


def _list(name: str, items: Sequence[str]) -> str:
    quoted = [_quoted(item) for item in items]
    line = f"[{', '.join(quoted)}]"
    if len(f"{name} = {line}") <= LINE_LENGTH:
        return line
    return "[\n" + "".join(f"    {item},\n" for item in quoted) + "]"


def _revision(revisions: Sequence[str]) -> str:
    if not revisions:
        return "None"
    return _quoted(revisions[0]) if len(revisions) == 1 else _list("alembic_revision", revisions)
