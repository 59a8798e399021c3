# Two commands: make demo, make test. A third serves what the demo published: make serve.
# Everything is installed from the committed lock files (locks/) into .venv; nothing is needed beforehand but a Python >= 3.12.
.DEFAULT_GOAL := help
SHELL := /bin/bash
export PYTENSOR_FLAGS := base_compiledir=$(CURDIR)/.cache/pytensor
export JAX_COMPILATION_CACHE_DIR := $(CURDIR)/.cache/xla
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS := 0
export NUMBA_CACHE_DIR := $(CURDIR)/.cache/numba
BIN := .venv/bin
MEASURES := .:benchmarks:tests:tests/data

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /	/' | expand -t 10

.venv/.installed: locks/dev.txt pyproject.toml scripts/install
	@scripts/install dev

demo: .venv/.installed  ## ingest the bundled real figures, fit, check, publish, print (some three minutes; again: nothing new)
	@$(BIN)/quietquota ingest data/sample --store ./var || test $$? -eq 5
	@$(BIN)/quietquota refresh --as-of 2025-01-31 --config data/sample/quietquota.toml --store ./var || test $$? -eq 3

serve: .venv/.installed  ## serve what was published, on http://127.0.0.1:8000
	@$(BIN)/quietquota serve --store ./var

test: .venv/.installed  ## lint, types, import contracts, fast tests, then slow ones; offline
	@scripts/test

test-browser: .venv/.installed  ## the pages in a real Chromium (installed by the distribution's package manager where it is missing)
	@scripts/install-browser
	@$(BIN)/pytest -m browser tests/browser

screenshots: .venv/.installed  ## pictures of what the demo published -> docs/img
	@scripts/install-browser
	@$(BIN)/python scripts/screenshots ./var docs/img

validate: .venv/.installed  ## calibration on simulated worlds, parts, real figures -> docs/validation.md (under an hour; resumes)
	@PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python tests/statistical/validate.py
	@$(BIN)/pytest -m statistical tests/statistical

bench: .venv/.installed  ## speed of kernel, compiling and fit, beside others' -> docs/performance.md (an hour; g++)
	@PYTHONPATH=$(MEASURES) OMP_NUM_THREADS=1 $(BIN)/python benchmarks/run.py

scaling: .venv/.installed  ## what it costs to grow: panels, shards, a cluster -> docs/scaling.md (half an hour)
	@PYTHONPATH=$(MEASURES) OMP_NUM_THREADS=1 $(BIN)/python benchmarks/scaling.py

soak: .venv/.installed  ## the service for half an hour: does it grow, does it answer amiss?
	@PYTHONPATH=$(MEASURES) $(BIN)/python benchmarks/soak.py

faults: .venv/.installed  ## what a nightly refresh survives, counted -> docs/faults.md (root, for a full disk; an hour)
	@[ .tools/s3/.installed -nt locks/s3.txt ] || scripts/install s3 .tools/s3
	@PYTHONPATH=$(MEASURES) $(BIN)/python benchmarks/faults.py

locks: .venv/.installed  ## resolve the lock files anew (needs the network)
	@scripts/lock

clean:  ## remove the environment and its caches; published snapshots in var/ stay
	rm -rf .venv .tools .cache

.PHONY: help demo serve test test-browser screenshots validate bench scaling soak faults locks clean
