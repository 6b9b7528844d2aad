# `make demo` and `make test` need nothing but a python3 >= 3.11; both create what they use.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test test-cluster test-openmmlab openmmlab lint format types bench clean install

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "skelkit needs Python >= 3.11, found " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

# Skeletons out of a clip of real people; of another one: make demo VIDEO=my.mp4 EXPERTS=movenet,tfpose
VIDEO    ?= examples/people.mp4
EXPERTS  ?= builtin:pose,builtin:people
DETECTOR ?= builtin:people

demo: $(STAMP)
	@mkdir -p demo-out
	$(BIN)/skelkit extract "$(VIDEO)" demo-out/demo.h5 --overwrite --experts $(EXPERTS) --detector $(DETECTOR) --method ssta
	$(BIN)/skelkit info demo-out/demo.h5
	$(BIN)/skelkit render demo-out/demo.h5 "$(basename $(notdir $(VIDEO)))" demo-out/demo.mp4 --experts all --gamma 0.18 --overwrite
	$(BIN)/skelkit render demo-out/demo.h5 "$(basename $(notdir $(VIDEO)))" demo-out/demo.png --gamma 0.18 --overwrite
	@echo "Look at demo-out/demo.mp4 and demo-out/demo.png; the poses are in demo-out/demo.h5."

test: $(STAMP)
	$(BIN)/python -m pytest $(ARGS)

# On a real Slurm and a real Dask cluster, started for it; where root and apt-get are not to be had Slurm is skipped.
test-cluster: $(STAMP)
	SKELKIT_TEST_CLUSTER=1 $(BIN)/python -m pytest --timeout 1200 tests/cluster tests/integration/test_cluster.py tests/integration/test_cluster_faults.py $(ARGS)

# MMPose's and MMDetection's networks as experts. Not with their dependencies: see the extra in pyproject.toml.
MMLAB_STAMP := $(VENV)/.openmmlab
openmmlab: $(MMLAB_STAMP)

$(MMLAB_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,openmmlab]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $$($(BIN)/python -m skelkit.experts.openmmlab.environment)
	touch $@

# What proves it: an environment of its own, from nothing.
test-openmmlab:
	$(MAKE) VENV=$(VENV)-openmmlab openmmlab
	$(VENV)-openmmlab/bin/python -m pytest -m openmmlab $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# mypy knows nothing of package-dir: show it the packages where they import, as links.
types: $(STAMP)
	rm -rf build/types && mkdir -p build/types/skelkit
	ln -s $(CURDIR)/skelkit/* $(CURDIR)/cli $(CURDIR)/pipelines build/types/skelkit/
	cd build/types && $(abspath $(BIN))/mypy --config-file ../../pyproject.toml --package skelkit

bench: $(STAMP)
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) $(VENV)-openmmlab build dist demo-out *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
