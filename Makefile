# The everyday commands. `make setup` once, then `make check` before each commit.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup test lint check docs whole format wheel pre-commit clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/'

setup: $(BIN)/.complete ## make .venv with everything that development needs

$(BIN)/.complete: pyproject.toml constraints.txt
	$(PYTHON) -m venv --upgrade-deps $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	touch $@

test: setup ## run the tests
	$(BIN)/python -m pytest -n logical

lint: setup ## check style, format and types; changes nothing
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(BIN)/.docs ## build the site into build/site, a warning is an error, and test it
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	$(BIN)/python -m pytest -m docs tests/site

$(BIN)/.docs: $(BIN)/.complete
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev,docs,notebook]'
	touch $@

whole: docs ## the site, and all tests: the quick ones, the notebook, every recipe; at most 75 minutes on two cores
	$(BIN)/python -m pytest -n logical -m 'not docs' -o faulthandler_timeout=2400

check: lint test ## everything that must pass before a commit

format: setup ## mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

wheel: setup ## build the wheel into dist/
	$(BIN)/python -m build --wheel

pre-commit: setup ## run lint before every commit from now on
	$(BIN)/pre-commit install

clean: ## remove what was built; keeps .venv and runs
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
