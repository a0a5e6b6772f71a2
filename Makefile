# sirenbook: each target makes the environment in .venv first if it is not there.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help book site serve refresh lab export wheel results transfer pretrained detector test clean

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1@/p' $(MAKEFILE_LIST) | awk -F@ '{printf "%-15s %s\n", $$1, $$2}'

$(READY): constraints.txt settings.ini setup.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	 { echo "sirenbook needs Python 3.11, 3.12 or 3.13; name one that is installed, for example: make $(or $(MAKECMDGOALS),book) PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Making the environment in $(VENV) (some minutes the first time) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

book: $(READY)  ## run every notebook and render the site into _docs
	@$(BIN)/python tools/book.py book

site: $(READY)  ## render the site into _docs from the stored outputs, without running anything
	@$(BIN)/python tools/book.py site

PORT ?= 8000
HOST ?= 127.0.0.1
serve: $(READY)  ## serve the site at HOST (0.0.0.0 lets a phone in) and PORT, and render it again at each change
	@$(BIN)/python tools/book.py serve --host $(HOST) --port $(PORT)

refresh: $(READY)  ## run every notebook, or those in ONLY="02_spectrograms 30_cli", and store the outputs in nbs
	@$(BIN)/python tools/book.py refresh $(ONLY)

lab: $(READY)  ## open JupyterLab on nbs
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/jupyter lab nbs $(if $(filter 0,$(shell id -u)),--allow-root)

export: $(READY)  ## write the package from the notebooks
	@$(BIN)/nbdev_export

wheel: $(READY)  ## build the package as one file in dist, which pip installs anywhere
	@rm -rf build dist
	@$(BIN)/python -m pip wheel -q --disable-pip-version-check --no-deps -w dist .
	@ls dist/*.whl

DATASETS ?= roadside esvs street
EXPERIMENT := @$(BIN)/sirenbook experiment
results: $(READY)  ## train what chapters 12 to 15 report, into data/*.csv (hours; resumes; needs the real recordings)
	$(EXPERIMENT) verdict --datasets $(DATASETS) --out data
	$(EXPERIMENT) verdict --datasets $(DATASETS) --out data --across --folds 0 1 2
	$(EXPERIMENT) duplicates --datasets $(DATASETS) --out data
	$(EXPERIMENT) ablations --datasets $(DATASETS) --out data
	$(EXPERIMENT) shortcuts --datasets $(DATASETS) --out data
	$(EXPERIMENT) hyperparameters --out data

STREET ?= street
STREETS ?= _streets/roadside
transfer: $(READY)  ## train on hours of simulated scenes, test on real clips in STREET, into data/transfer.csv (hours; resumes)
	@$(BIN)/sirenbook dataset roadside --hours 8 --seed 1 --seconds 10 --out $(STREETS)
	$(EXPERIMENT) transfer --datasets $(STREETS) esvs --tested-on '$(STREET)' --out data

pretrained: $(READY)  ## train the four networks of chapters 8 to 11 on two hours of scenes, into sirenbook/weights and data/pretrained.csv (an hour; resumes)
	$(EXPERIMENT) pretrained --datasets $(DATASETS) --weights _streets/weights --out data
	@cp $(foreach n,waveform-cnn waveform-lstm spectrogram-cnn spectrogram-lstm,_streets/weights/$(n).keras) _streets/weights/pretrained.json sirenbook/weights

DETECTOR ?= _detector
ESVS ?= esvs
WORLD ?= world
detector: $(READY)  ## train the detector without each fold and measure it there, into sirenbook/weights and data/*.csv (hours; resumes)
	$(EXPERIMENT) detector --datasets '$(ESVS)' '$(STREET)' '$(WORLD)' --folder '$(DETECTOR)' --out data
	@cp $(DETECTOR)/fold4-seed0/weights/* sirenbook/weights
	$(EXPERIMENT) detector --clean --datasets '$(ESVS)' '$(STREET)' '$(WORLD)' --folder '$(DETECTOR)' --out data
	@mkdir -p sirenbook/weights/clean && cp $(DETECTOR)/fold4-seed0-licensed/weights/* sirenbook/weights/clean
	$(EXPERIMENT) components --datasets '$(ESVS)' '$(STREET)' '$(WORLD)' --folder '$(DETECTOR)' --out data
	$(EXPERIMENT) adaptation --datasets '$(ESVS)' '$(STREET)' '$(WORLD)' --out data
	@cp _adaptation/sirens.npz sirenbook/weights
	@$(BIN)/python benchmarks/detector.py --out data/peers.csv

# pytest ends with 5 where nothing is left to try: a test that hung has passed once its process began again
PYTEST := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest
test: $(READY)  ## run every notebook as a test, then the tests in tests
	@tools/chromium.sh
	@PATH="$(CURDIR)/$(BIN):$$PATH" TF_CPP_MIN_LOG_LEVEL=2 $(BIN)/nbdev_test --n_workers 2 --timing
	@$(PYTEST) -n 2 --dist loadfile --max-worker-restart 1 tests || \
	 { echo "What failed beside other tests is tried once more, alone:"; $(PYTEST) --lf --lfnf none tests || test $$? = 5; }

clean:  ## remove what make made
	rm -rf $(VENV) _streets _detector _book _docs _preview _proc build dist *.egg-info .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
