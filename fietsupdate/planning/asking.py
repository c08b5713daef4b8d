"""Find the questions of a script's hooks in its syntax tree, so that a plan knows them before anything runs.

A question is a call ``self.ask(...)`` whose arguments are literals. Where the arguments are computed, the script
declares the question in its metadata, ``questions = [{"name": ..., "text": ...}]``, and asks it by that name. For a
call whose arguments are computed and whose question is not declared, only the line is known.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from fietsupdate.model.questions import Asks, Question, derived_name, wrong_answer, wrong_name

UP, DOWN = "Up", "Down"
DIRECTIONS: Mapping[str, frozenset[str]] = {
    "up": frozenset({UP}),
    "down": frozenset({DOWN}),
    "both": frozenset({UP, DOWN}),
}
"""The allowed values of a declared question's ``direction``, each with the classes that ask the question."""

OURS = "UpdateScript"
WORDS = ("name", "text", "default", "choices")
"""The keywords that a call of `ask` accepts, and the keys of a declared question."""


@dataclass
class Asking:
    """The questions that were found in one script."""

    asks: dict[str, Asks] = field(default_factory=dict)
    """The questions by class: `Up` or `Down`."""
    may_ask_more: bool = False
    faults: list[tuple[int, str]] = field(default_factory=list)
    """Each fault as its line and a description."""


class ComputedError(Exception):
    """A value that is known only when the script runs."""


class _WrongError(Exception):
    """A question that breaks the rules for questions."""


def read(tree: ast.Module, source: bytes, declared: object, line: int) -> Asking:
    """Read the questions of a script.

    A script that does not contain the word "ask" is not searched: most scripts ask nothing.

    Args:
        tree: The syntax tree of the script.
        source: The script as it lies on disk.
        declared: The value of `questions` in the script; ``None`` where the script has none.
        line: The line of `questions`.
    """
    if b"ask" not in source and declared is None:
        return Asking(may_ask_more=not bases_are_known(tree))
    asking = Asking()
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    by_class = _declared(declared, line, asking)
    calls_read = 0
    for name in (UP, DOWN):
        if name not in classes and not by_class[name]:
            continue
        chain, is_known = _chain(classes, name)
        asking.may_ask_more |= not is_known
        if any(_defines_ask(node) for node in chain):
            continue  # the class defines its own `ask`, which is not ours
        calls = [call for node in chain for call in _calls(node)]
        calls_read += len(calls)
        asking.asks[name] = _asks(by_class[name], calls, asking, strict=is_known)
    asking.may_ask_more |= sum(map(_is_ask, ast.walk(tree))) > calls_read
    return asking


def bases_are_known(tree: ast.Module) -> bool:
    """Return whether `Up` and `Down` inherit from nothing but the script's own classes and our base class."""
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    return all(_chain(classes, name)[1] for name in (UP, DOWN) if name in classes)


def defines(tree: ast.Module, name: str, method: str) -> bool:
    """Return whether a class of a script, or one of the script's that it builds on, has a method."""
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    methods = (one for node in _chain(classes, name)[0] for one in node.body)
    return any(isinstance(one, ast.FunctionDef) and one.name == method for one in methods)


def _chain(classes: Mapping[str, ast.ClassDef], name: str) -> tuple[list[ast.ClassDef], bool]:
    """Return a class with the base classes from the same script, and whether it has no other base than ours."""
    chain: list[ast.ClassDef] = []
    waiting, is_known = [name], True
    while waiting:
        node = classes.get(waiting.pop())
        if node is None or node in chain:
            continue
        chain.append(node)
        for base in node.bases:  # without ast.unparse, which would take as long as parsing the script
            if isinstance(base, ast.Name) and base.id in classes:
                waiting.append(base.id)
            else:
                text = base.id if isinstance(base, ast.Name) else base.attr if isinstance(base, ast.Attribute) else ""
                is_known = is_known and text in {OURS, "object"}
    return chain, is_known


def _defines_ask(node: ast.ClassDef) -> bool:
    return any(isinstance(one, ast.FunctionDef) and one.name == "ask" for one in node.body)


