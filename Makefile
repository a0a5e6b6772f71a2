# sirenbook: each target makes the environment in .venv first if it is not there.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help book site serve refresh lab export results transfer detector test clean

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

refresh: $(READY)  ## run every notebook, or those in ONLY="02_spectrograms 25_cli", and store the outputs in nbs
	@$(BIN)/python tools/book.py refresh $(ONLY)

lab: $(READY)  ## open JupyterLab on nbs
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/jupyter lab nbs $(if $(filter 0,$(shell id -u)),--allow-root)

export: $(READY)  ## write the package from the notebooks
	@$(BIN)/nbdev_export

DATASETS := roadside esvs street
HIDDEN := f = 'data/looks.csv', 'data/transplants.csv'; run_looks(['esvs'], *f); run_looks(['street', 'roadside'], *f, networks=NETWORKS[:3])
results: $(READY)  ## measure what the chapters on what is true read, into data/*.csv (hours; resumes; wants the real recordings)
	@$(BIN)/sirenbook experiment $(DATASETS) --out data/results.csv
	@$(BIN)/sirenbook experiment $(DATASETS) --across --folds 0 1 2 --out data/across.csv
	@$(BIN)/python -c "from sirenbook.ablations import run_flaws; run_flaws('$(DATASETS)'.split(), 'data/ablations.csv')"
	@$(BIN)/python -c "from sirenbook.interpretability import *; run_clues('$(DATASETS)'.split(), 'data/shortcuts.csv'); $(HIDDEN)"

STREET ?= street
STREETS ?= _streets/roadside
transfer: $(READY)  ## teach on hours of simulated scenes, rank real clips in STREET, into data/transfer.csv (an hour; resumes)
	@$(BIN)/sirenbook dataset roadside --hours 8 --seed 1 --seconds 10 --out $(STREETS)
	@$(BIN)/python -c "from sirenbook.transfer import run_transfer; run_transfer(['$(STREETS)', 'esvs'], ['$(STREET)'], 'data/transfer.csv')"

DETECTOR ?= _detector
ESVS ?= esvs
REAL := --esvs '$(ESVS)' --street '$(STREET)'
detector: $(READY)  ## teach the detector, try each choice, measure it, into sirenbook/weights and data/*.csv (hours; resumes)
	@$(BIN)/sirenbook train detector --out $(DETECTOR) $(REAL) --spread 1 2
	@$(BIN)/python -c "from sirenbook.detector_training import *; d = '$(DETECTOR)'; m = gather(f'{d}/roadside', '$(ESVS)', '$(STREET)'); run_ablation(d, m); [run_left_out(d, m, k) for k in range(3)]"
	@cp $(DETECTOR)/weights/* sirenbook/weights
	@cp $(DETECTOR)/detector_ablation.csv $(DETECTOR)/unseen.csv $(DETECTOR)/left_out.csv data
	@cp "$(DETECTOR)/ablation/and esvs 0/log.csv" data/detector_training.csv
	@$(BIN)/python -c "from sirenbook.evaluation import run_proving; run_proving('$(DETECTOR)', street='$(STREET)')"
	@$(BIN)/python benchmarks/detector.py --out data/peers.csv

test: $(READY)  ## run every notebook as a test, then the tests in tests
	@tools/chromium.sh
	@PATH="$(CURDIR)/$(BIN):$$PATH" TF_CPP_MIN_LOG_LEVEL=2 $(BIN)/nbdev_test --n_workers 2 --timing
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -n 2 --dist loadfile tests

clean:  ## remove what make made
	rm -rf $(VENV) _streets _detector _book _docs _proc build *.egg-info .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
