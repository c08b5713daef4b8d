"""The reference in the documentation is what the program says."""

import importlib.util

import pytest
import typer

from fietsupdate.cli.main import app
from fietsupdate.errors import EXIT_CODES
from support.paths import DOCS


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("generate_reference", DOCS / "tools" / "generate_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_says_what_the_program_says(generator):
    assert (DOCS / "reference" / "commands.md").read_text(encoding="utf-8") == generator.reference(), (
        "run: python docs/tools/generate_reference.py"
    )


def test_every_command_and_every_option_is_explained(generator):
    text = generator.reference()
    program = typer.main.get_command(app)
    for name, command in program.commands.items():
        assert f"\n## {name}\n" in text
        assert all(param.help for param in command.params), name
        assert all(f"`{param.opts[-1]}" in text for param in command.params if param.param_type_name == "option")


def test_the_help_of_check_names_the_exit_codes():
    help_text = typer.main.get_command(app).commands["check"].help
    assert all(f"{code} {state}" in help_text for state, code in EXIT_CODES.items())
