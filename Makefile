# Every task makes its own environment in .venv from nothing but a Python 3.11 to 3.13.
#   make amplify ARGS="dataset=folder dataset.root=photos"    what to pass on
#   make test PYTHON=python3.12                               another Python
PYTHON ?= python3
VENV ?= .venv
ARGS ?=

RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
DEV := $(VENV)/.dev

.DEFAULT_GOAL := help
.PHONY: help amplify eval train weights check test lint docs format clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

amplify: $(READY) ## Make pairs of the demo faces in five styles (ARGS="batch_size=16 ...")
	$(RUN) run_amplify.py $(ARGS)

eval: $(READY) ## Say what the newest run's pairs are worth (ARGS="pairs=DIR ...")
	$(RUN) run_eval.py $(if $(filter run=% pairs=%,$(ARGS)),,run=latest) $(ARGS)

train: $(READY) ## Train an amplifier from your pairs (ARGS="data.root=DIR ...")
	$(RUN) run_train.py $(ARGS)

# What made dda/assets/compact. EXCLUDE names the portraits to leave out; the model card says which were.
weights: $(READY) ## Train the five shipped styles again (PORTRAITS=DIR, EXCLUDE="002 003 ...")
	$(if $(PORTRAITS),,$(error make weights: PORTRAITS=DIR must be given, a folder of portraits))
	rm -rf outputs/authored
	$(RUN) -m dda.authoring $(PORTRAITS) outputs/authored --lipstick 0.25 $(if $(EXCLUDE),--exclude $(EXCLUDE))
	$(RUN) run_train.py data.root=outputs/authored train.init=scratch train.updates=2000 train.morphs=100 \
		run_name=shipped $(ARGS)

# The tests that start no other process and train nothing: what to run before every commit.
QUICK_TESTS := tests/test_architecture.py tests/test_imports.py tests/config tests/docs tests/faces tests/pairs \
	tests/system tests/report

check: lint ## Check style, types and the quick tests, in a minute or two
	$(RUN) -m pytest --numprocesses 2 --dist loadfile --quiet $(QUICK_TESTS)

test: $(DEV) ## Run the tests (ARGS="-k name" for some of them)
	$(RUN) -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(DEV) ## Check style, formatting and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

docs: $(DEV) ## Write docs/configuration.md from the schemas, and run the notebook
	$(RUN) -m dda.config.documentation
	$(VENV)/bin/jupyter execute --inplace docs/quickstart.ipynb

format: $(DEV) ## Mend style and formatting
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

clean: ## Remove the environment and caches (outputs/ stays)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find dda tests -name __pycache__ -type d -prune -exec rm -rf {} +

# One resolver picks torch and torchvision together: builds that do not belong together fail at import.
$(READY): pyproject.toml
	@echo "Making $(VENV): a few minutes, torch is large"
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --editable .
	touch $@

$(DEV): $(READY)
	@echo "Adding to $(VENV) what tests and checks need"
	$(RUN) -m pip install --quiet --editable ".[dev]"
	touch $@
