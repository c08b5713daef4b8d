"""The paths of the repository's own files."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
TOP = TESTS.parent
DOCS = TOP / "docs"
DATA = TESTS / "data"
APPLICATIONS = TESTS / "applications"
