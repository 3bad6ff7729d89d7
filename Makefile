# Two commands for someone new: `make demo` and `make test`. Each makes the virtual environment it needs.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
PEERS_VENV ?= .venv-bench
PEERS_STAMP = $(PEERS_VENV)/.installed

.PHONY: demo test lint bench dist clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/python -m deepuq_jax.demo --out demo_output

# Two workers at most: the tests compile, and each worker compiles for itself. One that is done takes over from the other.
test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal

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
	rm -rf $(VENV) $(PEERS_VENV) build dist *.egg-info
