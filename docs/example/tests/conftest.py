"""tracklib's own tests of its updates: ``pytest docs/example/tests`` in a checkout."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))  # tracklib is not installed


@pytest.fixture
def fietsupdate_data():
    """Let four people use tracklib 1.0 before anything newer comes."""
    from fill import fill

    return {"v1.0": lambda instance: fill(instance.url)}
