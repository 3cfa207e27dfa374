# `make demo` and `make test` do all the set-up in a fresh clone: Python 3.11+ and pip are enough.
#   make demo [IMAGE=picture.jpg] [OUT=runs/demo]    make test [WORKERS=2] [PYTEST_ARGS=...]
#   make lint    make fuzz [TARGET=packet] [SECONDS=60]
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
OUT ?= runs/demo
IMAGE ?=
PYTEST_ARGS ?=
TARGET ?= all
SECONDS ?= 60

BIN := $(VENV)/bin
STAMP := $(VENV)/.somacast-installed
# With several test workers on few cores, one thread each is faster than all threads for everyone.
ONE_THREAD := OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint fuzz format clean

help:
	@sed -n '1,3s/^# //p' Makefile

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Somacast needs Python 3.11 or newer; choose one with: make PYTHON=python3.11 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --only-binary :all: -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/somacast demo --out $(OUT) $(if $(IMAGE),--image "$(IMAGE)")

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

test: lint
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(WORKERS) $(PYTEST_ARGS)

fuzz: $(STAMP)
	$(BIN)/python -m pip install --quiet atheris
	$(BIN)/python tests/fuzz/run.py $(TARGET) --seconds $(SECONDS)

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis src/*.egg-info
