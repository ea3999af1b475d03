# Everything a newcomer needs: `make demo` and `make test` build .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-other-cpu faults fuzz mutate lint bench format docs clean

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "asgrad_jax needs Python >= 3.11, this is " + sys.version.split()[0] + "; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/asgrad demo

test: $(STAMP)
	$(BIN)/python -m pytest -n auto --dist worksteal

# What depends on the CPU most, as on a machine with other instructions and kernels.
test-other-cpu: $(STAMP)
	NUMBA_CPU_NAME=generic OPENBLAS_CORETYPE=Haswell XLA_FLAGS=--xla_cpu_max_isa=AVX2 \
	$(BIN)/python -m pytest -n auto --dist worksteal tests/kernels \
	tests/plot/test_plot_theory.py tests/theory/test_certificate.py

# Kills and damaged folders, minutes; docs/reliability.md has the figures.
faults: $(STAMP)
	$(BIN)/python -m pytest -s -m campaign tests
	$(BIN)/python -m pytest tests/experiments/test_folder.py

# Random inputs for SECONDS in all; every failure prints the seed that makes it again.
SECONDS ?= 300
fuzz: $(STAMP)
	$(BIN)/python -m benchmarks.fuzz --seconds $(SECONDS)

# Changes single lines and looks whether a test notices, for SECONDS in all.
mutate: $(STAMP)
	$(BIN)/python -m benchmarks.mutate --seconds $(SECONDS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyrefly check

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The site, build/site/index.html; fails on a dead link or an undocumented public name.
docs: $(STAMP)
	$(BIN)/python -m pip install --quiet -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build # with --quiet it would not be strict

bench: $(STAMP)
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build .pytest_cache .ruff_cache
