# The commands a newcomer needs. Everything happens inside .venv; nothing else on the machine is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# `--constraint` pins what is tested; the package itself allows a range.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test check install clean

demo: $(VENV)/.installed ## upscale the shipped sample clip
	@mkdir -p demo
	$(BIN)/safa upscale samples/hens.mp4 -o demo/hens-4x.mp4 --rate 2 --overwrite
	$(BIN)/safa compare samples/hens.mp4 demo/hens-4x.mp4 -o demo/before-after.png
	@echo "The result is demo/hens-4x.mp4; demo/before-after.png shows it beside plain bicubic enlargement."

test: $(VENV)/.installed-test ## run the test suite
	$(BIN)/python -m pytest

check: $(VENV)/.installed-dev ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: $(VENV)/.installed ## the package alone

clean:
	rm -rf $(VENV) demo build

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .[test]
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-dev: $(VENV)/.installed-test
	$(PIP) --editable .[test,dev]
	@touch $@
