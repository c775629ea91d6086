# Two commands do everything on a fresh machine with Python 3.11 or newer:
#   make run    record this machine's container stores (plays the demo where there is none)
#   make test   set up, then lint and every test
PYTHON := $(shell for p in python3.13 python3.12 python3.11 python3; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.run-installed
DEV_STAMP := $(VENV)/.dev-installed
ROOTS ?=
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run demo test lint format docs lock manifests dashboard bench clean

help:
	@echo "make run    record this machine's container stores (ROOTS=... names them)"
	@echo "make demo   play an incident on a small store in a temporary directory"
	@echo "make test   set up, then lint and every test (ARGS=... goes to pytest)"
	@echo "make lint   ruff and mypy     make format   ruff format     make bench   benchmarks     make clean"

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "linktrail needs Python 3.11 or newer; install it and run make again." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "python3 -m venv failed; on Debian: apt-get install python3-venv" >&2; exit 1; }

$(RUN_STAMP): pyproject.toml | $(BIN)/python
	@echo "Installing linktrail into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --editable '.[all]'
	@touch $@

$(DEV_STAMP): pyproject.toml | $(BIN)/python
	@echo "Installing linktrail and its test tools into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(RUN_STAMP)

run: $(RUN_STAMP)
	@$(BIN)/linktrail up $(ROOTS) || { code=$$?; if [ $$code -eq 10 ] && [ -z "$(ROOTS)" ]; then \
	  echo; echo "This machine has no container store, so here is an incident on a small one:"; echo; $(BIN)/linktrail demo; \
	  else exit $$code; fi; }

demo: $(RUN_STAMP)
	@$(BIN)/linktrail demo

test: $(DEV_STAMP) lint
	$(BIN)/python -m tests.setup_machine
	$(BIN)/python -m pytest $(ARGS)

lint: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(DEV_STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DEV_STAMP)
	$(BIN)/python -m linktrail.reference docs
	$(BIN)/python -m queries.reference docs

# The locks of the images: every version and hash, for any Linux and Python that linktrail runs on.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock"
lock: $(DEV_STAMP)
	$(LOCK) --extra kafka --extra metrics --output-file deploy/requirements-collector.lock pyproject.toml
	$(LOCK) --extra all --output-file deploy/requirements-processor.lock pyproject.toml
	echo hatchling | $(LOCK) --output-file deploy/requirements-build.lock -

# deploy/kustomize from the Helm chart (builds helm with Go the first time).
manifests: $(DEV_STAMP)
	$(BIN)/python -m deploy.manifests "$$($(BIN)/python -m tests.deploy.tools)"

dashboard: $(DEV_STAMP)
	$(BIN)/python -m deploy.grafana.dashboard

bench: $(DEV_STAMP)
	$(BIN)/python -m tests.benchmarks $(BENCH)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
