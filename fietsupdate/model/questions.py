"""The questions of update scripts and their answers: the values, and the rules for names and answers.

An answer is text. It is stored in the ledger of both halves, in plans and in reports, so it must not be a password.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fietsupdate.model.readback import parsed

VARIABLE = "FIETSUPDATE_ANSWER_"
"""The prefix of environment variables that answer a question."""

NAME = re.compile(r"[a-z][a-z0-9_]*")
"""The pattern of a question's name; in capitals, the name ends the name of an environment variable."""

LONGEST_NAME = 60
LONGEST_ANSWER = 500
"""The most characters of a name and of an answer."""
MOST_BYTES = 20_000
"""The most bytes of all answers to one update; an entry of the ledger may have 64 KiB."""

_WORDS = re.compile(r"[a-z0-9]+")
_LONGEST_DERIVED = 40


class Source(enum.StrEnum):
    """Where an answer comes from."""

    GIVEN = "given"
    """The command line, the terminal, or the caller of `Updater`."""
    ENVIRONMENT = "environment"
    DEFAULT = "default"
    LEDGER = "ledger"
    """The run that was interrupted; the question is not asked again."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question of an update script."""

    name: str
    """The name of the question on the command line, in the environment and in the ledger."""
    text: str
    default: str | None = None
    """The answer where none is given; ``None`` where one must be given."""
    choices: tuple[str, ...] = ()
    """All answers that are accepted; empty for any text."""
    line: int = 0
    """The line in which the script asks; 0 for a question that was asked at run time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one question."""

    name: str
    value: str
    source: Source


@dataclass(frozen=True, slots=True)
class Asks:
    """The questions of a class of hooks, as far as they can be read without running the script."""

    questions: tuple[Question, ...] = ()
    unread: tuple[int, ...] = ()
    """Lines of questions whose text, default or choices are computed."""

    def find(self, name: str) -> Question | None:
        """Return the question with this name, or ``None``."""
        return next((question for question in self.questions if question.name == name), None)


@dataclass(frozen=True)
class GivenAnswers:
    """The answers that were given before the run."""

    options: Mapping[str, str] = field(default_factory=dict)
    """By name; or by update and name, ``ID:NAME``, which outranks the name alone."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """By the name of the question."""
    unattended: bool = True
    """Whether the run has no terminal at which questions could be asked."""

    def answer(self, update_id: str, name: str) -> Answer | None:
        """Return the answer that was given to a question, or ``None``."""
        for key in (f"{update_id}:{name}", name):
            if key in self.options:
                return Answer(name, self.options[key], Source.GIVEN)
        if name in self.environment:
            return Answer(name, self.environment[name], Source.ENVIRONMENT)
        return None


NONE_GIVEN = GivenAnswers()
NO_ASKS = Asks()


def derived_name(text: str) -> str:
    """Return the name of a question that has none: the words of its text, as many as fit."""
    name = ""
    for word in _WORDS.findall(text.lower()):
        longer = f"{name}_{word}" if name else word
        if len(longer) > _LONGEST_DERIVED:
            break
        name = longer
    name = name or "question"
    return name if NAME.match(name) else f"question_{name}"[:LONGEST_NAME]


def wrong_name(name: str) -> str:
    """Return what is wrong with the name of a question, or "" for a valid name."""
    if NAME.fullmatch(name) and len(name) <= LONGEST_NAME:
        return ""
    return f"the name {name!r} is not allowed: small letters, digits and `_`, {LONGEST_NAME} at the most"


def wrong_answer(value: str, choices: Iterable[str] = ()) -> str:
    """Return what is wrong with an answer, or "" for a valid answer."""
    choices = tuple(choices)
    if choices and value not in choices:
        return f"it must be one of {', '.join(choices)}"
    if len(value) > LONGEST_ANSWER:
        return f"it has {len(value)} characters; {LONGEST_ANSWER} are kept"
    if not all(character.isprintable() for character in value):
        return "it must be one line of text"
    return ""


def from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the answers in an environment, by the name of the question."""
    found = {key.removeprefix(VARIABLE): value for key, value in environ.items() if key.startswith(VARIABLE)}
    return {name.lower(): value for name, value in found.items() if name}


Answers = tuple[tuple[str, str], ...]
"""Names and values, sorted by name."""


def sorted_answers(answers: Mapping[str, str]) -> Answers:
    """Return answers in the form that an entry of the ledger holds."""
    return tuple(sorted(answers.items()))


def to_json(answers: Iterable[tuple[str, str]]) -> str:
    """Return answers as the text that the ledger table stores."""
    return json.dumps(dict(answers), sort_keys=True, ensure_ascii=False)


def from_json(text: str | None) -> Answers:
    """Read the text of the ledger table back; an empty tuple for no text.

    Raises:
        ValueError: The text does not hold answers.
    """
    return from_values(parsed(text)) if text else ()


def from_values(values: object) -> Answers:
    """Check answers that were read back from disk.

    Raises:
        ValueError: The values are not texts by name.
    """
    if not isinstance(values, Mapping) or not all(isinstance(text, str) for pair in values.items() for text in pair):
        raise ValueError(f"{values!r} are no answers")
    return sorted_answers(values)
