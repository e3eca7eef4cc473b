# Needs Python >= 3.11, make and a package index; everything else goes into .venv.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ARGS ?=

help: ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | sort

$(INSTALLED): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"Python {sys.version.split()[0]} is too old: this needs 3.11 or newer. Name one with: make PYTHON=python3.12 ...")'
	@echo "Installing into $(VENV) (a minute or two, once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

install: $(INSTALLED) ## make .venv with the pinned packages

demo: $(INSTALLED) ## run the whole pipeline on this machine (ARGS="--count 20000" to end by itself)
	@$(BIN)/python -m local.demo $(ARGS)

chaos: $(INSTALLED) ## break the pipeline on a seeded schedule and count what is lost (about 7 minutes)
	@$(BIN)/python -m local.chaos $(ARGS)

bench: $(INSTALLED) ## measure beside what people would use instead; table and bench/results/latest.json
	@$(BIN)/python -m bench $(ARGS)

test: lint types $(INSTALLED) ## linters, strict types, tests
	$(BIN)/python -m pytest -n 4 --dist loadfile $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

lock: ## resolve the .in files again into hashed requirements
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' $(ARGS) requirements/dev.in -o requirements/dev.txt
	for d in producer sink_function dashboard; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command 'make lock' -c requirements/dev.txt services/$$d/requirements.in -o services/$$d/requirements.txt || exit 1; \
	done

.PHONY: help install demo chaos bench test lint types lock
