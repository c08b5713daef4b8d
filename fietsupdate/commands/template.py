"""Write new update scripts from the templates.

A script that is written here always loads: before it reaches the disk, it is parsed by the same code that will read it
later. No existing file is ever overwritten.
"""

from __future__ import annotations

import enum
import errno
import os
import secrets
import string
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from fietsupdate.errors import ConfigError, FilesError, ScriptError, UsageError
from fietsupdate.filesystem.posix.ownership import give_owner
from fietsupdate.model import RESERVED_IDS, Folder, Update
from fietsupdate.planning.metadata import ID_PATTERN, read_script

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

ID_LENGTH = 16
LINE_LENGTH = 88
"""The line length of the formatters that most projects use; longer lists have one item a line."""
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})
"""The errors of file systems without hard links, such as a shared folder of a virtual machine."""
LONGEST_ID = 64
"""The most characters of a new id, so that it fits a file's name, a line of the script and a terminal."""


class ScriptKind(enum.StrEnum):
    """The templates for scripts; the value is the template's name."""

    UPDATE = "update_script"
    """A script with both hooks, up and down."""
    RELEASE = "release"
    """A script that only names a release; its hooks are empty."""
    MERGE = "merge"
    """A script that only joins several heads; its hooks are empty."""
    BASELINE = "baseline"
    """The first script of an application that is older than its update scripts."""


@dataclass(frozen=True, slots=True)
class ScriptDraft:
    """The values of a new script.

    Raises:
        UsageError: The id is not valid.
    """

    update_id: str
    created: datetime
    message: str = ""
    previous: tuple[str, ...] = ()
    alembic_revisions: tuple[str, ...] = ()
    kind: ScriptKind = ScriptKind.UPDATE

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
    """Return a random id: 16 letters and digits, a letter first."""
    letters = string.ascii_lowercase
    return secrets.choice(letters) + "".join(secrets.choice(letters + string.digits) for _ in range(ID_LENGTH - 1))


def render(draft: ScriptDraft, templates: Path | None = None) -> str:
    """Return the text of a new script; equal drafts give equal texts.

    Args:
        draft: The values of the script.
        templates: The project's own templates; they win over ours of the same name.

    Raises:
        ConfigError: The project's folder contains no template that is ever used.
        ScriptError: A template of the project is broken.
    """
    return f"{_rendered(draft, templates)}\n"


def write(draft: ScriptDraft, folder: Folder, templates: Path | None = None) -> Path:
    """Write a new script into its folder, completely or not at all.

    Args:
        draft: The values of the script.
        folder: The folder.
        templates: The project's own templates.

    Returns:
        The script's path.

    Raises:
        ConfigError: The project's folder of templates cannot be used.
        ScriptError: The script would not load, or its file exists already.
        FilesError: The folder cannot be written to.
    """
    path = folder.path / draft.file_name
    content = render(draft, templates).encode()
    try:
        _check(draft, read_script(content, path, folder.name))
    except ScriptError as error:
        raise _would_not_load(error, draft, templates) from error
    try:
        _create(path, content)
    except FileExistsError:
        raise ScriptError(f"{path} exists already.", stands="Nothing was written.", hint="Choose another id.") from None
    except OSError as error:
        raise FilesError(f"{path} cannot be written: {error.strerror}.", stands="Nothing was written.") from error
    return path


def _check(draft: ScriptDraft, update: Update) -> None:
    """Check that the script says what the draft says; an id that is listed twice is read once."""
    for name, wanted, is_now in (
        ("update_id", draft.update_id, update.update_id),
        ("previous", draft.previous, update.previous),
        ("alembic_revision", draft.alembic_revisions, update.alembic_revisions),
    ):
        if wanted != is_now:
            raise ScriptError(f"{draft.update_id} cannot be written as a script: its {name} would be {is_now!r}.")


def _would_not_load(error: ScriptError, draft: ScriptDraft, templates: Path | None) -> ScriptError:
    template = templates / template_name(draft.kind) if templates else None
    if template is None or not template.is_file():
        error.stands = error.stands or "Nothing was written."
        return error
    message = f"The template {template} makes a script that does not load.\n{error.message}"
    return ScriptError(message, stands="Nothing was written.", hint="Correct the template.")


