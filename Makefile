# The commands a newcomer needs. Everything happens inside .venv; nothing else on the machine is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# `--constraint` pins what is tested; the package itself allows a range.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-vapoursynth report check sanitize install bundle clean

demo: $(VENV)/.installed ## upscale the shipped sample clip
	@mkdir -p demo
	$(BIN)/safa upscale samples/hens.mp4 -o demo/hens-4x.mp4 --rate 2 --overwrite
	$(BIN)/safa compare samples/hens.mp4 demo/hens-4x.mp4 -o demo/before-after.png --overwrite
	@echo "The result is demo/hens-4x.mp4; demo/before-after.png shows it beside plain bicubic enlargement."

# Where bytecode is not written, each of the suite's processes compiles all modules again.
test: $(VENV)/.installed-test ## run the test suite
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder

# VapourSynth needs Python 3.12. Where that is not what .venv has, it gets an environment of its own, and the libraries
# compiled for .venv, which know nothing of Python, under the name that any version of it accepts.
VAPOURSYNTH_PYTHON ?= $(firstword $(shell ls -d /usr/bin/python3.1[2-9] /usr/local/bin/python3.1[2-9] \
	$(HOME)/.pyenv/versions/3.1[2-9]*/bin/python 2> /dev/null))
test-vapoursynth: $(VENV)/.installed ## the tests of safa.vapoursynth, where there is a Python for it
ifeq ($(VAPOURSYNTH_PYTHON),)
	@echo "No Python 3.12 or newer was found: the tests of safa.vapoursynth are left out."
else
	test -d build/vapoursynth/venv || $(VAPOURSYNTH_PYTHON) -m venv build/vapoursynth/venv
	build/vapoursynth/venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		numpy av opencv-python-headless pillow psutil safetensors pytest vapoursynth vapoursynth-bestsource
	rm -rf build/vapoursynth/safa
	cp -R src/safa build/vapoursynth/safa
	cd build/vapoursynth/safa/engine && for file in _*.cpython-*; do mv $$file $${file%%.*}.abi3.so; done
	PYTHONPATH=build/vapoursynth build/vapoursynth/venv/bin/python -m pytest --noconftest tests/test_vapoursynth.py
endif

# Without VID4, a folder with the four sequences as folders of pictures, on a shipped clip alone. RIVALS=installed adds
# ready-made networks, where their packages are.
report: $(VENV)/.installed-torch ## quality as one HTML page: make report, or make report VID4=path RIVALS=installed
	@mkdir -p demo
	$(BIN)/safa evaluate fast $(if $(VID4),--on vid4 --data $(VID4) --windows 6,--on samples/city.mp4 --windows 4) \
		--times 2,4,8 --tof $(if $(RIVALS),--rivals $(RIVALS)) --html demo/report.html --overwrite

check: $(VENV)/.installed-dev ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

sanitize: ## the native engine under the address, undefined-behaviour and thread sanitizers
	tests/engine/sanitize.sh

install: $(VENV)/.installed ## the package alone

# PyInstaller, as it is a wheel, works alike on Linux, Windows and macOS and takes libraries as they are in the wheels.
# Nuitka compiles every package to C first (tens of minutes), zipped applications (pex, shiv) need a Python, and
# stand-alone builds of Python are on no package index. In an environment of its own, so that nothing else gets in.
bundle: ## one folder, dist/safa, that needs no Python: the command line, the page, weights and FFmpeg
	$(PYTHON) -m venv build/bundle/venv
	build/bundle/venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt .[bundle]
	build/bundle/venv/bin/pyinstaller --noconfirm --log-level WARN --workpath build/bundle --distpath dist scripts/bundle.spec
	@echo "The bundle is dist/safa; scripts/check_bundle.sh dist/safa runs it in a root without Python."

clean:
	rm -rf $(VENV) demo build dist

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The engine is compiled when the package is installed.
ENGINE := setup.py $(wildcard src/safa/engine/native/*)

$(VENV)/.installed: pyproject.toml constraints.txt $(ENGINE) | $(BIN)/python
	@echo "Installing into $(VENV); this takes a few minutes."
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-torch: pyproject.toml constraints.txt $(ENGINE) | $(BIN)/python
	@echo "Installing into $(VENV); this takes a few minutes."
	$(PIP) --editable .[torch]
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-test: pyproject.toml constraints.txt $(ENGINE) | $(BIN)/python
	@echo "Installing into $(VENV), with what tests need; this takes some minutes."
	$(PIP) --editable .[test]
	@touch $@ $(VENV)/.installed $(VENV)/.installed-torch

$(VENV)/.installed-dev: $(VENV)/.installed-test
	$(PIP) --editable .[test,dev]
	@touch $@
