# If you are new, start with `make demo` and `make test`. Each command installs what it needs into a virtual environment.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
# A Python that the newest versions support.
NEWEST_PYTHON ?= python3.13
PEERS_VENV ?= .venv-bench
PEERS_STAMP = $(PEERS_VENV)/.installed
BDE_VENV ?= .venv-bde
BDE_STAMP = $(BDE_VENV)/.installed
# Two workers, each of which compiles its own programs. A worker that is done takes tests over from the other.
PYTEST = $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: demo test check fast test-all test-oldest test-newest mutants lint bench bench-bde docs linkcheck dist clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/python -m deepuq_jax.demo --out demo_output

# CI runs this: all tests except those marked `long`.
test: $(STAMP)
	$(PYTEST)

# For daily work: style, types, and the tests that neither train for long nor start programs. Pyright leaves a core idle
# for half a minute, so the tests run beside it.
check: $(STAMP)
	$(MAKE) --jobs 2 --output-sync=target lint fast

fast: $(STAMP)
	$(PYTEST) -m 'not slow and not long'

# Every test and every case, including those that take minutes.
test-all: $(STAMP)
	$(PYTEST) -m ''

# The fast tests with the oldest and with the newest versions, in environments of their own. The newest jax needs Python
# 3.12. PyPI's torch for Linux is built for CUDA, so each environment takes some gigabytes.
test-oldest: $(VENV)-oldest/.installed
	$(VENV)-oldest/bin/python -m pytest -n 2 --dist worksteal -m 'not slow and not long'

test-newest: PYTHON = $(NEWEST_PYTHON)
test-newest: $(VENV)-newest/.installed
	$(VENV)-newest/bin/python -m pytest -n 2 --dist worksteal -m 'not slow and not long'

$(VENV)-%/.installed: pyproject.toml constraints-%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade pip
	$(@D)/bin/python -m pip install --quiet --constraint constraints-$*.txt --editable '.[dev]'
	touch $@

# Measures how many small faults in the mathematics the tests find. It takes hours, and resumes after an interruption.
mutants: $(STAMP)
	$(BIN)/python -m benchmarks mutants

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m deepuq_jax.tests.public_types

# The peers have an environment of their own. A peer that cannot be installed is reported and left out.
$(PEERS_STAMP): pyproject.toml constraints.txt benchmarks/requirements-peers.txt
	$(PYTHON) -m venv $(PEERS_VENV)
	$(PEERS_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(PEERS_VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	grep -v '^#' benchmarks/requirements-peers.txt | while read -r peer; do \
	  $(PEERS_VENV)/bin/python -m pip install --quiet --no-deps "$$peer" || echo "not installed: $$peer"; \
	done
	touch $@

bench: $(PEERS_STAMP)
	$(PEERS_VENV)/bin/python -m benchmarks speed

# bde requires an older blackjax than the other peers, and has an environment without this package.
$(BDE_STAMP): benchmarks/requirements-bde.txt
	$(PYTHON) -m venv $(BDE_VENV)
	$(BDE_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(BDE_VENV)/bin/python -m pip install --quiet --requirement benchmarks/requirements-bde.txt
	touch $@

bench-bde: $(STAMP) $(BDE_STAMP)
	$(BIN)/python -m benchmarks bde --python $(BDE_VENV)/bin/python

# Builds the documentation site in docs/_build/html. The tutorials run, and every warning is an error, such as a broken
# link, a name that does not exist, or a page in no table of contents.
SPHINX = $(BIN)/python -m sphinx -W --keep-going -d docs/_build/trees docs
docs: $(VENV)/.installed-docs
	$(SPHINX) docs/_build/html

# Checks the links to other sites, so it needs a network.
linkcheck: $(VENV)/.installed-docs
	$(SPHINX) -b linkcheck docs/_build/links

$(VENV)/.installed-docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	touch $@

# Builds and checks what a release uploads, and tries the wheel in an empty environment for each extra. It takes minutes.
dist: $(STAMP)
	rm -rf dist
	$(BIN)/python -m build
	$(PYTHON) -m venv $(VENV)-twine
	$(VENV)-twine/bin/python -m pip install --quiet twine
	$(VENV)-twine/bin/twine check --strict dist/*
	$(BIN)/python -m deepuq_jax.tests.wheels dist/*.whl

clean:
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-newest $(VENV)-twine $(PEERS_VENV) $(BDE_VENV) .jax-cache .mutants build dist docs/_build *.egg-info
