"""The command line as administrators type it: typer declares options and writes the help, this module parses them.

typer's own parser is not used, for three promises that it cannot keep. ``downgrade -1`` is a target, while a misspelt
option stays a usage error. The global options work before and after the command. And nothing is imported to convert
strings to strings: typer 0.29 would load pydantic for that, which takes longer than all the rest of a start.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from fietsupdate.errors import UsageError

WORDS_OF_OTHERS: Mapping[str, str] = MappingProxyType(
    {
        "apply": "update",
        "baseline": "stamp",
        "branches": "heads",
        "current": "status",
        "db:migrate": "update",
        "db:migrate:status": "status",
        "db:rollback": "downgrade -1",
        "down": "downgrade -1",
        "dump": "backup",
        "ensure_version": "stamp",
        "fake": "stamp",
        "generate": "revision",
        "info": "status",
        "list": "history",
        "log": "history",
        "make": "revision",
        "makemigrations": "revision",
        "merge": "revision --merge",
        "migrate": "update",
        "new": "revision",
        "pending": "history --pending",
        "plan": "update --dry-run",
        "repair": "recover",
        "revert": "downgrade -1",
        "rollback": "downgrade -1",
        "showmigrations": "status",
        "sqlmigrate": "update --dry-run",
        "undo": "downgrade -1",
        "up": "update",
        "upgrade": "update",
        "validate": "check",
        "version": "--version",
    }
)
"""The names of commands in Alembic, Django, Rails and Flyway, with the equivalent command here."""

NARROW_HELP = 60
"""Columns below which what an option does stands below it."""
WIDEST_HELP = 100
"""Columns that a help page fills at the most."""

STEPS_BACK = re.compile(r"-\d+")
"""A target like ``-1``: a word, not an option, as no option here is a digit."""


@dataclass(frozen=True)
class Help:
    """The option that prints the help. typer's own has another name in each version."""

    name: str = "help"
    is_flag: bool = True
    multiple: bool = False


