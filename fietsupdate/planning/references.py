"""The declarations of update scripts about rows and their files: read from the metadata, and valid along the graph.

A declaration is valid from the update that makes it until a later update of the same folder makes a new one; each
folder has its own. So a downgrade makes the former declarations valid again. `references` and `owned` are declared
separately.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from fietsupdate.errors import PlanError
from fietsupdate.model import Problem, Update
from fietsupdate.model.patterns import divided, is_below_root
from fietsupdate.model.references import NOTHING_DECLARED, Declared, Owned, ReferenceRule, owned_in
from fietsupdate.planning import asking
from fietsupdate.planning.graph import Graph

HOOK = "references"
"""The hook of `Up` for references that literals cannot express, and the name of the metadata that it belongs to."""
TEXTS = ("table", "path", "where", "root", "size", "sha256", "schema")
NEEDED = ("table", "path")
REFERENCE = (
    'Write {"table": "tracks", "path": "tracks/{id}.gpx"}, and what it needs of where, root, size, sha256, optional, '
    "schema."
)
PATTERN = 'Write patterns of paths below the data directory, owned = ["tracks/**"], or "NAME:..." below a further root.'

Fault = tuple[int, str, str]
"""The line, the fault, and what to write instead."""


def read(
    tree: ast.Module, source: bytes, values: Mapping[str, object], line: Callable[[str], int]
) -> tuple[Declared, list[Fault]]:
    """Read the declarations of a script; a source without such a word is not searched.

    Args:
        tree: The script.
        source: The source of the same script.
        values: Its metadata.
        line: Returns the line that binds a name.

    Returns:
        The declarations, and the faults in them.
    """
    faults: list[Fault] = []
    rules = owned = None
    if "references" in values:
        rules = _rules(values["references"], _lines(tree, "references", line("references")), faults)
    if "owned" in values:
        owned = _patterns(values["owned"], line("owned"), faults)
    has_hook = HOOK.encode() in source and asking.defines(tree, asking.UP, HOOK)
    if rules is None and owned is None and not has_hook:
        return NOTHING_DECLARED, faults
    at = line("references") if rules is not None else line("owned") if owned is not None else line("Up")
    return Declared(rules, owned, has_hook, at), faults


def _lines(tree: ast.Module, name: str, first: int) -> list[int]:
    """Return the lines of a list's elements, given the line of its name."""
    for statement in tree.body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id=bound)], value=ast.List() | ast.Tuple() as value)
                | ast.AnnAssign(target=ast.Name(id=bound), value=ast.List() | ast.Tuple() as value)
            ) if bound == name:
                return [element.lineno for element in value.elts]
    return [first]


def _rules(value: object, lines: list[int], faults: list[Fault]) -> tuple[ReferenceRule, ...]:
    if not isinstance(value, list):
        faults.append((lines[0], f"references must be a list, not {value!r}.", REFERENCE))
        return ()
    found: list[ReferenceRule] = []
    for number, one in enumerate(value):
        line = lines[number] if number < len(lines) else lines[0]
        if what := _wrong(one):
            faults.append((line, f"references: {what}", REFERENCE))
        else:
            found.append(ReferenceRule(**one))
    return tuple(dict.fromkeys(found))


def _wrong(one: object) -> str:
    """Return what is wrong with one reference; "" if it is valid."""
    if not isinstance(one, dict):
        return f"{one!r} is no mapping."
    if unknown := [key for key in one if key not in {*TEXTS, "optional"}]:
        return f"{unknown[0]!r} is no key of a reference."
    if lacking := [key for key in NEEDED if not one.get(key)]:
        return f"{one!r} has no {lacking[0]!r}."
    for key in TEXTS:
        if key in one and not (isinstance(one[key], str) and one[key].strip()):
            return f"{key!r} must be a text, not {one[key]!r}."
    if not isinstance(one.get("optional", False), bool):
        return f"'optional' must be True or False, not {one['optional']!r}."
    try:
        template = ReferenceRule(one["table"], one["path"]).template
    except ValueError as error:
        return f"the path {one['path']!r} cannot be read: {error}."
    return "" if template.columns else f"the path {one['path']!r} names no column, so all rows would name one file."


def _patterns(value: object, line: int, faults: list[Fault]) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        faults.append((line, f"owned must be a list of patterns, not {value!r}.", PATTERN))
        return ()
    wrong = [text for text in value if not is_below_root(divided(text)[1])]
    faults += [(line, f"owned: {text!r} is no path below a root.", PATTERN) for text in wrong]
    return tuple(dict.fromkeys(value))


