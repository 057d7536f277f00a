# streamer: `make demo` shows it at work, `make test` proves it. Everything lands in this folder.
#
#   PYTHON=python3.12   another interpreter       EXTRA=cpu|gpu|gpu-cu12   another ONNX Runtime
#   SECONDS=20          ends the demo by itself   PACKAGES=no              no Debian packages

PYTHON   ?=
EXTRA    ?= $(shell scripts/choose_extra.sh)
SECONDS  ?=
PACKAGES ?= yes
ARGS     ?=

BIN   := .venv/bin
MODEL := models/retinaface_mnet025.onnx

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test check bench bench-peers bench-cameras bench-streaming bench-viewers bench-asked bench-events bench-gpu test-gpu faults soak fuzz fuzz-http docs docs-site screenshots constraints clean install install-dev packages

help:
	@echo "make demo            is the place to start. The rest:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-15s %s\n", $$1, $$2}' Makefile

demo: install $(MODEL) ## recorded cameras, found faces, a live page (SECONDS=20 ends it)
	@$(BIN)/streamer demo $(if $(SECONDS),--seconds $(SECONDS))

test: install-dev packages $(MODEL) check ## every check and every test (ARGS=... chooses among the tests that are not tests/faults)
	@$(BIN)/python -m pytest -n 3 --dist loadfile --durations=5 $(ARGS)
	@$(if $(ARGS),,$(BIN)/python -m pytest tests/faults --durations=5)

check: install-dev ## ruff, mypy and the links of the documentation
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs --quiet build

bench: install-dev $(MODEL) ## measure this machine: one table (ARGS=... goes to it)
	@$(BIN)/python benchmarks/bench.py $(ARGS)

bench-peers: install-dev $(MODEL) ## other programs on the same clip and machine (ARGS=--heavy: InferencePipeline too, gigabytes)
	@$(BIN)/python -m benchmarks.peers $(ARGS)

test-gpu: install-dev $(MODEL) ## what needs an NVIDIA GPU (make EXTRA=gpu)
	@$(BIN)/python -m pytest tests/gpu tests/inference $(ARGS)

bench-cameras: install-dev $(MODEL) ## how many cameras two cores hold with every result fresh (10 minutes)
	@$(BIN)/python -m benchmarks.cameras $(ARGS)

bench-streaming: install-dev $(MODEL) ## which settings are best by streaming accuracy, as simulated (ARGS=--real: as run)
	@$(BIN)/python -m benchmarks.streaming $(ARGS)

bench-viewers: install-dev $(MODEL) ## what viewers cost, and from capture to the pixel in the page (ARGS=... goes to the first)
	@$(BIN)/python -m benchmarks.viewers $(ARGS)
	@$(BIN)/python -m benchmarks.page_latency

bench-asked: install-dev $(MODEL) ## what fifty programs that send pictures cost the cameras (a minute and a half)
	@$(BIN)/python -m benchmarks.asked $(ARGS)

fuzz: install-dev ## bytes from strangers at the doors of publishing for MINUTES=10
	@$(BIN)/python -m benchmarks.fuzz --minutes $(or $(MINUTES),10)

bench-events: install-dev ## what publishing costs, and what stopped and fleeting subscribers do to it (5 minutes)
	@$(BIN)/python -m benchmarks.events --write $(ARGS)

bench-gpu: install-dev $(MODEL) ## measure the GPU (make EXTRA=gpu)
	@$(BIN)/python -m benchmarks.bench_gpu $(ARGS)

install: ## only install, into .venv
	@scripts/install.sh "$(EXTRA)" "$(PYTHON)"

install-dev: ## only install, with the tools that check and test
	@scripts/install.sh "$(EXTRA)" "$(PYTHON)" dev

packages: # what the tests need of Debian; it never stops the make
ifneq ($(PACKAGES),no)
	@scripts/install_test_packages.sh || true
endif

faults: install-dev packages $(MODEL) ## every way a camera fails, against the real program (half an hour)
	@$(BIN)/python -m pytest tests/faults --every-row --timeout 900 $(ARGS)

fuzz-http: install-dev packages $(MODEL) ## every phase of schemathesis against the running program
	@FUZZ=whole $(BIN)/python -m pytest tests/web/test_schema.py $(ARGS)

soak: install-dev packages $(MODEL) ## cameras come, go and fail for MINUTES=20: does anything grow?
	@$(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),20)

docs: install-dev ## write what the documents take from the code
	@$(BIN)/python -m scripts.write_docs
	@$(BIN)/python -m scripts.write_reliability
	@$(BIN)/python -m scripts.write_performance

docs-site: install-dev ## the documentation as a site, in build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs --quiet build && echo build/site/index.html

screenshots: install-dev packages $(MODEL) ## take the pictures of the documents anew
	@$(BIN)/python -m scripts.make_screenshots

constraints: ## choose the exact versions in constraints*.txt anew
	@scripts/lock.sh

clean: ## remove .venv and everything built; fetched models stay
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(MODEL): | install
	@$(BIN)/streamer models pull
