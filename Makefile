# Everything a newcomer needs: `make demo` shows it working, `make test` proves it.
# Needs Python 3.10+ (with venv) and make. PYTHON=python3.12 make test picks another interpreter.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Compiled on the spot; needs a C compiler and Python's headers.
UWSGI  := uwsgi==2.0.31

.PHONY: test demo serve lint types check bench-quick soak clean

test: lint types check        ## lint, types and all tests

demo: $(STAMP)                ## 1,000 records through an outage, counted in a real database
	$(BIN)/python examples/demo.py

serve: $(STAMP)               ## the local backend on http://127.0.0.1:8787
	$(BIN)/banyan-hp serve --seed examples/seed.json

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

check: $(STAMP)
	$(BIN)/pytest

soak: $(STAMP)                ## the long variants of the stress tests, some minutes
	$(BIN)/pytest -m soak -o timeout=900

bench-quick: $(STAMP)         ## the library beside a hand-written floor, within a minute
	$(BIN)/python -m tests.benchmarks.quick

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): setup.cfg setup.py
	$(PYTHON) -c 'import sys; sys.exit("banyan_hp needs Python 3.10 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/python -m pip install --quiet $(UWSGI) 2>/dev/null || echo "$(UWSGI) can't be built here: its tests are skipped"
	rm -rf *.egg-info build
	touch $@
