"""Answers the questions of a plan before anything starts: with the given answers, the ledger's, or the defaults.

An update that was interrupted keeps the answers that it began with, whatever answers are given later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches

from fietsupdate.errors import UNCHANGED, UnansweredError, UsageError
from fietsupdate.model import Begun, Direction, Plan, Step
from fietsupdate.model.questions import VARIABLE, Answer, GivenAnswers, Question, Source, wrong_answer
from fietsupdate.planning.graph import Graph


def answered(plan: Plan, given: GivenAnswers, graph: Graph, begun: Begun | None, *, may_wait: bool = False) -> Plan:
    """Return the plan with an answer to each question that its scripts show.

    Args:
        plan: The steps that will run.
        given: The answers from the command line, the environment or the caller.
        graph: All updates; an answer to a question that no script of the graph asks is refused as a typing error.
        begun: The update that was interrupted.
        may_wait: Whether a question without an answer stays open, because a terminal will ask it later.

    Raises:
        UsageError: An answer belongs to no question, or the question does not accept it.
        UnansweredError: A question has no answer and no default.
    """
    _refuse_unknown(plan, given, graph)
    wrong: list[str] = []
    steps = tuple(_answered(step, given, begun, wrong, may_wait=may_wait) for step in plan.steps)
    if wrong:
        raise UsageError("\n".join(wrong), stands=UNCHANGED, hint="Correct the answer, and type the command again.")
    plan = replace(plan, steps=steps)
    if not may_wait and (open_ones := [(step, one) for step in steps for one in step.open_questions]):
        raise _unanswered(open_ones)
    return plan


def _answered(step: Step, given: GivenAnswers, begun: Begun | None, wrong: list[str], *, may_wait: bool) -> Step:
    kept = dict(begun.answers) if begun is not None and is_resumed(step, begun) else {}
    answers = [Answer(name, value, Source.LEDGER) for name, value in kept.items()]
    for question in step.asks.questions:
        if question.name in kept:
            continue
        answer = given.answer(step.update.update_id, question.name)
        if answer is not None:
            why = wrong_answer(answer.value, question.choices)
            wrong += [f"{_where(answer, step)} is {answer.value!r}; {why}. It asks: {question.text}"] if why else []
            answers.append(answer)
        elif question.default is not None and not may_wait:
            answers.append(Answer(question.name, question.default, Source.DEFAULT))
    return replace(step, answers=tuple(answers)) if answers else step


def is_resumed(step: Step, begun: Begun) -> bool:
    """Return whether a step resumes the interrupted update."""
    return (begun.update_id, begun.direction) == (step.update.update_id, step.direction)


def _where(answer: Answer, step: Step) -> str:
    if answer.source is Source.ENVIRONMENT:
        return f"{VARIABLE}{answer.name.upper()}, for update {step.update.update_id},"
    return f"The answer {answer.name}, for update {step.update.update_id},"


def _unanswered(open_ones: Sequence[tuple[Step, Question]]) -> UnansweredError:
    lines = [
        f"Update {step.update.update_id} asks, and no answer is given: {described(one)}" for step, one in open_ones
    ]
    names = dict.fromkeys(one.name for _, one in open_ones)
    options = " ".join(f"--answer {name}=VALUE" for name in names)
    variables = " and ".join(f"{VARIABLE}{name.upper()}" for name in names)
    documents = [
        {"update_id": step.update.update_id, "name": one.name, "text": one.text, "choices": list(one.choices)}
        for step, one in open_ones
    ]
    return UnansweredError(
        "\n".join(lines),
        stands=UNCHANGED,
        hint=f"Add {options} to the command, or set {variables}.",
        details={"questions": documents},
    )


def described(question: Question) -> str:
    """Return a question as it is shown on the screen: with its name, its choices and its default."""
    more = [f"one of {', '.join(question.choices)}"] if question.choices else []
    more += [f"default {question.default}"] if question.default is not None else []
    return f"{question.text} [{question.name}{''.join(f'; {one}' for one in more)}]"


def _refuse_unknown(plan: Plan, given: GivenAnswers, graph: Graph) -> None:
    """Raise UsageError for an answer that no script asks for.

    Skipped where a script may ask more than its text shows.
    """
    if any(step.update.may_ask_more or step.asks.unread or step.direction is Direction.VERSION for step in plan.steps):
        return
    known = dict(_names(graph))
    unknown = [key for key in given.options if key not in known]
    if not unknown:
        return
    near = get_close_matches(unknown[0], known, 1)
    meant = f"; did you mean {near[0]}?" if near else "."
    names = sorted(name for name in known if ":" not in name)
    raise UsageError(
        f"No update script here asks a question that is called {unknown[0]}{meant}",
        stands=UNCHANGED,
        hint=f"The questions are {', '.join(names)}." if names else "No script here asks anything.",
    )


def _names(graph: Graph) -> Iterator[tuple[str, None]]:
    for update in graph.updates.values():
        for asks in (update.up_asks, update.down_asks):
            for question in asks.questions:
                yield question.name, None
                yield f"{update.update_id}:{question.name}", None


def doubts(plan: Plan, given: GivenAnswers) -> Iterator[str]:
    """Yield warnings about answers that will not be used as the administrator may expect."""
    asked = {question.name for step in plan.steps for question in step.asks.questions}
    for step in plan.steps:
        for answer in step.answers:
            other = given.answer(step.update.update_id, answer.name)
            if answer.source is Source.LEDGER and other is not None and other.value != answer.value:
                yield (
                    f"{answer.name} stays {answer.value}, not {other.value}: "
                    f"{step.update.update_id} was begun with that answer."
                )
    defaults = any(answer.source is Source.DEFAULT for step in plan.steps for answer in step.answers)
    for name in sorted(given.environment.keys() - asked) if defaults else ():
        yield f"{VARIABLE}{name.upper()} answers no question of this plan, which takes defaults."
