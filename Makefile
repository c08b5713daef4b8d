# Every target does its own set-up in .venv; the stamp files there make repeated runs quick.
# JOBS is for two cores: the servers and the disk are waited for as well.
# Needs a Python >= 3.11 with venv, and a package registry that pip can reach. PYTHON=... chooses another one.

VENV := .venv
BIN := $(VENV)/bin
TESTS ?= tests
JOBS ?= 3
SWEEPS ?= tests/sweeps

ifeq ($(origin PYTHON), undefined)
PYTHON := $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
endif

.PHONY: help venv demo test sweep lint format types docs wheel versions bench clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

$(VENV)/.package: pyproject.toml
	@test -n "$(PYTHON)" || { echo "fietsupdate needs Python 3.11 or newer; name one with PYTHON=..." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.group-%: $(VENV)/.package
	$(BIN)/python -m pip install --quiet --group $*
	touch $@

venv: $(VENV)/.group-dev  ## everything that developing needs, in .venv

demo: $(VENV)/.package  ## make the example application in .demo/ and take it through its releases
	$(BIN)/python docs/example/demo.py

test: $(VENV)/.group-test  ## the tests; FIETSUPDATE_TEST_REQUIRE=postgresql,mariadb forbids to skip a server
	$(BIN)/python -m compileall -q fietsupdate  # thousands of commands start here, also where PYTHONDONTWRITEBYTECODE is set
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(TESTS)

sweep: $(VENV)/.group-test  ## strike every single event, everywhere; takes hours, and says at its end what it did
	$(BIN)/python -m compileall -q fietsupdate
	FIETSUPDATE_SWEEP=full $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(SWEEPS)

lint: $(VENV)/.group-lint  ## ruff: rules and format; and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.group-lint  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.group-lint  ## mypy, strict
	$(BIN)/mypy

docs: $(VENV)/.group-docs  ## the documentation, warnings are errors
	$(BIN)/python -m sphinx -E -W --keep-going -q -b html docs docs/_build/html

wheel: $(VENV)/.group-release  ## build through the sdist, then use the wheel where nothing else is installed
	.ci/wheel $(BIN)/python

versions:  ## a few tests with the lowest and the highest versions of what it needs, on every Python that is here
	.ci/versions

bench: $(VENV)/.group-test  ## the benchmarks, one after another; each prints its ratios
	set -e; for benchmark in benchmarks/*.py; do echo "== $$benchmark"; $(BIN)/python $$benchmark; done

clean:  ## remove all that is made here
	rm -rf $(VENV) .demo .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist docs/_build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