# -- the valid declarations


@dataclass(frozen=True, slots=True)
class Declarations:
    """All valid declarations at a position of an instance, each with the update that makes it."""

    rules: tuple[tuple[ReferenceRule, Update], ...] = ()
    """The references."""
    owners: tuple[tuple[Owned, Update], ...] = ()
    """The owned files."""
    hooks: tuple[Update, ...] = ()
    """The updates whose hooks yield more references."""

    def __bool__(self) -> bool:
        """Return whether anything is declared."""
        return bool(self.rules or self.owners or self.hooks)

    @property
    def owned(self) -> tuple[Owned, ...]:
        """The owned files, each pattern once."""
        return tuple(dict.fromkeys(pattern for pattern, _ in self.owners))

    def has_all_of(self, other: Declarations) -> bool:
        """Return whether all declarations of another position are valid here, too, whichever update makes them."""
        rules = {rule for rule, _ in self.rules}.issuperset(rule for rule, _ in other.rules)
        return rules and set(self.owned).issuperset(other.owned) and set(self.hooks).issuperset(other.hooks)


def valid_at(graph: Graph, applied: Collection[str]) -> Declarations:
    """Return the declarations that are valid if these updates are applied.

    Raises:
        PlanError: Two heads contradict each other.
    """
    if problem := contradiction(graph, applied):
        raise _refused(problem)
    rules: list[tuple[ReferenceRule, Update]] = []
    owners: list[tuple[Owned, Update]] = []
    hooks: list[Update] = []
    for folder in graph.folders:
        own: tuple[ReferenceRule, ...] = ()
        for update in _last(graph, folder, applied, _says_references)[:1]:
            own = update.declares.references or ()
            rules += [(rule, update) for rule in own]
            hooks += [update] if update.declares.has_hook else []
        for update in _last(graph, folder, applied, _says_owned)[:1]:
            owners += [(one, update) for one in owned_in(update.declares.owned or (), own)]
    return Declarations(tuple(rules), tuple(owners), tuple(hooks))


def contradiction(graph: Graph, applied: Collection[str]) -> Problem | None:
    """Return the contradictions between two heads of a folder if all of these updates are applied.

    None if there are none.
    """
    found = list(_contradictions(graph, applied))
    if not found:
        return None
    lines = [
        f"{' and '.join(one.update_id for one in those)} declare {what} differently, and neither comes after the "
        f"other: {', '.join(f'{one.path}:{one.declares.line}' for one in those)}."
        for what, those in found
    ]
    return Problem(
        "references_contradict",
        "\n".join(lines),
        "Write an update after both that declares what is true then: `fietsupdate revision --merge`.",
        blocks=False,
    )


def refuse_contradiction(graph: Graph, applied: Collection[str], result: Collection[str]) -> None:
    """Refuse a plan that leads to two heads which contradict each other, unless they do so already.

    Raises:
        PlanError: The message names both.
    """
    if (problem := contradiction(graph, result)) and contradiction(graph, applied) is None:
        raise _refused(problem)


def _refused(problem: Problem) -> PlanError:
    error = PlanError(problem.message, stands="Nothing was changed.", hint=problem.hint)
    error.code = problem.code
    return error


def _says_references(update: Update) -> bool:
    return update.declares.says_references


def _says_owned(update: Update) -> bool:
    return update.declares.owned is not None


def _contradictions(graph: Graph, applied: Collection[str]) -> Iterator[tuple[str, tuple[Update, ...]]]:
    for folder in graph.folders:
        those = _last(graph, folder, applied, _says_references)
        if len({(one.declares.references, one.declares.has_hook and one.update_id) for one in those}) > 1:
            yield "references", those
        those = _last(graph, folder, applied, _says_owned)
        if len({one.declares.owned for one in those}) > 1:
            yield "owned files", those


def _last(graph: Graph, folder: str, applied: Collection[str], says: Callable[[Update], bool]) -> tuple[Update, ...]:
    """Return the updates of a folder that declare something, and that no other such update comes after."""
    those = {
        one.update_id
        for one in graph.updates.values()
        if one.folder == folder and says(one) and one.update_id in applied
    }
    return tuple(graph.updates[one] for one in graph.dag.heads(those)) if those else ()
