# Everything runs in .venv, which is made from requirements.lock.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo ablation test slow survival check install lock clean

demo: install
	$(BIN)/fgcme demo

# The paper's comparison on the embedded corpus, from nothing to its page; the experiment's file states its budget.
ablation: install
	$(BIN)/fgcme prepare demo_ablation
	$(BIN)/fgcme ablate demo_ablation --space paper_ablation
	$(BIN)/fgcme report latest --output storage/report

test: install
	# Two processes, each takes a module of tests at a time: tests wait for Ray more than they compute. One thread each, so
	# that they do not wait for each other's. In the order of collection, which begins with what takes long.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not survival and not by_hand"

# What takes long: clusters, the demo from end to end, statistics on simulated experiments.
slow: install
	# Four nodes of a growing cluster and the driver want all processors: nothing else beside them.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow and not survival" tests/integration/test_growing.py
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "slow and not survival" --ignore tests/integration/test_growing.py

# Takes processes, nodes, servers and disks away from running preparations, trainings, ablations and sweeps.
survival: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m survival tests/integration

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: .venv/installed

# uv installs the same pinned packages as pip in a tenth of the time; where it cannot, pip does. Bytecode is compiled once
# here: where Python does not write it, each of Ray's many processes would compile all that it imports.
.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv==0.13.9
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --requirement requirements.lock \
		|| $(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable . \
		|| $(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

# Pins every package again from pyproject.toml, and writes no address into the file.
lock:
	$(BIN)/uv pip compile --quiet --all-extras --no-header --no-annotate --no-emit-index-url \
		--python-version 3.11 pyproject.toml --output-file requirements.lock

# What was built; results (storage, mlflow.db) stay.
clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