@dataclass
class Line:
    """The content of one command line: values by parameter, in the order of the words."""

    command: str
    """The words that call the command, for messages."""
    options: Mapping[str, Any]
    """Each spelling with the parameter that it stands for."""
    arguments: Sequence[Any] = ()
    values: dict[str, Any] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)

    def read(self, pieces: Sequence[str], *, until_word: bool = False) -> list[str]:
        """Read `pieces`; with `until_word`, stop before the first one that is no option, and return the rest.

        Raises:
            UsageError: An option does not exist, lacks its value, or has one and takes none.
        """
        rest = list(pieces)
        while rest:
            piece = rest.pop(0)
            if piece == "--":
                self.words += rest
                return rest
            if len(piece) < 2 or not piece.startswith("-") or STEPS_BACK.fullmatch(piece):  # noqa: PLR2004
                if until_word:
                    return [piece, *rest]
                self.words.append(piece)
            elif piece.startswith("--"):
                self._long(piece, rest)
            else:
                self._short(piece, rest)
        return rest

    def _long(self, piece: str, rest: list[str]) -> None:
        name, has_value, value = piece.partition("=")
        option = self._option(name)
        if not option.is_flag:
            self._set(option, value if has_value else self._next(name, rest))
        elif has_value:
            raise self._wrong(f"the option {name} takes no value")
        else:
            self._set(option, True)

    def _short(self, piece: str, rest: list[str]) -> None:
        """Read ``-y``, ``-fy``, ``-m TEXT`` and ``-mTEXT``."""
        for position, letter in enumerate(piece[1:], start=2):
            option = self._option(f"-{letter}", piece)
            if option.is_flag:
                self._set(option, True)
                continue
            self._set(option, piece[position:] or self._next(f"-{letter}", rest))
            return

    def _option(self, name: str, piece: str = "") -> Any:
        if name in self.options:
            return self.options[name]
        spelling = piece or name
        near = get_close_matches(spelling, self.options, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise self._wrong(f"there is no option {spelling}{meant}")

    def _next(self, name: str, rest: list[str]) -> str:
        if not rest or rest[0] in self.options:
            raise self._wrong(f"the option {name} needs a value")
        return rest.pop(0)

    def _set(self, option: Any, value: object) -> None:
        if option.multiple:
            self.values.setdefault(option.name, []).append(value)
        else:
            self.values[option.name] = value

    def place_words(self) -> None:
        """Assign the words to the arguments.

        Raises:
            UsageError: There are too many words, or too few.
        """
        words = list(self.words)
        for argument in self.arguments:
            taken, words = (words, []) if argument.nargs == -1 else (words[:1], words[1:])
            if taken:
                self.values[argument.name] = taken if argument.nargs == -1 else taken[0]
            elif argument.required:
                raise self._wrong(f"{argument.metavar or argument.name.upper()} is missing")
        if words:
            raise self._wrong(f"nothing is expected at {words[0]!r}")

    def _wrong(self, what: str) -> UsageError:
        return wrong(self.command, what)


def wrong(command: str, what: str, hint: str = "") -> UsageError:
    """Return the error for a line that cannot be understood. Our errors are imported only when there is one."""
    from fietsupdate.errors import UsageError

    end = "" if what.endswith("?") else "."
    return UsageError(f"{command}: {what}{end}", hint=hint or f"{command} --help")


def spellings(command: Any, help_names: Sequence[str]) -> dict[str, Any]:
    """Return every spelling of a command's options, including help, with its parameter."""
    options = [param for param in command.params if param.param_type_name == "option"]
    spellings = {spelling: option for option in options for spelling in (*option.opts, *option.secondary_opts)}
    return {**spellings, **dict.fromkeys(help_names, Help())}


def _defaults(command: Any) -> dict[str, Any]:
    return {
        param.name: () if param.multiple or param.nargs == -1 else param.default
        for param in command.params
        if param.expose_value
    }


def _help_if_asked(ctx: Any, values: dict[str, Any]) -> None:
    if values.pop("help", False):
        _print_help(ctx)
        raise typer.Exit


def _print_help(ctx: Any) -> None:
    """Print the help of a command, on a terminal for its width and with colors."""
    out = getattr(ctx.obj, "out", None)
    if out is None or not (out.is_terminal or out.colored):
        typer.echo(ctx.get_help())
        return
    ctx.terminal_width = min(out.width, WIDEST_HELP)
    formatter = ctx.make_formatter()
    if ctx.terminal_width < NARROW_HELP:
        formatter.write_dl = partial(_write_below, formatter)
    ctx.command.format_help(ctx, formatter)
    out.show(formatter.getvalue().rstrip("\n"))


def _write_below(formatter: Any, rows: Sequence[tuple[str, str]], **_layout: int) -> None:
    """Write options, or commands, with what they do below each: for two columns there is no room."""
    from textwrap import wrap

    for name, what in rows:
        formatter.write(f"{'':>{formatter.current_indent}}{name}\n")
        indent = " " * (formatter.current_indent + 4)
        for line in wrap(what, max(formatter.width - len(indent), 20)):
            formatter.write(f"{indent}{line}\n")


class Command(TyperCommand):
    """A command that also takes the global options of the program it belongs to."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words after the command's name into ``ctx.params`` and the program's context.

        Raises:
            UsageError: See `Line`.
        """
        program = ctx.parent
        globals_ = spellings(program.command, program.help_option_names)
        arguments = [param for param in self.params if param.param_type_name == "argument"]
        line = Line(ctx.command_path, {**globals_, **spellings(self, ctx.help_option_names)}, arguments)
        line.read(args)
        _help_if_asked(ctx, line.values)
        line.place_words()
        own = _defaults(self)
        for name, value in line.values.items():
            if name in own:
                own[name] = value
            elif isinstance(value, list):
                program.params[name] = [*program.params[name], *value]
            else:
                program.params[name] = value
        ctx.params.update(own)
        return []


class Program(TyperGroup):
    """The program: global options, then a command. Its callback receives the global options from both places."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words before the command's name; the rest waits in ``ctx.args``.

        Raises:
            UsageError: See `Line`.
        """
        line = Line(ctx.command_path, spellings(self, ctx.help_option_names))
        ctx.args = line.read(args, until_word=True)
        _help_if_asked(ctx, line.values)
        ctx.params.update({**_defaults(self), **line.values})
        return list(ctx.args)

    def invoke(self, ctx: Any) -> Any:
        """Run the callback, then the command, and return the command's result.

        Raises:
            UsageError: No command was named, or one that does not exist.
        """
        if not ctx.args:
            ctx.invoke(self.callback, **ctx.params)
            raise wrong(ctx.command_path, "no command was named")
        name, *rest = ctx.args
        command: Any = self.commands.get(name)
        if command is None:
            raise self._unknown(ctx, name)
        name, rest = self._with_verb(ctx, name, rest)
        command = self.commands[name]
        with command.make_context(name, rest, parent=ctx) as inner:
            ctx.invoke(self.callback, **ctx.params)
            return command.invoke(inner)

    def _with_verb(self, ctx: Any, name: str, rest: list[str]) -> tuple[str, list[str]]:
        """Distinguish ``backup list`` from ``backup DEST``: the first word after the options may belong to the name.

        A destination with the name of a verb is written ``./list``.
        """
        verbs = [command for other, command in self.commands.items() if other.startswith(f"{name} ")]
        if not verbs:
            return name, rest
        known: dict[str, Any] = {}
        for command in (*verbs, self.commands[name], self):
            known |= spellings(command, ctx.help_option_names)
        after = Line(f"{ctx.command_path} {name}", known).read(rest, until_word=True)
        longer = f"{name} {after[0]}" if after else ""
        if longer not in self.commands:
            return name, rest
        return longer, [*rest[: len(rest) - len(after)], *after[1:]]

    def _unknown(self, ctx: Any, name: str) -> UsageError:
        ours = WORDS_OF_OTHERS.get(name.lower())
        if ours:
            meant = f"{ctx.command_path} {ours}"
            return wrong(
                ctx.command_path, f"there is no command {name!r}; here that is `{meant}`", hint=f"Type `{meant}`."
            )
        near = get_close_matches(name, self.commands, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        return wrong(ctx.command_path, f"there is no command {name!r}{meant}")
