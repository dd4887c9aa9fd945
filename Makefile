# Thin faces of snakemake and of the scripts. `make run` and `make test` work as the first command after a clone.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help env env-vllm run plan peek test test-full evidence test-strace test-browser test-slurm test-slurm-all install-profiles preflight submit status efficiency resume adopt test-vllm test-conda env-lock push pull checkout lint requirements constraints docs ollama bench gpu-check bench-peers clean distclean ask

PYTHON ?= $(shell command -v python3.11 || command -v python3)
CORES ?= $(shell nproc)
RECIPE ?= crag_mm
SCALE ?= tutorial
# A line of pip options, for sites that take torch from an index of their own.
TORCH_OPTIONS ?=

# Build of vLLM that `make env-vllm` installs: gpu or cpu.
VLLM ?= gpu

VENV := .venv
VLLM_VENV := .venv-vllm
VLLM_CPU_VENV := .venv-vllm-cpu
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# The library of this folder, also where the environment is that of another clone.
export PYTHONPATH := $(CURDIR)/scripts

TUTORIALS := $(sort $(basename $(notdir $(wildcard config/tutorial/*.yaml))))
RECIPES := $(if $(filter all,$(RECIPE)),$(TUTORIALS),$(RECIPE))
comma := ,
empty :=
space := $(empty) $(empty)
CONFIG := --config scale=$(SCALE) recipes='[$(subst $(space),$(comma),$(RECIPES))]'

help:  ## what the targets do
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# A set-up keeps the digest of its pins, and is made again where their content changed: `git checkout` changes file times.
PINS := requirements.txt envs/constraints.txt pyproject.toml
VLLM_PINS := envs/vllm.yaml envs/vllm-cpu.txt scripts/setup/make_vllm_env.py
digest = $(shell cat $(1) | sha256sum | cut -c 1-64)
unless_made = $(if $(filter $(call digest,$(2)),$(shell cat $(1) 2>/dev/null)),,FORCE)
FORCE:

define PYTHON_FITS
"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "finetrail needs Python 3.11, found $(PYTHON): set PYTHON=/path/to/python3.11"; exit 1; }; \
"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "this Python cannot make virtual environments: apt-get install python3.11-venv"; exit 1; }
endef

$(READY): $(call unless_made,$(READY),$(PINS))
	@$(PYTHON_FITS)
	"$(PYTHON)" -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH_OPTIONS) "$$(grep '^torch==' requirements.txt)"
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c envs/constraints.txt -r requirements.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@echo $(call digest,$(PINS)) > $@

env: $(READY)  ## make the virtual environment .venv from the pins in envs/

run: $(READY)  ## the tutorial of crag_mm, end to end (RECIPE=name; RECIPE=all: all of config/tutorial)
	snakemake --cores $(CORES) $(CONFIG)

plan: $(READY)  ## what would run, and why, and the calls to pay (SCALE=full for the published settings)
	@python scripts/setup/plan_calls.py --cores $(CORES) $(CONFIG)

peek: $(READY)  ## 20 train rows as the model is trained on them, what carries loss in colour (RECIPE, MODEL, FOLD)
	@python scripts/train/peek_rows.py --recipe $(RECIPE) --scale $(SCALE) $(if $(MODEL),--model $(MODEL)) $(if $(FOLD),--fold $(FOLD))

ask: $(READY)  ## ask a trained pipeline: what it finds, its answer (RECIPE=hotpotqa; crag_mm_images IMAGE=path; QUESTION="...", none: standard input)
	@python scripts/evaluate/ask_question.py --recipe $(RECIPE) --scale $(SCALE) $(if $(QUESTION),--question "$$QUESTION") $(if $(IMAGE),--image "$$IMAGE")

ollama: $(READY)  ## load the exported models into Ollama, or print the commands
	@python scripts/export/create_ollama_models.py --scale $(SCALE) --recipes $(RECIPES)

lint: $(READY)  ## style, types, formats, generated files, snakemake --lint
	ruff check scripts tests bench notebooks
	ruff format --check scripts tests bench notebooks
	mypy scripts tests bench
	snakefmt --check Snakefile rules
	snakemake --lint --config scale=tutorial > /dev/null
	python scripts/setup/make_requirements.py --check
	python scripts/setup/generate_config_docs.py --check
	python scripts/setup/generate_chain_picture.py --check
	python scripts/setup/generate_machine_table.py --check

# Bytecode is kept whatever the user's settings say: the tests start hundreds of processes of the same modules.
test test-%: export PYTHONDONTWRITEBYTECODE :=
PYTEST := pytest --numprocesses $(CORES) --durations 30
TESTS := tests/chain tests/wiring tests/unit tests/attacks

# tests/tiers.py says what each tier holds.
test: $(READY)  ## the fast tests, and one small run of the workflow up to its folds: for between two edits
	$(PYTEST) --dist worksteal -m "fast or smoke" $(TESTS)

# In files that share what they prepare; the slowest files begin first, so that none is left alone at the end.
SHARED := --dist loadfile --no-loadscope-reorder
test-full: test  ## all tests that pip's packages are enough for, but the long ones
	$(PYTEST) $(SHARED) -m "not (fast or smoke or long)" $(TESTS)

evidence: $(READY)  ## the long tests: runs with three seeds, long fuzzing, tutorials at full size (hours; not in CI)
	$(PYTEST) $(SHARED) -m long $(TESTS)

# Root, as in a container, installs what is missing; everyone else is told the line.
test-strace: $(READY)  ## the system calls of the call store: no lock, no file opened twice (wants strace)
	@command -v strace > /dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -qq -y strace > /dev/null; } || { echo "this test wants strace: sudo apt-get install strace"; exit 1; }
	pytest tests/strace

test-browser: $(READY)  ## the page that compares models, in a real browser at phone and desktop width (wants chromium)
	@command -v chromium > /dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium > /dev/null; } || { echo "this test wants a browser: sudo apt-get install chromium"; exit 1; }
	pytest tests/browser

# The build for CPUs reads no YAML, so that it can be made beside .venv.
$(VLLM_VENV)/.gpu: MAKER := $(VENV)/bin/python
$(VLLM_CPU_VENV)/.cpu: MAKER := $(PYTHON)
$(VLLM_VENV)/.gpu: $(call unless_made,$(VLLM_VENV)/.gpu,$(VLLM_PINS)) | $(READY)
$(VLLM_CPU_VENV)/.cpu: $(call unless_made,$(VLLM_CPU_VENV)/.cpu,$(VLLM_PINS))
$(VLLM_VENV)/.gpu $(VLLM_CPU_VENV)/.cpu:
	@$(PYTHON_FITS)
	"$(MAKER)" scripts/setup/make_vllm_env.py --build $(patsubst .%,%,$(notdir $@)) --folder $(@D) -- $(TORCH_OPTIONS)
	@echo $(call digest,$(VLLM_PINS)) > $@

env-vllm: $(if $(filter cpu,$(VLLM)),$(VLLM_CPU_VENV)/.cpu,$(VLLM_VENV)/.gpu)  ## make .venv-vllm, the environment of endpoints of kind vllm (VLLM=cpu: .venv-vllm-cpu, without a GPU)

test-vllm: $(READY) $(VLLM_CPU_VENV)/.cpu  ## the tests with a real vLLM on the CPU (3.4 GB to install)
	$(VLLM_CPU_VENV)/bin/python scripts/setup/list_vllm_architectures.py --check
	pytest --durations 10 tests/vllm

# The cluster's configuration is mounted over /etc/slurm in a namespace of its own: a real one's is never touched.
SLURM_TESTS := not long
SLURM_PACKAGES := slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge
test-slurm: $(READY)  ## the workflow on a real SLURM cluster, started on this machine for the tests (wants root)
	@PATH="$$PATH:/usr/sbin"; command -v slurmctld slurmd munged sbatch > /dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $(SLURM_PACKAGES) > /dev/null; } || { echo "this test wants SLURM: sudo apt-get install --no-install-recommends $(SLURM_PACKAGES)"; exit 1; }
	@[ "$$(id -u)" = 0 ] || { echo "this test starts a cluster, which only root may: sudo make test-slurm"; exit 1; }
	pytest --durations 10 -m "$(SLURM_TESTS)" tests/slurm

test-slurm-all:  ## the same with all that clusters do to jobs, queues and masters
	@$(MAKE) test-slurm SLURM_TESTS="long or not long"

# PROFILE=slurm for a cluster; without a profile the run is local.
PROFILE ?=
WHERE := $(if $(PROFILE),--profile $(PROFILE),--cores $(CORES))
preflight: $(READY)  ## what would fail, before anything runs: cluster, folders, tools, endpoints (PROFILE=slurm, RECIPE, SCALE)
	@python scripts/setup/preflight.py $(WHERE) $(CONFIG) $(OPTIONS)

submit: $(READY)  ## the master itself as a job of SLURM, where login nodes end long processes (RECIPE, SCALE)
	@python scripts/setup/submit_master.py --profile slurm $(CONFIG) $(OPTIONS)

test-conda: $(READY)  ## rules in the environments of envs/, made by a real solver and pip (no conda needed; downloads 300 MB)
	pytest --durations 5 tests/conda

env-lock: $(READY)  ## pin the environments to the last package, where conda is at hand: envs/*.pin.txt, *.post-deploy.sh (ENVS="data train")
	python scripts/setup/lock_envs.py $(ENVS)

status:  ## the latest run: jobs that wait, run, are done or failed, with rate, time left, USD and GPU-hours
	@python scripts/setup/show_status.py

efficiency:  ## what the latest run's jobs used of the memory, time and cores that they asked for, and what to ask for
	@python scripts/setup/show_efficiency.py

# ORPHANS=cancel ends running jobs, too; MASTER=gone says that you looked on the host where the master ran.
ORPHANS ?= wait
resume:  ## go on after the master was killed: settle its orphaned jobs, unlock, and start as before
	@python scripts/setup/resume_run.py --orphans $(ORPHANS) $(if $(filter gone,$(MASTER)),--master-is-gone)

adopt:  ## take over results from elsewhere, each checked against its meta file: what fits is not made again (RECIPE, SCALE)
	@python scripts/setup/adopt_outputs.py --every -- --cores $(CORES) $(CONFIG)

# DVC keeps results beside git: docs/dvc.md.
DVC_RESULTS = python scripts/setup/dvc_results.py $@ --scale $(SCALE) --recipes $(RECIPES) --cores $(CORES)
push: $(READY)  ## results and calls to DVC's remote, their pins into dvc.lock (RECIPE, SCALE)
	@$(DVC_RESULTS)

pull: $(READY)  ## results and calls from DVC's remote, every byte checked; nothing of them is made again (RECIPE, SCALE)
	@$(DVC_RESULTS)

checkout: $(READY)  ## the same without a download, after `git checkout` of another commit or branch
	@$(DVC_RESULTS)

# A link, so that the profile is always that of this working folder.
PROFILES := $(or $(XDG_CONFIG_HOME),$(HOME)/.config)/snakemake
install-profiles:  ## make `snakemake --profile slurm` work by name
	@mkdir -p "$(PROFILES)"
	@[ -L "$(PROFILES)/slurm" ] || [ ! -e "$(PROFILES)/slurm" ] || { echo "$(PROFILES)/slurm is there already, and no link: rename it first"; exit 1; }
	ln -sfn "$(CURDIR)/profiles/slurm" "$(PROFILES)/slurm"

requirements:  ## write requirements.txt from envs/*.yaml
	$(VENV)/bin/python scripts/setup/make_requirements.py

constraints: $(READY)  ## pin the virtual environment as it is now, dependencies of dependencies included
	{ echo "# Generated by \`make constraints\`: every package of the virtual environment, so that a later set-up is the same."; python -m pip freeze --exclude-editable | grep -viE '^(torch|finetrail)([ =]|$$)'; } > envs/constraints.txt

bench: $(READY)  ## measure call store, LLM engine, folds, trainer and retrieval beside others: bench/results (CALLS=6000 ROWS=50000 for a quick look)
	python bench/store.py $(if $(CALLS),--calls $(CALLS))
	python bench/llm.py $(if $(CALLS),--calls $(CALLS))
	python bench/folds.py $(if $(ROWS),--rows $(ROWS))
	python bench/training.py
	python bench/retrieval.py $(if $(ROWS),--passages $(ROWS) --large 0)

gpu-check: $(READY)  ## where a GPU is at hand: tokens/s, MFU and memory of every method beside plain TRL: bench/results/gpu.json
	python bench/gpu.py $(GPU_OPTIONS)

bench-peers:  ## install the clients of others that the bench compares with, each in an environment of its own
	for pins in bench/peers/*.txt; do folder=bench/peers/.venv/$$(basename $$pins .txt); "$(PYTHON)" -m venv $$folder; $$folder/bin/python -m pip install --quiet --disable-pip-version-check -r $$pins; done

# The workflow is parsed for it, which takes seconds.
dvc.yaml: Snakefile $(wildcard rules/*.smk rules/common/*.smk config/recipes/*.yaml config/tutorial/*.yaml) scripts/setup/write_dvc_stages.py | $(READY)
	python scripts/setup/write_dvc_stages.py

docs: $(READY) dvc.yaml  ## write what is generated: config/schema.json, config/reference.md, the picture in README.md, the table in docs/slurm.md, dvc.yaml
	python scripts/setup/generate_config_docs.py
	python scripts/setup/generate_chain_picture.py
	python scripts/setup/generate_machine_table.py

clean:  ## remove the tutorial's results (its call store too), logs and benchmarks
	rm -rf results/tutorial logs/tutorial benchmarks/tutorial

distclean: clean  ## also remove the virtual environments
	rm -rf $(VENV) $(VLLM_VENV) $(VLLM_CPU_VENV)