def _is_ask(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "ask"


def _calls(node: ast.ClassDef) -> Iterator[ast.Call]:
    for one in ast.walk(node):
        if (
            isinstance(one, ast.Call)
            and _is_ask(one.func)
            and isinstance(value := one.func.value, ast.Name)  # type: ignore[attr-defined]  # it is an attribute
            and value.id == "self"
        ):
            yield one


def _asks(declared: Mapping[str, Question], calls: Iterable[ast.Call], asking: Asking, *, strict: bool) -> Asks:
    """Join the declared questions of a class with those that its calls ask.

    Args:
        declared: The declared questions.
        calls: The calls in the class.
        asking: Collects the faults.
        strict: Whether `ask` is certainly ours; a base class from elsewhere may have an `ask` with other arguments.
    """
    questions, unread = dict(declared), []
    for call in sorted(calls, key=lambda one: (one.lineno, one.col_offset)):
        try:
            question = _of_call(call, declared)
        except ComputedError:
            unread.append(call.lineno)
            continue
        except _WrongError as error:
            if strict:
                asking.faults.append((call.lineno, f"self.ask: {error}."))
            else:
                unread.append(call.lineno)
            continue
        if question is None:
            continue
        first = questions.setdefault(question.name, question)
        if replace(first, line=0) != replace(question, line=0):
            what = f"self.ask: the question {question.name} is asked in line {first.line} in another way; name both."
            asking.faults.append((call.lineno, what))
    return Asks(tuple(questions.values()), tuple(unread))


def _of_call(call: ast.Call, declared: Mapping[str, Question]) -> Question | None:
    """Return the question that a call asks; ``None`` where the call only names a declared question.

    Raises:
        ComputedError: An argument is no literal, and the question is not declared.
        _WrongError: The arguments do not make a valid question.
    """
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    name = named.get("name")
    if isinstance(name, ast.Constant) and name.value in declared:
        return None
    if len(call.args) > 1:
        raise _WrongError("the text is the one argument that needs no name")
    if None in named or any(isinstance(one, ast.Starred) for one in call.args):
        raise ComputedError
    if unknown := named.keys() - set(WORDS):
        raise _WrongError(f"there is no argument {', '.join(sorted(map(str, unknown)))}")
    values = {str(key): _literal(value) for key, value in named.items()}
    if call.args:
        values["text"] = _literal(call.args[0])
    return _question(values, call.lineno)


def _question(values: Mapping[str, object], line: int) -> Question:
    """Build a question from literals.

    Raises:
        _WrongError: The values do not make a valid question.
    """
    text, name, default = values.get("text", ""), values.get("name", ""), values.get("default")
    if not isinstance(text, str) or not isinstance(name, str) or not isinstance(default, str | None):
        raise _WrongError("text, name and default are text; write the default as text, too")
    if not text.strip():
        raise _WrongError("a question needs a text, or the name of one that `questions` declares")
    choices = values.get("choices") or []
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise _WrongError("choices are a list of texts")
    name = name or derived_name(text)
    if wrong := wrong_name(name):
        raise _WrongError(wrong)
    for value in [*choices, *([default] if default is not None else [])]:
        if wrong := wrong_answer(value, choices):
            raise _WrongError(f"{value!r} is no answer to {name}: {wrong}")
    return Question(name, text, default, tuple(choices), line)


def _declared(value: object, line: int, asking: Asking) -> dict[str, dict[str, Question]]:
    """Read the metadatum `questions`: by class, then by name."""
    by_class: dict[str, dict[str, Question]] = {UP: {}, DOWN: {}}
    if value is None:
        return by_class
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        asking.faults.append((line, 'questions must be a list of `{"name": "...", "text": "..."}`.'))
        return by_class
    for one in value:
        classes = DIRECTIONS.get(str(one.get("direction", "up")), frozenset())
        try:
            if unknown := one.keys() - {*WORDS, "direction"}:
                raise _WrongError(f"there is no {', '.join(sorted(map(str, unknown)))}")
            if not classes:
                raise _WrongError(f"direction is {one['direction']!r}; it must be one of {', '.join(DIRECTIONS)}")
            question = _question(one, line)
        except _WrongError as error:
            asking.faults.append((line, f"questions: {error}."))
            continue
        for name in classes:
            if question.name in by_class[name]:
                asking.faults.append((line, f"questions: {question.name} is declared twice."))
            by_class[name][question.name] = question
    return by_class


def _literal(node: ast.expr) -> object:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise ComputedError from None
    return list(value) if isinstance(value, tuple) else value
