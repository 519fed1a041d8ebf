# The commands a newcomer needs. Everything happens inside .venv; nothing else on the machine is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# `--constraint` pins what is tested; the package itself allows a range.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test report check sanitize install clean

demo: $(VENV)/.installed ## upscale the shipped sample clip
	@mkdir -p demo
	$(BIN)/safa upscale samples/hens.mp4 -o demo/hens-4x.mp4 --rate 2 --overwrite
	$(BIN)/safa compare samples/hens.mp4 demo/hens-4x.mp4 -o demo/before-after.png
	@echo "The result is demo/hens-4x.mp4; demo/before-after.png shows it beside plain bicubic enlargement."

test: $(VENV)/.installed-test ## run the test suite
	$(BIN)/python -m pytest

# VID4 is a folder with the four sequences as folders of pictures.
report: $(VENV)/.installed-torch ## quality on Vid4 as one HTML page: make report VID4=path
	@mkdir -p demo
	$(BIN)/safa evaluate fast --on vid4 --data $(VID4) --times 2,4,8 --windows 6 --tof --html demo/report.html

check: $(VENV)/.installed-dev ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

sanitize: ## the native engine under the address, undefined-behaviour and thread sanitizers
	tests/engine/sanitize.sh

install: $(VENV)/.installed ## the package alone

clean:
	rm -rf $(VENV) demo build

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-torch: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .[torch]
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .[test]
	@touch $@ $(VENV)/.installed $(VENV)/.installed-torch

$(VENV)/.installed-dev: $(VENV)/.installed-test
	$(PIP) --editable .[test,dev]
	@touch $@
