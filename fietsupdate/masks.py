"""Masks passwords in texts: drivers, env.py and configparser repeat the URL that they were given.

Whatever writes to a terminal needs this module, so it imports nothing of ours.
"""

from __future__ import annotations

import re

MASK = "***"
_NAMES = r"(?i:pass(?:word|wd)?|pwd|secret|token|api_?key)"
_IN_URL = r"(://[^\s:/?#@]*:)\S+(?=@)"
"""Up to the last @ of a word: a password that was not quoted as required may have any character except a blank."""
_IN_PART = r"(://[^\s:/?#@'\"\\]*:)[^\s'\"\\]+(?=@)"
"""The same inside of one quoted text."""
_NAMED = rf"({_NAMES}['\"]?\s*[=:]\s*)(?!(?:YES|NO)\b)(?:'[^']+'|\"[^\"]+\"|[^\s'\",;&)}}\\]+)"
_IN_PARAMETER = rf"({_NAMES}=)[^\s'\",;&)}}\\]+"
_INTERPOLATED = r"(must be followed by '%' or '\(', found: |invalid interpolation syntax in )(['\"]).*\2"
"""What configparser reports for a percent sign that it cannot read: it repeats the rest of the value, or all of it."""


def masked(text: str) -> str:
    """Return a message with ``***`` in place of the passwords in it."""
    text = re.sub(_INTERPOLATED, rf"\1{MASK}", text)
    return re.sub(_NAMED, rf"\1{MASK}", re.sub(_IN_URL, rf"\1{MASK}", text))


def masked_parts(text: str) -> str:
    """Mask passwords in a text that may be a JSON document: no replacement extends over a quotation mark."""
    if "@" not in text and "=" not in text:
        return text
    return re.sub(_IN_PARAMETER, rf"\1{MASK}", re.sub(_IN_PART, rf"\1{MASK}", text))
