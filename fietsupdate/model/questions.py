"""What update scripts ask, and what was answered: the values, and what a name and an answer look like.

An answer is text. It stands in the ledger of both halves, in plans and in reports: it is no place for a password.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fietsupdate.model.readback import parsed

VARIABLE = "FIETSUPDATE_ANSWER_"
"""What the names of environment variables begin with that answer a question."""

NAME = re.compile(r"[a-z][a-z0-9_]*")
"""What the name of a question looks like: in capitals, it ends the name of an environment variable."""

LONGEST_NAME = 60
LONGEST_ANSWER = 500
"""Characters of a name and of an answer."""
MOST_BYTES = 20_000
"""Bytes of all answers to one update: a line of the ledger has 64 KiB."""

_WORDS = re.compile(r"[a-z0-9]+")
_LONGEST_DERIVED = 40


class Source(enum.StrEnum):
    """Who gave an answer."""

    GIVEN = "given"
    """The command line, the terminal, or the caller of `Updater`."""
    ENVIRONMENT = "environment"
    DEFAULT = "default"
    LEDGER = "ledger"
    """The run that was interrupted; nobody is asked again."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question of an update script."""

    name: str
    """Names it on the command line, in the environment and in the ledger."""
    text: str
    default: str | None = None
    """The answer where nobody gives one; ``None`` where somebody must."""
    choices: tuple[str, ...] = ()
    """All answers that it takes; empty for any."""
    line: int = 0
    """Where the script asks it; 0 for a question that was asked at run time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one question."""

    name: str
    value: str
    source: Source


@dataclass(frozen=True, slots=True)
class Asks:
    """What a class of hooks asks, as far as the script shows it without being run."""

    questions: tuple[Question, ...] = ()
    unread: tuple[int, ...] = ()
    """Lines of questions of which the text, the default or the choices are computed."""

    def find(self, name: str) -> Question | None:
        """Return the question of this name."""
        return next((question for question in self.questions if question.name == name), None)


@dataclass(frozen=True)
class GivenAnswers:
    """The answers that somebody has given before the run."""

    options: Mapping[str, str] = field(default_factory=dict)
    """By name; or by update and name, ``ID:NAME``, which counts more."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """By name."""
    unattended: bool = True
    """Whether nobody is there who could be asked."""

    def answer(self, update_id: str, name: str) -> Answer | None:
        """Return what was given for a question; ``None`` for nothing."""
        for key in (f"{update_id}:{name}", name):
            if key in self.options:
                return Answer(name, self.options[key], Source.GIVEN)
        if name in self.environment:
            return Answer(name, self.environment[name], Source.ENVIRONMENT)
        return None


NONE_GIVEN = GivenAnswers()
NO_ASKS = Asks()


def derived_name(text: str) -> str:
    """Return the name of a question that says none: the words of its text, as many as have room."""
    name = ""
    for word in _WORDS.findall(text.lower()):
        longer = f"{name}_{word}" if name else word
        if len(longer) > _LONGEST_DERIVED:
            break
        name = longer
    name = name or "question"
    return name if NAME.match(name) else f"question_{name}"[:LONGEST_NAME]


def wrong_name(name: str) -> str:
    """Say what is wrong with the name of a question; "" for nothing."""
    if NAME.fullmatch(name) and len(name) <= LONGEST_NAME:
        return ""
    return f"the name {name!r} is not allowed: small letters, digits and `_`, {LONGEST_NAME} at the most"


def wrong_answer(value: str, choices: Iterable[str] = ()) -> str:
    """Say what is wrong with an answer; "" for nothing."""
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
    """Return answers as an entry of the ledger has them."""
    return tuple(sorted(answers.items()))


def to_json(answers: Iterable[tuple[str, str]]) -> str:
    """Return the text that the ledger table keeps."""
    return json.dumps(dict(answers), sort_keys=True, ensure_ascii=False)


def from_json(text: str | None) -> Answers:
    """Read that text back; nothing for none.

    Raises:
        ValueError: It is something else.
    """
    return from_values(parsed(text)) if text else ()


def from_values(values: object) -> Answers:
    """Read answers that were read back from disk.

    Raises:
        ValueError: They are something else than texts by name.
    """
    if not isinstance(values, Mapping) or not all(isinstance(text, str) for pair in values.items() for text in pair):
        raise ValueError(f"{values!r} are no answers")
    return sorted_answers(values)
