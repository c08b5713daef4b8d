"""Takes passwords out of text: drivers, env.py and configparser repeat the URL that they got.

The patterns are compiled when the first text needs them, as most commands print none that does.
"""

from __future__ import annotations

import re

MASK = "***"
_NAMES = r"(?i:pass(?:word|wd)?|pwd|secret|token|api_?key)"
_IN_URL = r"(://[^\s:/?#@]*:)\S+(?=@)"
"""Up to the last @ of a word: a password that is not quoted as it should be may have any character but a blank."""
_IN_PART = r"(://[^\s:/?#@'\"\\]*:)[^\s'\"\\]+(?=@)"
"""The same inside of one quoted text."""
_NAMED = rf"({_NAMES}['\"]?\s*[=:]\s*)(?!(?:YES|NO)\b)(?:'[^']+'|\"[^\"]+\"|[^\s'\",;&)}}\\]+)"
_IN_PARAMETER = rf"({_NAMES}=)[^\s'\",;&)}}\\]+"
_INTERPOLATED = r"(must be followed by '%' or '\(', found: |invalid interpolation syntax in )(['\"]).*\2"
"""What configparser says of a percent sign that it cannot read: it repeats the rest of the value, or all of it."""


def masked(text: str) -> str:
    """Return a message with ``***`` in place of the passwords in it."""
    text = re.sub(_INTERPOLATED, rf"\1{MASK}", text)
    return re.sub(_NAMED, rf"\1{MASK}", re.sub(_IN_URL, rf"\1{MASK}", text))


def masked_parts(text: str) -> str:
    """Return the same of a text that may be a JSON document: nothing changes that reaches over a quotation mark."""
    if "@" not in text and "=" not in text:
        return text
    return re.sub(_IN_PARAMETER, rf"\1{MASK}", re.sub(_IN_PART, rf"\1{MASK}", text))
