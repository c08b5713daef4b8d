"""Answers what a script asks while it runs: from the plan, and for what the plan could not know, by what was given.

An answer is noted durably before the hook gets it, so that a run that goes on later gives the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fietsupdate.errors import UpdateFailedError
from fietsupdate.model import Step, questions
from fietsupdate.model.listeners import ignore
from fietsupdate.model.questions import VARIABLE, Answer, Answers, GivenAnswers, Question, Source


@dataclass
class Answering:
    """The answers to one step's questions.

    Args:
        step: The step, with the answers of its plan.
        given: The answers that somebody has given.
        note: Writes all answers down, durably, when there is one more.
        tell: Told of each further answer: the question, and who answered it.
        warn: Told where a default is taken that no plan has shown.
    """

    step: Step
    given: GivenAnswers
    note: Callable[[Mapping[str, str]], object] = ignore
    tell: Callable[[Question, Answer], object] = ignore
    warn: Callable[[str], object] = ignore
    known: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.known = {answer.name: answer.value for answer in self.step.answers}

    @property
    def entry(self) -> Answers:
        """The answers as the ledger keeps them."""
        return questions.sorted_answers(self.known)

    def __call__(self, question: Question) -> str:
        """Return the answer to a question; the same one whenever it is asked in this update.

        Raises:
            UpdateFailedError: There is none, or none that the question takes.
        """
        if question.name not in self.known:
            self._learn(question)
        value = self.known[question.name]
        if question.choices and value not in question.choices:
            raise UpdateFailedError(
                f"{question.name} was answered {value!r}, which is none of {', '.join(question.choices)}",
                hint="Two questions of one name have one answer: give them names of their own.",
            )
        return value

    def _learn(self, question: Question) -> None:
        """Find the answer to a question that the plan did not know."""
        wrong = questions.wrong_name(question.name)
        answer = self.given.answer(self.step.update.update_id, question.name)
        if answer is None and question.default is not None:
            answer = Answer(question.name, question.default, Source.DEFAULT)
        if answer is None:
            raise UpdateFailedError(
                f"it asks what nobody has answered: {question.text or question.name} [{question.name}]",
                hint=f"Add --answer {question.name}=VALUE to the command, or set {VARIABLE}{question.name.upper()}.",
            )
        if wrong := wrong or questions.wrong_answer(answer.value, question.choices):
            raise UpdateFailedError(
                f"{question.name} is answered {answer.value!r}: {wrong}",
                hint=f"Give another answer: --answer {question.name}=VALUE",
            )
        learnt = {**self.known, question.name: answer.value}
        if len(questions.to_json(learnt.items()).encode()) > questions.MOST_BYTES:
            raise UpdateFailedError(f"the answers of {self.step.update.update_id} are too long for the ledger")
        self.note(learnt)
        self.known = learnt
        if answer.source is Source.DEFAULT:
            self.warn(f"{question.name} was not in the plan, and was answered by its default, {answer.value!r}.")
        self.tell(question, answer)
