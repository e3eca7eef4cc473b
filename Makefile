# Needs Python >= 3.11, make and a package index; everything else goes into .venv.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Images often set it: each of the demo's and the tests' processes would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
# The installer has an environment of its own, so .venv holds what the locks name and nothing else.
UV := .uv/bin/uv
# uv reads no pip.conf: an index that is set there is handed on.
INDEX = UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$$(.uv/bin/python -m pip config get global.index-url 2>/dev/null || echo "$$PIP_INDEX_URL")}"
# Each lock is whole, so nothing is resolved; a package with another hash is refused.
INSTALL = env $(INDEX) $(UV) pip install --python $(BIN)/python --no-deps

help: ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | sort

.uv/.installed: requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"Python {sys.version.split()[0]} is too old: this needs 3.11 or newer. Name one with: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv .uv
	@.uv/bin/python -m pip install --disable-pip-version-check --no-deps --only-binary :all: --require-hashes -r $<
	@touch $@

$(BIN)/python: | .uv/.installed
	@$(UV) venv --quiet --python "$$(command -v $(PYTHON))" $(VENV)

# A file of these names stands for that lock, installed.
$(VENV)/.demo: requirements/demo.txt
$(VENV)/.test: requirements/test.txt
$(VENV)/.demo $(VENV)/.test: pyproject.toml .uv/.installed | $(BIN)/python
	@echo "Installing $(filter %.txt,$^) into $(VENV), once ..."
	@$(INSTALL) --no-build --require-hashes -r $(filter %.txt,$^)
	@$(INSTALL) --no-build-isolation -e .
	@touch $@

$(VENV)/.infra: infra/requirements.txt .uv/.installed | $(BIN)/python
	@$(INSTALL) --no-build --require-hashes -r $<
	@touch $@

install: $(VENV)/.demo ## make .venv for the demo, the commands and pulumi

infra: $(VENV)/.infra ## make .venv for pulumi alone, as `pulumi install` does

demo: $(VENV)/.demo ## run the whole pipeline on this machine (ARGS="--count 20000" to end by itself)
	@$(BIN)/python -m local.demo $(ARGS)

chaos: $(VENV)/.demo ## break the pipeline on a seeded schedule and count what is lost (about 7 minutes)
	@$(BIN)/python -m local.chaos $(ARGS)

cloud-check: $(VENV)/.infra ## try the program in a real project (STACK=..., a stack of its own; it asks before it makes anything)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m infra.cloud_check "$(STACK)"

bench: $(VENV)/.test ## measure beside what people would use instead; table and bench/results/latest.json
	@$(BIN)/python -m bench $(ARGS)

picture: $(VENV)/.test ## take docs/dashboard*.png anew, in headless Chromium
	UPDATE_SCREENSHOT=1 $(BIN)/python -m pytest -k each_state_looks_right tests/dashboard

# Side by side: mypy has one thread, and the tests wait now and then.
test: $(VENV)/.test ## linters, strict types, tests
	@$(MAKE) --no-print-directory -j 3 lint types pytest

coverage: $(VENV)/.test ## the same, with the share of lines and branches that the tests run; it must not fall
	@$(MAKE) --no-print-directory -j 3 lint types pytest ARGS="$(ARGS) --cov"

fix: $(VENV)/.test ## format, and mend what the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# In the files' order: by their number of tests, which is the default, the few long ones (bench,
# chaos, the demo) would come last, each alone on its worker.
pytest: $(VENV)/.test
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	$(BIN)/mypy

lock: .uv/.installed ## resolve the .in files again into whole, hashed locks (ARGS=--upgrade for newer versions)
	.uv/bin/python requirements/lock.py $(ARGS)

.PHONY: help install infra demo chaos cloud-check bench picture test coverage fix pytest lint types lock
