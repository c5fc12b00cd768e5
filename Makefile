# neurosig: `make demo` and `make test` are each enough after `git clone`; both prepare .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# two workers suit a laptop and CI; PYTEST_ARGS="-n 0 -x" while developing
PYTEST_ARGS ?= -n 2 --dist loadgroup
# numerical libraries share the cores between the test workers instead of fighting over them
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help install install-dev demo test test-fast lint format bench readme wheel clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed  ## prepare .venv with neurosig and what it needs

install-dev: $(VENV)/.installed-dev  ## the same plus the tools for tests and checks

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@ $(VENV)/.installed

demo: install  ## the main job on the embedded default data: a comparison of decoders and its report
	$(BIN)/neurosig demo

test: install-dev  ## the whole suite (slow tests included)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-fast: install-dev  ## the suite without the slow tests
	$(BIN)/python -m pytest $(PYTEST_ARGS) -m "not slow"

lint: install-dev  ## style, layer contract, types, generated tables
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python .ci/readme.py --check

format: install-dev  ## rewrite the sources in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install-dev  ## speed and memory beside peers, a ratio a row
	$(BIN)/python -m benchmarks

readme: install  ## rewrite the generated parts of README.md
	$(BIN)/python .ci/readme.py

wheel: install-dev  ## build dist/*.whl
	$(BIN)/python -m build --wheel

clean:  ## remove the environment and everything generated
	rm -rf $(VENV) build dist results neurosig-demo .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
