"""One run of the command line: its global options, its output, and how it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fietsupdate.cli.render.output import Output

if TYPE_CHECKING:
    from fietsupdate.model.questions import Question
    from fietsupdate.updater import Updater

YES = "FIETSUPDATE_YES"
UNWRAPPED = 100_000
"""The width of an error in a log: one line each, so that it can be searched."""
ANSWERS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def real_updater() -> type[Updater]:
    """Import the updater only when a command needs it, so that ``--help`` does not wait for Alembic."""
    from fietsupdate.updater import Updater

    return Updater


@dataclass
class Session:
    """The state that every command needs.

    Args:
        updater_class: Returns the class that does the work.
        environ: The environment.
    """

    updater_class: Callable[[], type[Updater]] = real_updater
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    files: tuple[str, ...] = ()
    section: str | None = None
    x: tuple[str, ...] = ()
    verbose: bool = False
    quiet: bool = False
    traceback: bool = False
    as_json: bool = False
    ran: bool = False
    """Whether a run that changes things had begun: then a late Ctrl-C must not report that nothing was changed."""
    out: Output = field(init=False)
    err: Output = field(init=False)

    def __post_init__(self) -> None:
        self.out, self.err = Output(1, self.environ), Output(2, self.environ)

    def close(self) -> None:
        """Close the streams."""
        self.out.close()
        self.err.close()

    def updater(self) -> Updater:
        """Read the configuration and create the updater.

        Raises:
            ConfigError: See `fietsupdate.config.config`.
        """
        return self.updater_class().from_config(*self.files, section=self.section, x=self.x)

    def say(self, text: str) -> None:
        """Print text, as opposed to JSON; nothing with ``--quiet``."""
        if not self.quiet:
            self.out.show(text)

    def answer(self, text: Callable[[], str], document: Callable[[], Mapping[str, Any]], *, as_json: bool) -> None:
        """Print the answer of a reading command, in one of its two forms.

        Raises:
            FietsupdateError: The answer cannot be written, for another reason than that the reader has closed the pipe.
        """
        if as_json:
            from fietsupdate.cli.render import documents

            self.out.line(documents.document(document()))
        else:
            self.say(text())
        self.check_output()

    def check_output(self) -> None:
        """Check that the answer could be written.

        Raises:
            FietsupdateError: The answer could not be written, and the reader did not end early.
        """
        if self.out.failure is not None and not isinstance(self.out.failure, BrokenPipeError):
            from fietsupdate.errors import FietsupdateError

            raise FietsupdateError(f"The answer could not be written: {self.out.failure}.")

    def agreed(self, *, yes: bool) -> bool:
        """Return whether the question was answered beforehand.

        Raises:
            UsageError: ``FIETSUPDATE_YES`` is neither yes nor no.
        """
        return yes or self._agreed_by_environment()

    def require_terminal(self, *, dry_run: bool) -> None:
        """Refuse to go on if a question must be answered and there is no terminal to ask on.

        To be called after every other refusal, so that a typing error is reported first.

        Args:
            dry_run: Whether the command has an option ``--dry-run``.

        Raises:
            UsageError: There is no terminal.
        """
        if self.can_ask:
            return
        from fietsupdate.errors import UNCHANGED, UsageError

        raise UsageError(
            "This changes the instance, and there is no terminal to ask on.",
            stands=UNCHANGED,
            hint=f"Add --yes (or set {YES}=1) to run without a question"
            + (", or --dry-run to see the plan only." if dry_run else "."),
        )

    @property
    def can_ask(self) -> bool:
        """Whether there is a terminal to ask on."""
        return sys.stdin is not None and sys.stdin.isatty() and self.err.is_terminal

    def _agreed_by_environment(self) -> bool:
        value = self.environ.get(YES, "").strip().lower()
        if value and value not in ANSWERS:
            from fietsupdate.errors import UsageError

            raise UsageError(f"{YES} is {value!r}, which is neither yes nor no.", hint=f"export {YES}=1")
        return ANSWERS.get(value, False)

    def ask(self, question: str) -> bool:
        """Ask on the terminal, until the answer is yes or no; the end of input is a no."""
        while True:
            self.err.write(f"{question} [y/n] ")
            answer = sys.stdin.readline()
            if not answer:
                self.err.line()
            if answer.strip().lower() in {"y", "yes"}:
                return True
            if not answer or answer.strip().lower() in {"n", "no"}:
                return False

    def ask_question(self, update_id: str, question: Question) -> str | None:
        """Ask a question of an update script on the terminal, until the answer is acceptable.

        Returns:
            The answer; the default for an empty line; ``None`` at the end of input.
        """
        from fietsupdate.model.questions import wrong_answer

        choices = f" ({', '.join(question.choices)})" if question.choices else ""
        default = f" [{question.default}]" if question.default is not None else ""
        while True:
            self.err.write(f"{update_id} asks: {question.text}{choices}{default} ")
            line = sys.stdin.readline()
            if not line:
                self.err.line()
                return None
            answer = line.strip()
            if not answer:
                if question.default is None:
                    continue
                return question.default
            wrong = wrong_answer(answer, question.choices)
            if not wrong:
                return answer
            self.err.line(f"Not {answer!r}: {wrong}.")

    def choose(self, question: str, most: int) -> int | None:
        """Ask on the terminal for a number from 1 to `most`; return None for an empty line, or at the end of input."""
        while True:
            self.err.write(f"{question} [1-{most}] ")
            answer = sys.stdin.readline()
            if not answer:
                self.err.line()
            if not answer.strip():
                return None
            if answer.strip().isascii() and answer.strip().isdigit() and 1 <= int(answer) <= most:
                return int(answer)

    def fail(self, error: BaseException) -> int:
        """Print an error in the form that was asked for, and return the exit code."""
        from fietsupdate.cli.render import errors

        if self.traceback:
            self.err.write(errors.trace(error))
        known = errors.known(error, ran=self.ran)
        if self.as_json:
            from fietsupdate.cli.render import documents

            self.out.line(documents.line(documents.failure(known)))
        else:
            self.err.show(errors.text(known, self.err.width if self.err.is_terminal else UNWRAPPED))
        return known.exit_code
