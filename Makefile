# Three commands on a fresh machine with Python 3.11+, git and make:
#
#   make demo    import -> consume -> similar, on an embedded file with sample_data/
#   make test    every test and check, on real servers from installed packages
#   make bench   how fast beside the bare limits: BENCH="consume --sizes 1000 --rounds 1" for a part
#
# Each makes .venv first, from any Python: make demo PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test bench readme clean

demo: $(VENV)/ready
	@$(BIN)/recsys demo --home .demo

test: $(VENV)/ready-to-test
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal $(PYTEST)

bench: $(VENV)/ready-to-bench
	@$(BIN)/python -m tests.benchmarks $(BENCH)

# Write the outputs, settings and help into README.md again.
readme: $(VENV)/ready-to-test
	$(BIN)/python -m tests.readme

clean:
	rm -rf $(VENV) .demo

$(VENV)/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("recsys needs Python 3.11 or newer; $(PYTHON) is %d.%d. Say which: make PYTHON=python3.12" % sys.version_info[:2])'
	@echo "setting up $(VENV) (once, a minute or so)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/ready-to-test: $(VENV)/ready
	@echo "adding what the tests need (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

$(VENV)/ready-to-bench: $(VENV)/ready-to-test
	@echo "adding what the benchmarks compare with (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@
