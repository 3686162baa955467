# make audit   set up the environment, audit the bundled model, write runs/tiny/report.html
# make test    set up the same way, run the whole test suite
# make lint    ruff and pyright
# make docs    build the documentation with warnings as errors into docs/_build/html
# make clean   remove what the others made
#
# TL=4 does the same beside TransformerLens 4 (newest), in an environment of its own.

PYTHON ?= python3.11
TL ?= 3
# More for pytest: make test PYTEST="-x -k order"
PYTEST ?=
# Test files run side by side, each test on one thread.
JOBS ?= 2

ifeq ($(TL),3)
VENV := .venv
HOST := transformer-lens
else
VENV := .venv-tl$(TL)
HOST := "transformer-lens>=$(TL),<$(shell expr $(TL) + 1)"
endif

BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS_READY := $(VENV)/.ready-docs
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
TORCH := $(shell grep '^torch==' constraints.txt)

.PHONY: audit test lint docs clean
.DELETE_ON_ERROR:

audit: $(READY)
	$(BIN)/satlens audit tiny --out runs/tiny --overwrite

test: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(PYTEST)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(DOCS_READY)
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

# Torch comes first and alone, so that a machine that offers its own build of that version keeps it.
# The pins name one TransformerLens; for another one its line is taken out and the rest is kept.
$(READY): pyproject.toml constraints.txt
	@echo "Setting up $(VENV): some gigabytes on disk, a few minutes, once."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	grep -v $(if $(filter 3,$(TL)),'^$$','^transformer-lens==') constraints.txt > $(VENV)/constraints.txt
	$(PIP) "$(TORCH)"
	$(PIP) -c $(VENV)/constraints.txt $(HOST) -e ".[dev,figures]"
	@touch $@

$(DOCS_READY): $(READY)
	$(PIP) -c $(VENV)/constraints.txt -e ".[docs]"
	@touch $@

clean:
	rm -rf .venv .venv-tl[0-9]* runs/tiny docs/_build docs/_made docs/jupyter_execute
	rm -rf .pytest_cache .ruff_cache .hypothesis .benchmarks
	-test ! -d runs || rmdir --ignore-fail-on-non-empty runs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
