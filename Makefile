# Every target works on a fresh clone with python3 (>= 3.11, with venv and pip) and a package index.
.DEFAULT_GOAL := help
.PHONY: help setup demo up test clients test-pythons bench cost faults fuzz check deploy deployed format lock clean
SHELL := /bin/bash

PYTHON ?= python3
VENV := .venv
SAM := .venv-sam
EMULATOR := .venv-emulator
FUZZ := .venv-fuzz
BIN := $(VENV)/bin
PIP := -m pip --disable-pip-version-check -qq

help: ## what there is
	@sed -n 's/^\([a-z-]*\):.*## /  make \1 \t/p' $(MAKEFILE_LIST) | expand -t 24

setup: $(VENV)/ready ## the environment alone (.venv)

$(VENV)/ready: locks/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "make: $(PYTHON) is missing or older than 3.11; name another: make $(MAKECMDGOALS) PYTHON=python3.13" >&2; exit 1; }
	@echo "Setting up $(VENV) (about half a minute, once) ..."
	@$(PYTHON) -m venv --clear $(VENV) \
	  || { echo "make: '$(PYTHON) -m venv' failed; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python $(PIP) install --no-deps --require-hashes --requirement locks/dev.txt
	@$(BIN)/python $(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## the whole system on this machine, real messages through it, each one's fate
	@$(BIN)/mailrelay demo

up: setup ## the same system, kept running until Ctrl-C
	@$(BIN)/mailrelay local

test: setup ## all tests
	@bash tests/clients/install.sh
	@bash tests/peers/install.sh
	@$(BIN)/pytest -n 3 --dist loadfile

clients: setup ## docs/clients.md anew: which mail program brings which message through
	@bash tests/clients/install.sh
	@$(BIN)/python -m tests.clients.table

test-pythons: ## the unit tests under every supported Python that this machine has
	@bash tests/pythons.sh

BENCH ?=
bench: setup ## the figures of docs/scale.md and others (a quarter of an hour; for the gateway BENCH="--rounds 5")
	@$(BIN)/python bench/proof.py
	@$(BIN)/python bench/dkim.py
	@$(BIN)/python -m bench.deliver
	@$(BIN)/python -m bench.round_trip
	@$(BIN)/python -m bench.invocation
	@$(BIN)/python -m bench.writes
	@$(BIN)/python -m bench.imports
	@$(BIN)/python -m bench.fairness
	@$(BIN)/python -m bench.quotas
	@$(BIN)/python -m bench.gateway $(BENCH)
	@$(BIN)/python -m bench.auth_times
	@$(BIN)/python -m bench.whole_way
	@$(BIN)/python -m bench.bulk --recipients 1000

cost: setup ## what a million messages cost on AWS: 10,000 counted through the local system (N=1000 for fewer)
	@$(BIN)/python -m bench.cost --messages $(or $(N),10000)

FAULTS = $(if $(KINDS),--kinds $(KINDS)) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(FIRST_SEED),--first-seed $(FIRST_SEED)) \
         $(if $(MESSAGES),--messages $(MESSAGES)) $(if $(JOBS),--jobs $(JOBS)) $(if $(REPORT),--report)
faults: setup ## the system broken in every way, then the books: KINDS=a,b SEEDS=10 MESSAGES=20; REPORT=1 writes docs/reliability.md
	@$(BIN)/python -m tests.faults $(FAULTS)

RUNS ?= 1000000
fuzz: setup $(FUZZ)/ready ## any octets against the gateway, RUNS=1000000 of them (half an hour), then the slowest 64 KiB
	@$(BIN)/python -m tests.fuzz.seeds .fuzz/corpus
	@PYTHONPATH=layers/relay nice $(FUZZ)/bin/python -m tests.fuzz.fuzz_session -runs=$(RUNS) -max_len=1024 -timeout=10 \
	  -reduce_inputs=0 -print_final_stats=1 -artifact_prefix=.fuzz/ -dict=tests/fuzz/words.dict .fuzz/corpus
	@$(BIN)/python -m tests.fuzz.slowest

$(FUZZ)/ready: locks/fuzz.txt
	@echo "Setting up $(FUZZ) (a few seconds, once) ..."
	@$(PYTHON) -m venv --clear $(FUZZ)
	@$(FUZZ)/bin/python $(PIP) install --no-deps --require-hashes --requirement locks/fuzz.txt
	@touch $@

check: setup $(SAM)/ready ## lint, types, import contracts, template lint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/cfn-lint template.yaml && echo "cfn-lint: template.yaml is fine"
	@SAM_CLI_TELEMETRY=0 $(SAM)/bin/sam validate --lint --region eu-north-1

$(SAM)/ready: locks/sam.txt # an environment of its own: aws-sam-cli pins another boto3 than ours
	@echo "Setting up $(SAM) (about a minute, once) ..."
	@$(PYTHON) -m venv --clear $(SAM)
	@$(SAM)/bin/python $(PIP) install --no-deps --require-hashes --requirement locks/sam.txt
	@touch $@

deployed: setup $(SAM)/ready ## the real sam build and sam deploy against an emulator of AWS here, and a message through it
	@python=$$(bash tests/find_python.sh 3.13); bash tests/deployed/install.sh $(EMULATOR) "$$python" && \
	  $(BIN)/python -m tests.deployed "$$python"

deploy: $(SAM)/ready ## the relay into your AWS account (docs/operate.md)
	@bash deploy.sh $(SAM)/bin/sam

format: setup ## put the source in form
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

LOCK = $(1)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
       --custom-compile-command 'make lock'
lock: ## pin anew what pyproject.toml and locks/sam.in ask for
	@$(PYTHON) -m venv .venv-lock && .venv-lock/bin/python $(PIP) install uv
	@$(call LOCK,.venv-lock/bin) pyproject.toml --extra layer --extra gateway --extra ctl --extra local --extra dev -o locks/dev.txt
	@$(call LOCK,.venv-lock/bin) pyproject.toml --extra gateway -c locks/dev.txt -o locks/gateway.txt
	@$(call LOCK,.venv-lock/bin) pyproject.toml --extra ctl -c locks/dev.txt -o locks/ctl.txt
	@$(call LOCK,.venv-lock/bin) pyproject.toml --extra layer -c locks/dev.txt -o layers/relay/requirements.txt
	@$(call LOCK,.venv-lock/bin) pyproject.toml --extra accounts -c locks/dev.txt -o functions/accounts/requirements.txt
	@$(call LOCK,.venv-lock/bin) locks/sam.in -o locks/sam.txt
	@$(call LOCK,.venv-lock/bin) locks/emulator.in -o locks/emulator.txt
	@$(call LOCK,.venv-lock/bin) locks/fuzz.in -c locks/dev.txt -o locks/fuzz.txt

clean: ## remove what the other targets made
	@rm -rf .venv .venv-* .node .local .fuzz .bench .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
