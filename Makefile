# make demo: everything from nothing. make test: every test. Needs Python 3.11 or 3.12 and make.

# Not from the shell's variables, where another tool may have one: `make clean` removes it. make demo VENV=.venv-3.12
VENV := .venv
BIN := $(VENV)/bin
SUITABLE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))
PYTHON ?= $(shell for each in python3.11 python3.12 python3 python; do \
	if $$each -c '$(SUITABLE)' 2>/dev/null; then echo $$each; break; fi; done)
# To stderr, so that `make demo` prints nothing but its result.
# What is never imported needn't be compiled: that is most of torch and of MLflow.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-compile
# A section of constraints.txt: each file that pip takes must have its SHA-256 there. What has no wheel is built with the
# pinned setuptools, and not with one that pip would fetch by itself.
PINNED = awk -v section=$(1) '/^\#\# /{on = $$2 == section} on' constraints.txt | \
	$(PIP) --no-deps --no-build-isolation --require-hashes --requirement /dev/stdin >&2

# Set-up compiles nothing beforehand, so the first import must: without this, each process would compile anew what it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo check test train-env test-env bench lint clean

help:
	@echo "make demo       start everything, replay real clicks, show what happens, stop everything"
	@echo "make check      format, lint, types and unit tests: what needs no process"
	@echo "make test       make check, then every other test; ARGS=tests/unit: only those"
	@echo "make train-env  install what training needs (torch, Optuna, MLflow)"
	@echo "make test-env   install what tests, chaos and bench need"
	@echo "make bench      measure: jobs, latency, reads, memory (writes bench.json)"
	@echo "make lint       check the style"
	@echo "make clean      stop what runs here, remove the environment and all state"

# Two processes share the tests: tests/support/sharing.py.
TWO := -n 2 --no-loadscope-reorder

demo: $(VENV)/.installed
	@$(BIN)/liveshelf demo

check: lint
	@$(BIN)/mypy
	@$(BIN)/python -m pytest tests/unit

# The unit tests stand in `check`, so they don't run twice. With ARGS, which goes to pytest, nothing else runs.
test: $(if $(ARGS),$(VENV)/.installed-test,check)
	@$(BIN)/python -m pytest $(or $(ARGS),$(TWO) --ignore=tests/unit)

train-env: $(VENV)/.installed-train

test-env: $(VENV)/.installed-test

bench: $(VENV)/.installed-test
	@$(BIN)/liveshelf bench --json bench.json

lint: $(VENV)/.installed-test
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

clean:
	@if [ -x $(BIN)/liveshelf ]; then $(BIN)/liveshelf down; LIVESHELF_STATE_DIR=.liveshelf/demo $(BIN)/liveshelf down; fi >&2
	@rm -rf $(VENV) .liveshelf build *.egg-info .pytest_cache .hypothesis .ruff_cache .mypy_cache

$(BIN)/python:
	@if [ -z "$(PYTHON)" ] || ! $(PYTHON) -c '$(SUITABLE)'; then \
		echo "liveshelf needs Python 3.11 or 3.12, and '$(PYTHON)' isn't one. Install it, or: make PYTHON=/path/to/python3.11" >&2; \
		exit 1; fi
	@echo "making $(VENV) with $(PYTHON)" >&2
	@$(PYTHON) -m venv $(VENV) >&2

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing liveshelf into $(VENV) (about 1 GB the first time)" >&2
	@$(call PINNED,build)
	@$(call PINNED,run)
	@$(PIP) --no-deps --no-build-isolation --editable . >&2
	@touch $@

$(VENV)/.installed-train: $(VENV)/.installed
	@echo "installing torch, Optuna and MLflow" >&2
	@$(call PINNED,train)
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed-train
	@echo "installing what tests need" >&2
	@$(call PINNED,test)
	@touch $@
