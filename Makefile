.PHONY: help demo test test-all check lint types layers bench zoo clean
PY := .venv/bin/python

help:     ## what can be made
	@grep -hE '^[a-z-]+: .*##|^[a-z-]+:  *##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: .venv/demo ## set up, run the main job on the shipped graphs, write tilewise-demo.html
	.venv/bin/tilewise demo --html tilewise-demo.html

test: .venv/tested ## set up and run the tests
	$(PY) -m pytest -m "not slow"

test-all: .venv/tested ## the tests that take long too
	$(PY) -m pytest

check: lint types layers test ## everything CI runs

lint: .venv/tested ## style
	$(PY) -m ruff format --check . && $(PY) -m ruff check .

types: .venv/tested .cache/tilewise ## mypy and pyright, strict
	$(PY) -m mypy && $(PY) -m pyright --pythonpath $(PY)

layers: .venv/tested ## data flows one way
	.venv/bin/lint-imports

bench: .venv/tested ## speed as ratios and counts
	$(PY) bench/bench.py

zoo: .venv/tested ## regenerate the shipped graphs (needs the export extra)
	$(PY) -m tilewise.workloads.zoo.generate

clean: ## forget environments and caches
	rm -rf .venv .cache build dist *.egg-info

# Each environment mark is renewed when the package map changes.
.venv/demo: pyproject.toml $(wildcard *.py */*.py */*/*.py */*/*.yaml) ; python3 -m venv .venv && $(PY) -m pip install -q . && touch $@
.venv/tested: pyproject.toml ; python3 -m venv .venv && $(PY) -m pip install -q -e ".[test]" && touch $@
# mypy and pyright read files, not import hooks: show them the repository under its import name.
.cache/tilewise: ; mkdir -p .cache && ln -sfn .. $@
