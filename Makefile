# `make` alone prints this help. Everything below installs into .venv, from the index that pip is set up for.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# An install is repeated only when what it installs has changed.
KEY := $(shell cat setup.cfg pyproject.toml | sha256sum | cut -c 1-16)
JOBS ?= 2
SEEDS ?= 10000

.DEFAULT_GOAL := help
.PHONY: help venv demo lab test test-trixie test-journeys simulate check unit bench bench-journeys image clean
.DELETE_ON_ERROR:

help: ## this help
	@echo "mailmirror: two mail servers, a live mirror between them, and the users moved in seconds"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(VENV)/.test-$(KEY) ## .venv with the package and all that its tests need

demo: $(VENV)/.demo-$(KEY) ## two hosts, real SSH, real Maildirs on loopback: a story of about a minute
	@$(BIN)/mailmirror demo

lab: $(VENV)/.test-$(KEY) ## a site of real mail hosts, mailmirror running on it, and a shell to break it; as root
	@$(BIN)/python -m tests.lab

test: check image ## check, then every test, with coverage; what CI runs
	@rm -f .coverage .coverage.*
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --cov --cov-report=term-missing:skip-covered

test-trixie: $(VENV)/.test-$(KEY) ## the lab's tests on Debian trixie: Dovecot 2.4, OpenSSH 10, Python 3.13; as root
	@LAB_GENERATION=trixie $(BIN)/python -m pytest tests/lab

test-journeys: $(VENV)/.test-$(KEY) ## each moment of a journey of which `make test` takes a sample, in the lab; as root
	@ALL_JOURNEYS=1 $(BIN)/python -m pytest tests/lab -m journeys

simulate: $(VENV)/.test-$(KEY) ## SEEDS (10,000) journeys in virtual time, with everything that can go wrong
	@$(BIN)/mailmirror simulate --seeds $(SEEDS)

check: $(VENV)/.test-$(KEY) ## style, types, floors between the rooms, the agent's Python 3.9
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "some files aren't formatted: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/mypy
	@PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/lint-imports --no-logo
	@$(BIN)/vermin --quiet --no-tips --violations --target=3.9- orchestrator/agent

unit: $(VENV)/.test-$(KEY) ## only the fast tests, for a quick turn
	@$(BIN)/python -m pytest -q tests/unit tests/house

bench: $(VENV)/.bench-$(KEY) ## ours, rsync, unison and lsyncd on the same tree; a table and a plot
	@$(BIN)/python -m bench

bench-journeys: $(VENV)/.bench-$(KEY) ## how long users are away in a switchover, on whole hosts: median and worst of 10
	@$(BIN)/python -m bench.journeys

image: $(VENV)/.test-$(KEY)
	@if [ "$$(id -u)" = 0 ]; then $(BIN)/python -m tests.support.image > /dev/null || true; fi
	@if [ "$$(id -u)" = 0 ]; then $(BIN)/python -m tests.lab.generation bookworm trixie > /dev/null || true; fi

clean: ## forget .venv and everything that was built
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

# ---- installing ------------------------------------------------------------------------------------------------------

$(VENV)/.test-$(KEY): EXTRAS := demo,test
$(VENV)/.demo-$(KEY): EXTRAS := demo
$(VENV)/.bench-$(KEY): EXTRAS := demo,bench

$(VENV)/.%-$(KEY): | $(BIN)/pip
	@echo "installing .[$(EXTRAS)] into $(VENV)"
	@rm -f $(VENV)/.$*-*
	@$(BIN)/pip install -qq --disable-pip-version-check --editable '.[$(EXTRAS)]'
	@touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "mailmirror needs Python 3.11 or newer and $(PYTHON) is older; name another: make PYTHON=python3.12 ..."; exit 1; }
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2> /dev/null; then \
	    apt="env DEBIAN_FRONTEND=noninteractive apt-get"; \
	    if [ "$$(id -u)" = 0 ]; then become=; \
	    elif sudo -n true 2> /dev/null; then become=sudo; \
	    else echo "python3-venv is missing; type: sudo apt-get install python3-venv"; exit 1; fi; \
	    echo "installing python3-venv"; \
	    $$become $$apt install -y -qq python3-venv > /dev/null 2>&1 || \
	        { $$become $$apt update -qq && $$become $$apt install -y -qq python3-venv > /dev/null; }; \
	fi
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
