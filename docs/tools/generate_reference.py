"""Write what the documentation says of the program from the program itself.

    python docs/tools/generate_reference.py

That is docs/reference/commands.md, the commands and options; docs/reference/errors.md, the codes of the errors; and
docs/man/fietsupdate.1, the manual page. A test fails while one of them and the program say different things.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from fietsupdate.cli.main import app
from fietsupdate.errors import EXIT_CODES

PAGE = Path(__file__).parents[1] / "reference" / "commands.md"

HEAD = """\
<!-- Written by docs/tools/generate_reference.py from the program; change the program, and run that again. -->
# Command reference

`fietsupdate` and `python -m fietsupdate` are the same program. The second works where another package has
installed a script of the same name.
"""

EXITS = """\
## Exit codes

| code | means |
|---|---|
{rows}

`check` exits by the state of the instance, and with one of the other codes above when it cannot tell:

| code | state |
|---|---|
{states}
"""

MEANINGS = {
    0: "done, or nothing to do",
    1: "failed and undone, or the message says what stands; or the answer to the question was no",
    2: "wrong usage",
    8: "locked by another process",
    130: "interrupted by the user (Ctrl-C)",
    143: "ended by SIGTERM",
}

COMPLETION = """\
## Completion

`fietsupdate --show-completion SHELL` prints a script for bash, zsh or fish; then commands, options, ids of updates and
names of backups are completed. In `~/.bashrc` or `~/.zshrc`:

```sh
eval "$(fietsupdate --show-completion bash)"
```

In fish: `fietsupdate --show-completion fish > ~/.config/fish/completions/fietsupdate.fish`.
"""

ENVIRONMENT = """\
## Environment

| variable | means |
|---|---|
| `FIETSUPDATE_CONFIG` | configuration file, where `-c` names none |
| `ALEMBIC_CONFIG` | the same, where `FIETSUPDATE_CONFIG` is not set |
| `FIETSUPDATE_YES` | `1`: as `--yes`; what scripts ask gets its default |
| `FIETSUPDATE_ANSWER_<NAME>` | answers the question NAME of an update script |
| `FIETSUPDATE_<KEY>` | overrides a key of the configuration, for instance `FIETSUPDATE_DATA_DIR` |
| `NO_COLOR` | when it is not empty, nothing is colored |
| `FORCE_COLOR` | when it is neither empty nor `0`, output for people is colored without a terminal, too |
"""


def reference() -> str:
    """Return the whole page of commands."""
    program: Any = typer.main.get_command(app)
    parts = [HEAD, *_program(program)]
    for name, command in program.commands.items():
        parts += _command(name, command)
    return "\n".join([*parts, _exit_codes(), COMPLETION, ENVIRONMENT])


def _program(program: Any) -> Iterator[str]:
    yield "```text\nfietsupdate [OPTION]... COMMAND [ARGUMENT]...\n```\n"
    yield f"{program.help}\n"
    yield "These options may stand before or after the command:\n"
    yield from _options(program)


def _command(name: str, command: Any) -> Iterator[str]:
    yield f"## {name}\n"
    words = " ".join(usage(param) for param in command.params if param.param_type_name == "argument")
    yield f"```text\nfietsupdate {name} [OPTION]... {words}".rstrip() + "\n```\n"
    yield f"{command.help}\n"
    yield from _options(command)


def usage(argument: Any) -> str:
    """Return how an argument stands in a command line."""
    return argument.metavar if argument.required else f"[{argument.metavar}]"


def _options(command: Any) -> Iterator[str]:
    """Give the table of a command's arguments and options; nothing where it has none."""
    rows = [f"| {_spelled(param)} | {_cell(param.help)} |" for param in command.params]
    if rows:
        yield "\n".join(["| argument or option | means |", "|---|---|", *rows, ""])


def _spelled(param: Any) -> str:
    if param.param_type_name == "argument":
        return f"`{param.metavar}`"
    value = f" {param.metavar}" if param.metavar else ""
    return ", ".join(f"`{spelling}{value}`" for spelling in param.opts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _exit_codes() -> str:
    rows = [f"| {code} | {meaning} |" for code, meaning in MEANINGS.items()]
    states = [f"| {code} | `{state}` |" for state, code in EXIT_CODES.items()]
    return EXITS.format(rows="\n".join(rows), states="\n".join(states))


def write_all() -> None:
    """Write every page that is made from the program."""
    import generate_errors
    import generate_man

    texts = {PAGE: reference(), generate_errors.PAGE: generate_errors.page(), generate_man.PAGE: generate_man.page()}
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"wrote {path}\n")


if __name__ == "__main__":
    write_all()
