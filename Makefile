# Everything runs in an environment of its own, .venv, made from requirements.lock.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo ablation test survival check install lock clean

demo: install
	$(BIN)/fgcme demo

# The paper's comparison on the embedded corpus, from nothing to its page; its budget stands in the experiment's file.
ablation: install
	$(BIN)/fgcme prepare demo_ablation
	$(BIN)/fgcme ablate demo_ablation --space paper_ablation
	$(BIN)/fgcme report latest --output storage/report

test: install
	# Two at a time, a module of tests by one process: they wait for Ray more than they compute. On one thread each, lest
	# the threads of one wait for those of the other. In the order of collection, which begins with what takes long.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not survival"

# Processes, nodes, servers and disks are taken from sweeps that run.
survival: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m survival tests/integration

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: .venv/installed

# uv installs the same pinned packages as pip, in a tenth of the time; where it cannot, pip does it. Bytecode is compiled
# here, because Ray starts many processes, and each would compile all that it imports wherever Python is not to write it.
.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv==0.13.9
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --requirement requirements.lock \
		|| $(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable . \
		|| $(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

# Pins every package anew, from pyproject.toml alone, without any address in the file.
lock:
	$(BIN)/uv pip compile --quiet --all-extras --no-header --no-annotate --no-emit-index-url \
		--python-version 3.11 pyproject.toml --output-file requirements.lock

# What was built; results (storage, mlflow.db) stay.
clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
