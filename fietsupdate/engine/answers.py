"""Answer the questions that a script asks while it runs, from the plan or from the given answers.

A question that the plan did not know is answered from the given answers alone.

An answer is stored durably before the hook receives it, so that a resumed run gives the same answer.
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
        given: The answers that were given before the run.
        note: Called with all answers, to store them durably, when there is one more.
        listener: Called with each further question and its answer.
        warn: Called with a warning where a default is used for a question that no plan has shown.
    """

    step: Step
    given: GivenAnswers
    note: Callable[[Mapping[str, str]], object] = ignore
    listener: Callable[[Question, Answer], object] = ignore
    warn: Callable[[str], object] = ignore
    known: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.known = {answer.name: answer.value for answer in self.step.answers}

    @property
    def entry(self) -> Answers:
        """The answers in the form of the ledger."""
        return questions.sorted_answers(self.known)

    def __call__(self, question: Question) -> str:
        """Return the answer to a question; the same answer each time it is asked in this update.

        Raises:
            UpdateFailedError: There is no answer, or the question does not accept it.
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
        """Return the answer to a question that the plan did not know."""
        wrong = questions.wrong_name(question.name)
        answer = self.given.answer(self.step.update.update_id, question.name)
        if answer is None and question.default is not None:
            answer = Answer(question.name, question.default, Source.DEFAULT)
        if answer is None:
            raise UpdateFailedError(
                f"it asks a question without an answer: {question.text or question.name} [{question.name}]",
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
        self.listener(question, answer)
