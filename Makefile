# Two commands set everything up on a machine with Python 3.11+, git and make:
#   make demo    the main job, end to end, on generated borrowers
#   make test    the tests
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help install browser demo test test-long test-feast check examples example-berka example-mvad example-studentlife example-telecom bench-line bench-ledger bench-vault bench-erasure bench-retrieval bench-receipts bench-ingest bench-reports bench-console docs lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Assent needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

browser:  ## a Chromium for the console's tests, where there is none (Debian and Ubuntu, as root)
	@command -v chromium || (apt-get update -q && apt-get install -y -q chromium)

install: $(READY)  ## create the environment from the hashed lock file

demo: $(READY)  ## the whole line on generated borrowers, with a transcript
	$(BIN)/assent demo

test: $(READY)  ## the tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-long: $(READY)  ## at nightly size: 100,000 histories, 200 kills, every step of an erasure, 1,000,000 questions
	ASSENT_CASES=100000 ASSENT_KILLS=200 $(BIN)/python -m pytest -n 2 --dist loadfile tests/property tests/behaviours/test_processes.py tests/rights/test_killed_erasures.py
	ASSENT_CASES=1000000 $(BIN)/python -m pytest -n 2 --dist loadfile tests/feature_repo/test_leaks.py

FEAST_TESTS ?= https://github.com/feast-dev/feast
FEAST_COMMIT := f0bc0700be7029166e6605e407de6d229cd1e93e

test-feast: $(READY)  ## Feast's own universal tests against our stores (downloads them; FEAST_TESTS names a clone)
	@test -d .feast-tests/tree || git clone --quiet --filter=blob:none --no-checkout $(FEAST_TESTS) .feast-tests/tree || { echo "Feast's tests cannot be had: they come with a clone of $(FEAST_TESTS). Without a network name one: make test-feast FEAST_TESTS=/path/to/feast"; exit 4; }
	git -C .feast-tests/tree archive $(FEAST_COMMIT) sdk/python/tests | tar x -C .feast-tests
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --upgrade --target .feast-tests/lib -r tests/feast_universal/requirements.lock
	$(BIN)/python tests/feast_universal/run.py .feast-tests

check: $(READY)  ## formatting, lint, types, architecture
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

example-berka: $(READY)  ## real bank data: consent, ingest, publish, train, withdraw, train again
	$(BIN)/python examples/berka/run.py

example-mvad: $(READY)  ## real employment histories, month by month, through a mapping file
	$(BIN)/python -m examples.mvad.run

example-studentlife: $(READY)  ## real app usage through a mapping file
	$(BIN)/python -m examples.studentlife.run

example-telecom: $(READY)  ## a fourth source in a package of its own, on generated top-ups
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation --upgrade --target .assent-telecom ./examples/telecom
	PYTHONPATH=.assent-telecom $(BIN)/python -m examples.telecom.run

examples: example-berka example-mvad example-studentlife example-telecom  ## all of them

bench-line: $(READY)  ## the whole line beside plain DuckDB
	$(BIN)/python benchmarks/bench_line.py

bench-ledger: $(READY)  ## the consent ledger beside plain tables and joins; the last line is JSON
	$(BIN)/python benchmarks/bench_ledger.py

bench-vault: $(READY)  ## sealed records beside Parquet's own encryption and cell by cell; the last line is JSON
	$(BIN)/python benchmarks/bench_vault.py

bench-erasure: $(READY)  ## erasing 1 and 1,000 of a million people from a whole home; the last line is JSON
	$(BIN)/python benchmarks/bench_erasure.py

bench-receipts: $(READY)  ## which training sets and models used a person, of a thousand; the last line is JSON
	$(BIN)/python benchmarks/bench_receipts.py

bench-reports: $(READY)  ## the officer's reports on a million entries; the last line is JSON
	$(BIN)/python benchmarks/bench_reports.py

bench-ingest: $(READY)  ## checks, gate, loading and features beside plain DuckDB, to 10,000,000 rows; the last line is JSON
	$(BIN)/python benchmarks/bench_ingest.py

bench-retrieval: $(READY)  ## historical fetches and online reads beside DuckDB by hand and Feast's own stores; the last line is JSON
	$(BIN)/python benchmarks/bench_retrieval.py
bench-console: $(READY)  ## the officer's console on a million people and five million entries; the last line is JSON
	$(BIN)/python benchmarks/bench_console.py

docs: $(READY)  ## write docs/sources.md, docs/reports.md and the suites' snapshots from the definitions
	$(BIN)/python -c "from reports.handbook import handbook; print(handbook(), end='')" > docs/reports.md
	$(BIN)/python -c "from pathlib import Path; from validation.suites import SOURCES, snapshot; [Path('validation/snapshots', f'{n}.json').write_text(snapshot(n)) for n in SOURCES]"
	$(BIN)/python -c "from ingestion.catalogue import catalogue; print(catalogue(), end='')" > docs/sources.md

lock:  ## pin the dependencies anew (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --no-emit-index-url --generate-hashes --custom-compile-command "make lock" --upgrade -o requirements.lock

clean:  ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .assent-demo .assent-demo.keys
