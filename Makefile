# The verbs; `make` alone prints them. Everything runs in .venv, which holds exactly what requirements.lock says.

PYTHON ?= python3
VENV := .venv/bin/python
# Written last, so an install that was cut off, or one of another lock, does not count as done.
STAMP := .venv/.lock-$(shell sha256sum requirements.lock | cut -c1-12)

# What `make test-torch` runs, and where: torch as asked for with what it brings, and all else from requirements.lock.
TORCH_TESTS := tests/kernels tests/unit/runtime tests/unit/training tests/unit/models tests/unit/data
TORCH_VENV := .venv-torch-$(TORCH)

# Several processes of pytest, a file each: one for each core, and not more than memory allows; ARGS=-n0: one alone.
# One thread each, for threads of OpenMP that share a core wait for each other busily.
ONE_THREAD := OMP_NUM_THREADS=1 TORCHINDUCTOR_COMPILE_THREADS=1
PARALLEL := --numprocesses=logical --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

# launch/bench.sh reads these from the environment, so no shell here parses what they hold.
export EXP ARGS GPUS K

.DEFAULT_GOAL := help
.PHONY: help bench test test-slow test-gpu test-faults test-torch benchmarks check lock clean venv

help:
	@echo "headstart: how much sooner pretrained weights reach an accuracy than random ones"
	@sed -n 's/^## /  /p' Makefile

## make bench        run an experiment on this machine: EXP=name  GPUS=2  ARGS="--optim.lr=0.01 --blocks=2"
bench: $(STAMP)
	@./launch/bench.sh

## make test         the tests that need neither GPU nor minutes: ARGS="-k clocks"
test: $(STAMP)
	$(ONE_THREAD) $(VENV) -m pytest $(PARALLEL) $(ARGS)

## make test-slow    the tests that take minutes
test-slow: $(STAMP)
	$(VENV) -m pytest -m slow $(ARGS)

## make test-gpu     the tests that need a CUDA GPU
test-gpu: $(STAMP)
	$(VENV) -m pytest -m gpu $(ARGS)

## make test-faults  the tests that kill processes, fill disks and tear files
test-faults: $(STAMP)
	@$(VENV) -m pytest -m faults $(ARGS); code=$$?; \
	if [ $$code -eq 5 ]; then echo "no tests are marked faults yet: nothing was tested"; else exit $$code; fi

## make test-torch   the tests that torch decides, with another torch: TORCH=2.11.0 (makes .venv-torch-2.11.0)
test-torch: $(TORCH_VENV)/.done
	$(TORCH_VENV)/bin/python -m pytest $(TORCH_TESTS) $(ARGS)

## make benchmarks   measure images per second, and their ratios, into runs/benchmarks: K=loaders | kernels | checkpoints
benchmarks: $(STAMP)
	@case "$$K" in loaders | kernels | checkpoints) mkdir -p runs/benchmarks;; *) echo "K must be loaders, kernels or checkpoints, not '$$K'" >&2; exit 2;; esac
	$(VENV) -m pytest -m benchmark --show-capture=no --benchmark-quiet --benchmark-json=runs/benchmarks/$(K).json tests/benchmarks/test_$(K).py $(ARGS)

## make gpu-day      a GPU's first day, at most 9 minutes, into runs/gpu-day: PART=1 | 2; PYTHON=python3: without .venv
.PHONY: gpu-day
ifeq ($(origin PYTHON),command line)
gpu-day:
	@$(PYTHON) -m launch.gpu_day
else
gpu-day: $(STAMP)
	@$(VENV) -m launch.gpu_day
endif

## make check        lint, format and types: ruff and mypy
check: $(STAMP)
	$(VENV) -m ruff check .
	$(VENV) -m ruff format --check .
	$(VENV) -m mypy

## make lock         renew requirements.lock from pyproject.toml, in a fresh .venv (7 GB)
lock:
	$(check-python)
	$(PYTHON) -m venv --clear .venv
	$(VENV) -c '$(print-wanted)' > .venv/wanted.txt
	$(VENV) -m pip install --disable-pip-version-check --requirement .venv/wanted.txt
	sed -n '/^#/p' requirements.lock > .venv/new.lock
	$(VENV) -m pip freeze --all --exclude pip >> .venv/new.lock
	mv .venv/new.lock requirements.lock

## make clean        remove .venv and the tools' caches; runs/ stays
clean:
	rm -rf .venv .venv-torch-* .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks headstart.egg-info
	find . -name __pycache__ -type d -prune -exec rm -r {} +

venv: $(STAMP)

$(STAMP):
	$(check-python)
	@echo "Installing requirements.lock into .venv, once: torch 2.14.1 (CUDA build), DALI and more;" \
	  "3.5 GB to download, 7 GB on disk, 3 to 10 minutes"
	$(PYTHON) -m venv --clear .venv
	$(VENV) -m pip install --disable-pip-version-check --no-deps --requirement requirements.lock
	$(VENV) -m pip check
	@touch $(STAMP)

$(TORCH_VENV)/.done: requirements.lock
	$(check-python)
	@test -n "$(TORCH)" || { echo "which torch? make test-torch TORCH=2.11.0" >&2; exit 2; }
	$(PYTHON) -m venv --clear $(TORCH_VENV)
	$(TORCH_VENV)/bin/python -m pip install --disable-pip-version-check "torch==$(TORCH)" torchvision
	$(TORCH_VENV)/bin/python -m pip freeze --all | sed 's/==.*/==/; s/^/^/' > $(TORCH_VENV)/brought-by-torch
	grep --invert-match --ignore-case --file $(TORCH_VENV)/brought-by-torch requirements.lock > $(TORCH_VENV)/others
	$(TORCH_VENV)/bin/python -m pip install --disable-pip-version-check --no-deps --requirement $(TORCH_VENV)/others
	$(TORCH_VENV)/bin/python -m pip check
	@touch $@

# Says in one line what is wrong with $(PYTHON), if anything.
define check-python
@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null || \
{ echo "headstart needs Python 3.11 or 3.12, which $(PYTHON) is not; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
{ echo "$(PYTHON) has no venv module; on Debian or Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
endef

# Everything that pyproject.toml asks for, runtime and development.
define print-wanted
import tomllib; \
project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
print(*project["dependencies"], *project["optional-dependencies"]["dev"], sep="\n")
endef
