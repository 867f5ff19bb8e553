# Everything runs in .venv, which is made once and again only when pyproject.toml changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DAGSTER_HOME ?= $(CURDIR)/.dagster
PORT ?= 3000
LIKENESS_HOME ?= $(CURDIR)/.likeness

# All cores, as far as memory goes: a worker takes up to a gigabyte, and starts a PostgreSQL server of its own.
WORKERS ?= auto
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal
PROVE ?= tests
SECONDS ?= 60
# Random command lines in `make lines` and `make prove`: none may end in a traceback.
LINES ?= 10000
# Test modules are compiled once, and not again by every worker and every run.
test quick check prove lines: export PYTHONDONTWRITEBYTECODE :=

.PHONY: sweep test quick lint check prove lines fuzz dev format clean

sweep: $(STAMP) $(DAGSTER_HOME)/dagster.yaml  ## Build the sample platform, run nights, requests and decisions on it
	DAGSTER_HOME=$(DAGSTER_HOME) $(BIN)/python -m pipelines.sample

test: $(STAMP)  ## All tests
	$(PYTEST)

quick: $(STAMP)  ## What takes no database, no model and no time, with a tenth of the examples: about a minute
	LIKENESS_THOROUGH=0.1 $(PYTEST) --quick

lint: $(STAMP)  ## Format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test  ## Format, lint, types, tests

prove: $(STAMP)  ## The tests depend on no order, no kernel and no date; PROVE=tests/indexes for a part
	LIKENESS_THOROUGH=2 $(PYTEST) --shuffle $${SEED:-1} $(PROVE)
	OPENBLAS_CORETYPE=Haswell $(PYTEST) $(PROVE)
	OPENBLAS_CORETYPE=Prescott $(PYTEST) $(PROVE)
	$(PYTEST) --ahead 400 $(PROVE)
	$(if $(filter tests,$(PROVE)),$(MAKE) lines)

lines: $(STAMP)  ## Random command lines, made from the command tree: each ends in 0, 1 or 2 (LINES=10000)
	$(PYTEST) --command-lines $(LINES) -k no_command_line_ends tests/pipelines/cli/test_command_tree.py

fuzz: $(STAMP)  ## Search pictures, headers and listings for what nobody foresaw, for SECONDS in all
	$(BIN)/python -m tests.fuzzing --seconds $(SECONDS)

format: $(STAMP)  ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

dev: $(STAMP) $(DAGSTER_HOME)/dagster.yaml  ## Dagster's web server (PORT) and daemon, on loopback only
	DAGSTER_HOME=$(DAGSTER_HOME) LIKENESS_HOME=$(LIKENESS_HOME) $(BIN)/dagster dev -w workspace.yaml -h 127.0.0.1 -p $(PORT)

clean:  ## Remove the virtual environment and the development state (not other homes)
	rm -rf $(VENV) $(DAGSTER_HOME) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

$(DAGSTER_HOME)/dagster.yaml: dagster.yaml
	mkdir -p $(DAGSTER_HOME)
	cp dagster.yaml $@
