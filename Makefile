# Everything happens in .venv; `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
PEERS := .venv-peers

.PHONY: help demo test lint types docs bench clean

help:
	@echo "make demo    install, train two circuits on two data sets, print one table (minutes)"
	@echo "make test    install the development tools, lint, check types, run every test"
	@echo "make lint    ruff, check only          make types   mypy"
	@echo "make docs    the documentation site, warnings are errors (docs/_build)"
	@echo "make bench   the benchmarks beside their peers, in $(PEERS)"

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[experiments]'
	touch $@

$(INSTALLED_DEV): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/logprob demo

test: lint types
	$(BIN)/python -m pytest -n 2

lint: $(INSTALLED_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED_DEV)
	$(BIN)/mypy

docs: $(INSTALLED_DEV)
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

bench:
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[peers]'
	$(PEERS)/bin/python benchmarks/circuits.py
	$(PEERS)/bin/python benchmarks/flows.py
	$(PEERS)/bin/python benchmarks/splines.py
	$(PEERS)/bin/python benchmarks/simplex.py
	$(PEERS)/bin/python benchmarks/discrete.py
	$(PEERS)/bin/python benchmarks/energy.py
	$(PEERS)/bin/python benchmarks/energy_restarts.py
	$(PEERS)/bin/python benchmarks/ivae.py
	$(PEERS)/bin/python benchmarks/mcc.py
	$(PEERS)/bin/python benchmarks/cebra_peer.py

clean:
	rm -rf $(VENV) $(PEERS) docs/_build .pytest_cache .mypy_cache .ruff_cache
