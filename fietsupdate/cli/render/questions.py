"""The questions of scripts and their answers, as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fietsupdate.model import Entry, Event, Step, Update
from fietsupdate.model.questions import Question, Source

FROM = {
    Source.GIVEN: "",
    Source.ENVIRONMENT: " (environment)",
    Source.DEFAULT: " (default)",
    Source.LEDGER: " (as when it began)",
}
"""The source of an answer, where it must be shown."""


def of_step(step: Step) -> Iterator[str]:
    """Yield the questions of a step, each with its answer, or with the accepted answers."""
    answers = {answer.name: answer for answer in step.answers}
    for question in step.asks.questions:
        answer = answers.pop(question.name, None)
        said = f"{answer.value}{FROM[answer.source]}" if answer is not None else _open(question)
        yield f"asks {question.name}: {question.text} {said}"
    for answer in answers.values():
        yield f"answered {answer.name}: {answer.value}{FROM[answer.source]}"
    for line in step.asks.unread:
        yield (
            f"asks what cannot be read before it runs ({step.update.path.name}:{line}): what is given for its name or "
            "its default answers it; without both the update fails and is undone"
        )


def of_update(update: Update) -> str:
    """Return the questions of a script, one a line."""
    asked = [*update.up_asks.questions, *update.down_asks.questions]
    return "\n".join(f"{one.name}: {one.text} {_open(one)}" for one in dict.fromkeys(asked))


def of_entries(entries: Sequence[Entry]) -> str:
    """Return the answers of an update, a line for each time it ran."""
    answered = [(entry, ", ".join(f"{name}: {value}" for name, value in entry.answers)) for entry in entries]
    return "\n".join(f"{text} ({entry.direction}, entry {entry.seq})" for entry, text in answered if text)


def _open(question: Question) -> str:
    taken = f"one of {', '.join(question.choices)}" if question.choices else "any text"
    default = f"; default {question.default}" if question.default is not None else ""
    return f"({taken}{default})"


def answered(event: Event) -> str:
    """Return an answer with its question."""
    return f"{event.text} {event.details.get('value', '')}{FROM.get(event.details.get('source', ''), '')}"
