"""Takes passwords out of text: drivers, env.py and configparser repeat the URL that they got."""

from __future__ import annotations

import re

MASK = "***"
_NAMES = r"(?i:pass(?:word|wd)?|pwd|secret|token|api_?key)"
_IN_URL = re.compile(r"(://[^\s:/?#@]*:)\S+(?=@)")
"""Up to the last @ of a word: a password that is not quoted as it should be may have any character but a blank."""
_IN_PART = re.compile(r"(://[^\s:/?#@'\"\\]*:)[^\s'\"\\]+(?=@)")
"""The same inside of one quoted text."""
_NAMED = re.compile(rf"({_NAMES}['\"]?\s*[=:]\s*)(?!(?:YES|NO)\b)(?:'[^']+'|\"[^\"]+\"|[^\s'\",;&)}}\\]+)")
_IN_PARAMETER = re.compile(rf"({_NAMES}=)[^\s'\",;&)}}\\]+")
_INTERPOLATED = re.compile(r"(must be followed by '%' or '\(', found: |invalid interpolation syntax in )(['\"]).*\2")
"""What configparser says of a percent sign that it cannot read: it repeats the rest of the value, or all of it."""


def masked(text: str) -> str:
    """Return a message with ``***`` in place of the passwords in it."""
    text = _INTERPOLATED.sub(rf"\1{MASK}", text)
    return _NAMED.sub(rf"\1{MASK}", _IN_URL.sub(rf"\1{MASK}", text))


def masked_parts(text: str) -> str:
    """Return the same of a text that may be a JSON document: nothing changes that reaches over a quotation mark."""
    return _IN_PARAMETER.sub(rf"\1{MASK}", _IN_PART.sub(rf"\1{MASK}", text))