def _create(path: Path, content: bytes) -> None:
    """Make the file appear with its complete content; the loader ignores the draft, whose name starts with a dot."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with draft.open("xb") as file:
            file.write(content)
        give_owner(draft, path.parent.stat())
        _name(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _name(draft: Path, path: Path) -> None:
    """Rename the finished file, without ever replacing another file."""
    try:
        os.link(draft, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        draft.rename(path)


def template_name(kind: ScriptKind) -> str:
    """Return the file name of the template for a kind of script, which a project's own template must have."""
    return f"{kind}.py.j2"


METADATA = "metadata.py.j2"
"""The template that the others include."""


def _rendered(draft: ScriptDraft, templates: Path | None) -> str:
    from jinja2 import ChoiceLoader, Environment, FileSystemLoader, FunctionLoader, PrefixLoader, StrictUndefined

    ours = FunctionLoader(_template)
    own = [FileSystemLoader(_checked(templates))] if templates else []
    loader = ChoiceLoader([*own, ours, PrefixLoader({"fietsupdate": ours})])
    # The result is Python, not HTML; every value is quoted by the functions below.
    environment = Environment(loader=loader, undefined=StrictUndefined, autoescape=False)  # noqa: S701
    try:
        return environment.get_template(template_name(draft.kind)).render(
            docstring=_docstring(draft),
            created=f"{draft.created:%Y-%m-%d %H:%M:%S}",
            update_id=_quoted(draft.update_id),
            previous=_list("previous", draft.previous),
            alembic_revision=_revision(draft.alembic_revisions),
            draft=draft,
        )
    except Exception as error:
        if templates is None:
            raise
        raise _broken(error, templates) from error


def _checked(templates: Path) -> Path:
    """Check that a project's folder contains a template: a misspelt name would be ignored silently."""
    known = [*map(template_name, ScriptKind), METADATA]
    if not templates.is_dir():
        raise ConfigError(f"There is no folder {templates}, which `templates` names.", stands="Nothing was written.")
    if not any((templates / name).is_file() for name in known):
        raise ConfigError(
            f"templates = {templates}: none of the files there has the name of a template.",
            stands="Nothing was written.",
            hint=f"The names are {', '.join(known)}.",
        )
    return templates


def _broken(error: Exception, templates: Path) -> ScriptError:
    """Return the error of a template that cannot be rendered; it names file and line, if they are known."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f"{frame.filename}:{frame.lineno}" for frame in frames if Path(frame.filename).is_relative_to(templates)]
    place = lines[-1] if lines else str(templates)
    if isinstance(getattr(error, "filename", None), str) and getattr(error, "lineno", None):
        place = f"{error.filename}:{error.lineno}"  # type: ignore[attr-defined]  # a TemplateSyntaxError
    what = f"{type(error).__name__}: {error}"
    return ScriptError(f"{place}: the template is broken: {what}.", stands="Nothing was written.")


def _template(name: str) -> str | None:
    """Return the text of a template: from the installed package or, in a checkout, the folder beside it.

    None if unknown.
    """
    folder: Traversable = resources.files("fietsupdate") / "templates"
    if not folder.is_dir():
        folder = Path(__file__).parents[2] / "templates"
    file = folder / name
    return file.read_text(encoding="utf-8") if file.is_file() else None


_SUMMARIES = {
    ScriptKind.UPDATE: "Update script {0}.",
    ScriptKind.RELEASE: "Release {0}.",
    ScriptKind.MERGE: "Join {1}.",
    ScriptKind.BASELINE: "The state of the application when its first update script was written.",
}


def _docstring(draft: ScriptDraft) -> str:
    """Return the message as the inside of a docstring that reads as the message, whatever characters it contains."""
    lines = [line.expandtabs().rstrip() for line in draft.message.strip().splitlines()]
    text = "\n".join(lines) or _SUMMARIES[draft.kind].format(draft.update_id, _joined(draft.previous))
    inside = "".join(char if char == "\n" else _escaped(char) for char in text).replace('"""', r"\"\"\"")
    return f"\\{inside}" if inside.startswith('"') else inside


def _joined(names: Sequence[str]) -> str:
    *others, last = names or ("",)
    return f"{', '.join(others)} and {last}" if others else last


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
