# People and CI both run these. Everything lives below .venv and .build; `make clean` leaves the machine as it was.
PYTHON ?= python3
ARGS ?=
SHELL := /bin/bash

.PHONY: demo test check probe bench corpus setup lock clean help

help:            ## say what there is
	@grep -hE '^[a-z]+: .*##|^[a-z]+:  +##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

setup:           ## .venv with locked packages and the player scripts; no root
	@PYTHON=$(PYTHON) scripts/setup

demo: setup      ## a whole delivery network on this machine; ARGS=--check plays it by itself
	@.venv/bin/headrace demo $(ARGS)

test: setup      ## all tests; installs Debian's chromium where it is missing
	@scripts/setup test
	@scripts/check
	@scripts/probe

check: setup     ## lint, types, sizes, import order, unit tests
	@scripts/setup dev
	@scripts/check

probe: setup     ## contract, probe and browser tests on real parts
	@scripts/setup test
	@scripts/probe

bench: setup     ## every script of bench/; installs the peers it can (root)
	@scripts/setup dev
	@scripts/bench

corpus: setup    ## known faults through all levels, docs/corpus.md; hours, goes on where it was stopped; ARGS="--only 'fault-leak-*'"
	@scripts/setup test
	@.venv/bin/python bench/corpus.py $(ARGS)

lock: setup      ## resolve requirements/*.txt anew from pyproject.toml
	@scripts/lock

clean:
	rm -rf .venv .build src/headrace/web/static/vendor demo-run
