# Everything runs in .venv, which is made once and again only when pyproject.toml changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DAGSTER_HOME ?= $(CURDIR)/.dagster
LIKENESS_HOME ?= $(CURDIR)/.likeness

.PHONY: sweep test check dev format clean

sweep: $(STAMP) $(DAGSTER_HOME)/dagster.yaml  ## Build the sample platform, run nights, requests and decisions on it
	DAGSTER_HOME=$(DAGSTER_HOME) $(BIN)/python -m pipelines.sample

test: $(STAMP)  ## All tests
	$(BIN)/python -m pytest

check: $(STAMP)  ## Format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

format: $(STAMP)  ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

dev: $(STAMP) $(DAGSTER_HOME)/dagster.yaml  ## Dagster's web server and daemon, on loopback only
	DAGSTER_HOME=$(DAGSTER_HOME) LIKENESS_HOME=$(LIKENESS_HOME) $(BIN)/dagster dev -w workspace.yaml -h 127.0.0.1 -p 3000

clean:  ## Remove the virtual environment and the development state (not other homes)
	rm -rf $(VENV) $(DAGSTER_HOME) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

$(DAGSTER_HOME)/dagster.yaml: dagster.yaml
	mkdir -p $(DAGSTER_HOME)
	cp dagster.yaml $@
