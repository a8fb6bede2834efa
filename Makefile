# make fit [PROJECT=ball] [ARGS="--data.root FOLDER"]   set up, then train
# make test | check | bench | soak                      set up, then test, check the code, measure speed, kill runs
PROJECT ?= ball
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
READY := .venv/ready

.PHONY: fit test check bench soak constraints clean
.DELETE_ON_ERROR:

fit: $(READY)
	$(BIN)/python -m projects.$(PROJECT).train fit $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow" $(ARGS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	set -e; for script in benchmarks/bench_*.py; do $(BIN)/python $$script; done

soak: $(READY)
	$(BIN)/python benchmarks/soak.py $(ARGS)

# uv installs the pinned set in seconds; where it is not to be had, pip does the same in minutes.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than Python 3.11; give another: make PYTHON=python3.12 ..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	if $(BIN)/python -m pip install --quiet uv; then \
	  $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[dev]'; \
	else false; fi || $(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	touch $@

# New pins after a change of pyproject.toml. No address ends up in the file.
constraints:
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --no-annotate --no-header \
	  --quiet -o constraints.txt

clean:
	rm -rf .venv runs
