# Everything runs in .venv, which `make setup` makes; nothing outside the checkout is touched.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/installed

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-thorough test-fast lint check bench build format clean

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: $(STAMP) ## install metamotor and its tools into .venv

# The version stands in __init__.py, and an editable install has to be told of a new one.
$(STAMP): pyproject.toml constraints.txt src/metamotor/__init__.py
	@test -n "$(PYTHON)" || { echo "metamotor needs Python 3.11, and there is no python3 here."; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
		echo "metamotor needs Python 3.11, but $(PYTHON) is $$("$(PYTHON)" -V 2>&1)."; \
		echo "Name another one with: make setup PYTHON=/path/to/python3.11"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments; on Debian: apt install python3-venv"; exit 1; }
	@echo "Installing into .venv (a few minutes the first time) ..."
	@$(BIN)/pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear .venv
	@$(BIN)/pip install -qq -c constraints.txt -e ".[dev]"
	@touch $@

demo: setup ## see a robot adapt
	@$(BIN)/metamotor demo

test: setup ## run the tests
	@$(BIN)/pytest -q -n auto --dist worksteal -m "not thorough"

test-thorough: setup ## run every test, on further variants too
	@$(BIN)/pytest -q -n auto --dist worksteal

test-fast: setup ## run the tests that take seconds
	@$(BIN)/pytest -q -n auto --dist worksteal -m "not slow and not thorough"

lint: setup ## check format, lint, types and layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

check: lint test-fast ## lint, then the fast tests

bench: setup ## measure speed
	@$(BIN)/metamotor bench

build: setup ## build wheel and sdist, and try both outside the checkout
	@rm -rf dist
	@$(BIN)/python -m build --quiet --outdir dist .
	@.ci/smoke dist

format: setup ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## remove .venv, caches and builds; keep runs/
	@rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
