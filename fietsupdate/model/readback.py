"""Turn JSON that is read back from disk into values, whichever program wrote it.

Each field is checked against its declared type. Only `ValueError` is raised, whatever the text is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Kind = TypeVar("Kind", bound=DataclassInstance)
else:
    Kind = TypeVar("Kind")

_PLAIN: Mapping[str, type] = {"str": str, "int": int, "bool": bool}


def parsed(text: str | bytes) -> Any:
    """Parse a JSON text.

    Raises:
        ValueError: The text is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def built(kind: type[Kind], values: Any) -> Kind:
    """Build a dataclass from a mapping; fields that are declared as str, int or bool must have exactly that type.

    Raises:
        ValueError: A field is missing, unknown, or has another type.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{kind.__name__} is no object")  # noqa: TRY004  # see the module's docstring
    for field in fields(kind):
        plain = _PLAIN.get(str(field.type))
        if plain is not None and field.name in values and type(values[field.name]) is not plain:
            raise ValueError(f"{field.name} is {values[field.name]!r}, which is no {plain.__name__}")
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"not all fields of {kind.__name__} are there, or more than these") from error
