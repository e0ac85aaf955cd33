# One entry for people and for CI. `make` alone prints what there is.
#
# Everything is installed into .venv, by pip, from requirements.lock: exact versions with hashes. The stamp file makes
# the second call free; it is older than the lock when the lock changes, and then the packages are brought up to date.

VENV ?= .venv
STAMP := $(VENV)/.installed
BIN := $(VENV)/bin
# Compiled on installation, so a change of them installs anew.
KERNELS := differ/kernels/kernels.c differ/kernels/build.py
PIP_FLAGS := --disable-pip-version-check --no-input --quiet
# The first of these names that is Python 3.11 or newer; `make venv PYTHON=/path/to/python` overrides the search.
PYTHON_NAMES := python3 python3.13 python3.12 python3.11 python
PYTHON ?= $(shell for name in $(PYTHON_NAMES); do \
	if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo $$name; break; fi; done)

DEMO_DIR ?= build/demo
DEMO ?= rm -rf $(DEMO_DIR) && $(BIN)/differ init $(DEMO_DIR) --demo >/dev/null && $(BIN)/python $(DEMO_DIR)/demo.py
BENCH ?= $(BIN)/python benchmarks/cycle.py
# More flags for pytest, for example: make test PYTEST="-n 0 -k relay"
PYTEST ?= -n 2
# The tools of `make audit` stay apart, so that nobody who uses or develops differ installs them.
AUDIT := build/audit
# make lock UPGRADE=--upgrade takes the newest versions; without it only what must change does.
UPGRADE ?=
LOCKED = --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --quiet \
	$(UPGRADE) --custom-compile-command "make lock"

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-faults mutants lint format docs bench audit lock clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP)  ## install everything, from the lock, into .venv

$(STAMP): requirements.lock pyproject.toml $(KERNELS)
	@if [ -z "$(PYTHON)" ]; then \
		echo "error: no Python 3.11 or newer among: $(PYTHON_NAMES)." >&2; \
		echo "Install one, or name it: make venv PYTHON=/path/to/python3" >&2; exit 1; fi
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
		echo "error: '$(PYTHON) -m venv' failed; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install $(PIP_FLAGS) --require-hashes --only-binary :all: -r requirements.lock
	$(BIN)/python -m pip install $(PIP_FLAGS) --no-deps --no-build-isolation --no-index -e .
	@# So that the first calls are quick too, and all calls where Python may not write its cache.
	$(BIN)/python -m compileall -q differ
	@touch $@

demo: $(STAMP)  ## a sample shop: scan it, change it, scan again, read the events
	@$(DEMO)

test: lint  ## lint, types and all tests
	$(BIN)/python -m pytest $(PYTEST)

test-faults: $(STAMP)  ## all faults at full size: takes hours; DIFFER_SEED=N tries one choice again
	DIFFER_FAULTS=full $(BIN)/python -m pytest -m faults tests/faults $(PYTEST)

mutants: $(STAMP)  ## seeded bugs, one at a time, each of which the tests must catch; MUTANTS="NAME ..." for some
	$(BIN)/python tests/faults/mutations.py $(MUTANTS)

lint: $(STAMP)  ## ruff (rules and format) and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)  ## make the reference pages again from the code
	$(BIN)/python -m differ.config.reference docs/configuration.md
	$(BIN)/python -m differ.cli.reference docs
	$(BIN)/python -m differ.sinks.reference docs/sinks.md

bench: $(STAMP)  ## measure the main road beside its peers
	$(BENCH)

$(AUDIT)/.installed: requirements-audit.lock
	@mkdir -p build
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install $(PIP_FLAGS) --require-hashes --only-binary :all: -r requirements-audit.lock
	@touch $@

# --strict: a package that could not be asked for is a failure, or no network would mean no vulnerabilities.
audit: $(AUDIT)/.installed  ## write build/sbom.json (CycloneDX); ask for known vulnerabilities of the lock
	$(AUDIT)/bin/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml \
		--output-reproducible --of JSON --output-file build/sbom.json
	@$(AUDIT)/bin/pip-audit --strict --require-hashes --disable-pip --requirement requirements.lock \
		--progress-spinner off || { \
		echo "error: a vulnerability was found, or not every package could be asked for (is pypi.org reachable?)." >&2; \
		echo "Without an answer for every package nothing is proven." >&2; exit 1; }

lock: $(STAMP)  ## make requirements.lock and requirements-audit.lock again from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev $(LOCKED) --output-file requirements.lock
	$(BIN)/uv pip compile --group audit $(LOCKED) --output-file requirements-audit.lock
	@if grep -n -E '://|^ *-(i|f|-index|-extra|-find)|file:' requirements.lock requirements-audit.lock; then \
		echo "error: a lock names a place; it must hold only names, versions and hashes" >&2; exit 1; fi

clean:  ## remove what was made here: .venv, build, caches
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
