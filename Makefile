# `make demo` and `make test` work from a fresh clone: they make .venv, install the pinned versions and run.
# Another interpreter: make demo PYTHON=python3.12

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUN    ?= runs/demo
BUDGET ?= 80s
SETTINGS ?=
# A net that two slow cores train in little more than a minute: 4x4 codes for 32x32 pictures.
DEMO   := --set network.patch=4 --set network.widths=[64,128] --set data.augment=0 --set training.prior.batch=32 \
	--set prior.width=192 --set training.share=0.55
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --durations 15

.PHONY: help demo test test-all test-bounds bench docs lint format clean
.DELETE_ON_ERROR:

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

demo: $(VENV)/.core  ## train a VQ-VAE and its prior on drawn figures, then look at what they learnt
	$(BIN)/vitrail train vqvae --data figures:12000 --out $(RUN) --budget $(BUDGET) --require-learnt $(DEMO) $(SETTINGS)
	@echo "Originals over reconstructions, samples, curves: $(RUN)/report.html, $(RUN)/samples/"

test: $(VENV)/.test  ## the tests, without the slow ones
	$(PYTEST) -m "not slow and not gpu"

test-all: $(VENV)/.test $(VENV)/.bench  ## all tests that this machine can run
	$(PYTEST)

test-bounds:  ## the main job at the lowest and the newest versions allowed, in environments of their own
	$(PYTHON) tests/bounds.py

bench: $(VENV)/.test $(VENV)/.bench  ## us and the peers, side by side
	$(BIN)/python -m benchmarks

docs: $(VENV)/.docs  ## the documentation, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

lint: $(VENV)/.lint  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.lint  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove what the other targets made, except runs/
	rm -rf $(VENV) site build dist .pytest_cache .mypy_cache .ruff_cache
	find src tests -name __pycache__ -type d -exec rm -rf {} +

# torch goes first, alone: its pin then holds while the rest is resolved.
$(VENV)/.core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "vitrail needs Python 3.11 or newer; '$(PYTHON)' is not. Try: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable .
	@touch $@

# One stamp per extra of pyproject.toml: .venv/.test, .venv/.lint, ...
$(VENV)/.%: $(VENV)/.core
	$(PIP) --editable '.[$*]'
	@touch $@
