# Everything that this project does from a shell. `make demo` and `make test` need nothing but Debian and root; the other
# targets are for people who work on wsroute.
#
#   CLUSTER=current   demo, test: use the cluster that KUBECONFIG names, not the local one
#   CLUSTER=none      no cluster at all (demo: standalone)

SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLUSTER ?= local
export CLUSTER

.DEFAULT_GOAL := help
.PHONY: help demo demo-down demo-certificate test unit lint cluster cluster-down image crds docs clean
.PHONY: bench bench-survival bench-rotation bench-rollout bench-handshake

help:
	@echo 'make demo          a chat in your browser, through a balancer on a real local cluster'
	@echo 'make demo-down     stop what the demo started; make demo-certificate gives it a new certificate'
	@echo 'make test          every test that this machine can run'
	@echo 'make unit          the tests that run in seconds'
	@echo 'make lint          ruff, mypy, import-linter'
	@echo 'make cluster       start the local cluster; make cluster-down stops it'
	@echo 'make image         build the images'
	@echo 'make crds docs     write again what is generated from the models'
	@echo 'make bench         measure how fast changes reach the balancer, on a local cluster; and there as well:'
	@echo '     bench-survival    whether sockets outlive every change, on either data plane'
	@echo '     bench-rotation    how fast a new certificate is served'
	@echo '     bench-rollout     whose sockets a rolling restart closes, and when'
	@echo 'make bench-handshake   what a handshake and an open socket cost, beside a plain nginx; without a cluster'

# A Debian without python3-venv gets it here, where we are root.
$(VENV)/.done: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'wsroute needs Python 3.11 or newer.'; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { \
	  echo 'Installing python3-venv…'; rm -rf $(VENV); \
	  DEBIAN_FRONTEND=noninteractive apt-get -qq update && \
	  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y python3-venv >/dev/null && \
	  $(PYTHON) -m venv $(VENV); }
	@echo 'Installing wsroute and its tools into $(VENV)…'
	@$(BIN)/python -m pip install -q --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install -q --group dev -e '.[nginx]'
	@touch $@

demo: $(VENV)/.done
	@$(BIN)/python -m localcluster.demo

demo-down: $(VENV)/.done
	@$(BIN)/python -m localcluster.demo --down

demo-certificate: $(VENV)/.done
	@$(BIN)/python -m localcluster.demo --certificate

test: $(VENV)/.done
	@$(BIN)/python tests/tiers.py

unit: $(VENV)/.done
	@$(BIN)/python -m pytest -q tests/unit

lint: $(VENV)/.done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy operator/wsroute localcluster tests bench examples/chat/app
	$(BIN)/lint-imports

cluster: $(VENV)/.done
	@$(BIN)/python -m localcluster up

cluster-down: $(VENV)/.done
	@$(BIN)/python -m localcluster down

image: $(VENV)/.done
	@$(BIN)/python -m localcluster image build

crds docs: $(VENV)/.done
	$(BIN)/python -m wsroute.api.schema
	$(BIN)/python -m wsroute.api.reference

bench: $(VENV)/.done
	@$(BIN)/python -m bench.propagation

bench-survival: $(VENV)/.done
	@$(BIN)/python -m bench.survival --full

bench-rotation: $(VENV)/.done
	@$(BIN)/python -m bench.rotation

bench-rollout: $(VENV)/.done
	@$(BIN)/python -m bench.rollout

bench-handshake: $(VENV)/.done
	@$(BIN)/python -m bench.handshake

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
