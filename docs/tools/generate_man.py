"""Make docs/man/fietsupdate.1, the manual page that is installed with the wheel, from the program itself.

`generate_reference.py` writes it.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import generate_reference
import typer

from fietsupdate import __version__
from fietsupdate.cli.main import app
from fietsupdate.errors import EXIT_CODES

PAGE = Path(__file__).parents[1] / "man" / "fietsupdate.1"

HEAD = r"""
.\" Written by docs/tools/generate_reference.py from the program; change the program, and run that again.
.TH FIETSUPDATE 1 "" "fietsupdate {version}" "User Commands"
.SH NAME
fietsupdate \- change the database and the data directory of an application as one
.SH SYNOPSIS
.B fietsupdate
.RI [ OPTION ]...
.I COMMAND
.RI [ ARGUMENT ]...
.SH DESCRIPTION
An application with Alembic changes its database when it moves to a new version.
.B fietsupdate
runs update scripts, which change the files in its data directory, too, around the Alembic revisions, and
takes both halves back when an update fails.
.SH OPTIONS
These may stand before or after the command.
""".lstrip()

FILES = r"""
.SH FILES
.TP
.I alembic.ini, pyproject.toml
The configuration: the section
.B [fietsupdate]
or the table
.BR [tool.fietsupdate] .
.TP
.I DATA/.fietsupdate
In the data directory: the lock, the ledger, the journal of a running update, and what recovery has set aside.
Only the user who runs the updates may write to it.
.SH SEE ALSO
.BR alembic (1)
""".lstrip()


def page() -> str:
    """Return the whole page."""
    program: Any = typer.main.get_command(app)
    lines = [HEAD.format(version=__version__), *options(program), ".SH COMMANDS\n"]
    for name, command in program.commands.items():
        lines += section(name, command)
    lines += [".SH EXIT STATUS\n", *pairs(generate_reference.MEANINGS)]
    lines += [".PP\n.B fietsupdate check\nexits by the state of the instance:\n"]
    lines += pairs({code: str(state) for state, code in EXIT_CODES.items()})
    return "".join([*lines, ".SH ENVIRONMENT\n", *pairs(variables()), FILES])


def section(name: str, command: Any) -> Iterator[str]:
    """Yield what is said of one command."""
    words = " ".join(generate_reference.usage(param) for param in command.params if _is_argument(param))
    yield f'.SS "{roff(f"{name} [OPTION]... {words}".rstrip())}"\n'
    for number, paragraph in enumerate(command.help.split("\n\n")):
        yield f"{'.PP' if number else ''}\n{roff(' '.join(paragraph.split()))}\n".lstrip("\n")
    yield from options(command)


def options(command: Any) -> Iterator[str]:
    """Yield the arguments and options of a command, each with its help."""
    for param in command.params:
        if _is_argument(param):
            yield f".TP\n.I {roff(param.metavar)}\n{roff(param.help)}\n"
            continue
        value = rf" \fI{roff(param.metavar)}\fR" if param.metavar else ""
        spelled = ", ".join(rf"\fB{roff(spelling)}\fR{value}" for spelling in param.opts)
        yield f".TP\n{spelled}\n{roff(param.help)}\n"


def variables() -> dict[str, str]:
    """Return the environment variables of the reference, each with its meaning."""
    return dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", generate_reference.ENVIRONMENT, re.MULTILINE))


def pairs(meanings: dict[Any, str]) -> Iterator[str]:
    for name, meaning in meanings.items():
        yield f".TP\n.B {roff(str(name))}\n{roff(meaning)}\n"


def roff(text: str) -> str:
    """Return a text as troff reads it: hyphens that can be copied, and no line that begins as a request."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    text = re.sub(r"`([^`]+)`", r"\\fB\1\\fR", text)
    return re.sub(r"^(?=[.'])", r"\\&", text, flags=re.MULTILINE)


def _is_argument(param: Any) -> bool:
    return param.param_type_name == "argument"
