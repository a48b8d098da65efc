# `make demo` and `make test` do everything from a fresh clone on: a virtual environment in .venv, the install, the run.

PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
PIP := $(VENV)/bin/python -m pip install --quiet
PINS := setup.cfg pyproject.toml constraints.txt requirements-openenv.txt requirements-textworld.txt

# First on the path: fast-downward's build calls plain `python`, which not every machine has.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Nothing is downloaded at run time, and two processes of one thread each are faster than their threads in each other's way.
export HF_HUB_OFFLINE := 1
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM := false

.PHONY: help demo test lint house clean
.DELETE_ON_ERROR:

help:
	@echo "make demo   train an agent with 3SPO on generated ALFWorld games, on the CPU"
	@echo "make test   run all tests and measure coverage"
	@echo "make lint   ruff, mypy, import contracts, spelling"
	@echo "make house  measure the architecture against its goals"
	@echo "make clean  remove the virtual environment and all caches"
	@echo "PYTHON=python3.11 chooses the interpreter, WORKERS=4 the number of test processes."

demo: export OMP_NUM_THREADS = 2
# Threads that wait give their core away: on a busy machine, spinning made a step ten times slower.
demo: export OMP_WAIT_POLICY = passive
demo: $(VENV)/demo.stamp
	python examples/demo.py --env alfworld

test: $(VENV)/dev.stamp
	python -m pytest --numprocesses $(WORKERS) --dist worksteal --cov --cov-report term

lint: $(VENV)/dev.stamp
	ruff check
	ruff format --check
	mypy
	lint-imports
	codespell

house: $(VENV)/dev.stamp
	python benchmarks/house.py --json benchmarks/results/house.json

clean:
	rm -rf $(VENV) build dist .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

# The stamps are younger than what they were installed from, so a second run installs nothing.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: $(PINS) | $(VENV)/bin/python
	$(PIP) --constraint constraints.txt --editable '.[plots]'
	touch $@

$(VENV)/dev.stamp: $(PINS) | $(VENV)/bin/python
	$(PIP) --constraint constraints.txt --editable '.[dev,plots,qlora,test]'
	$(PIP) --no-deps --requirement requirements-textworld.txt --requirement requirements-openenv.txt
	touch $@
