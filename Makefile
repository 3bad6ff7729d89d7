# Two commands for someone new: `make demo` and `make test`. Each makes the virtual environment it needs.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
PEERS_VENV ?= .venv-bench
PEERS_STAMP = $(PEERS_VENV)/.installed
# Two workers: the tests compile, and each worker compiles for itself. One that is done takes over from the other.
PYTEST = $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: demo test check test-all lint bench dist clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/python -m deepuq_jax.demo --out demo_output

# What CI runs: everything but what takes minutes by itself.
test: $(STAMP)
	$(PYTEST)

# For the loop of a day: style, types, and the tests that neither train long nor start programs.
check: lint
	$(PYTEST) -m 'not slow and not long'

# Everything, what takes long included.
test-all: $(STAMP)
	$(PYTEST) -m ''

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# The peers in an environment of their own; one that cannot be installed is left out, named, and costs no other its place.
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

dist: $(STAMP)
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) $(PEERS_VENV) .jax-cache build dist *.egg-info
