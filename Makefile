# Everything lives in .venv; the first target makes it from the locked, hashed requirements.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check bench lock clean
.DEFAULT_GOAL := demo

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Try: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/commonward demo

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy src bench tests
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/docs

test: check
	$(BIN)/pytest -q -n 2 --dist loadscope tests

bench: $(STAMP)
	$(BIN)/python -m bench --write docs/performance.md

lock:
	uv pip compile --quiet --generate-hashes --no-header --python-version 3.11 --universal --extra dev --extra learning -o requirements/all.txt pyproject.toml
	uv pip compile --quiet --generate-hashes --no-header --python-version 3.11 --universal -c requirements/all.txt --extra dev -o requirements/dev.txt pyproject.toml
	uv pip compile --quiet --generate-hashes --no-header --python-version 3.11 --universal -c requirements/all.txt -o requirements/base.txt pyproject.toml

clean:
	rm -rf $(VENV) demo-data .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
