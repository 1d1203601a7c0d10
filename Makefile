# make demo    the whole story in this terminal, on its own sandbox; it needs nothing outside this folder
#              CRM=salesforce, pipedrive or zoho tells it on theirs, ONCE=1 ends with 0 or 1
# make test    every test, on a real PostgreSQL and a real Redis that it obtains and starts itself
#              JOBS=4 as many at a time; TESTS=tests/rules only these; THOROUGH=1 a thousand examples for each property
# make check   format, lint, types, import contracts
# make bench   the benchmarks, as ratios to floors measured in the same run
# make chaos   processes killed, stores flushed, answers lost; then counted
# make setup   the virtual environment alone; all of the above do it by themselves
# make lock    resolve the dependencies of pyproject.toml anew

.PHONY: demo test check bench chaos setup lock
.DEFAULT_GOAL := demo

# uv compiles nothing ahead of time; forbidden to keep what is compiled, every process would take seconds to start.
unexport PYTHONDONTWRITEBYTECODE

RUN = .venv/bin

demo:
	@PYTHON="$(PYTHON)" .ci/setup run
	@$(RUN)/gateway demo $(if $(CRM),--crm $(CRM)) $(if $(STORY),--story $(STORY)) $(if $(filter-out 0,$(ONCE)),--once)

test: setup
	@$(RUN)/python -m pytest -n $(or $(JOBS),2) $(if $(filter-out 0,$(THOROUGH)),--hypothesis-profile thorough) $(TESTS)

check: setup
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy gateway connectors rules tests
	$(RUN)/lint-imports

bench: setup
	@$(RUN)/python -m tests.benchmarks

chaos: setup
	@$(RUN)/python -m tests.chaos --seeds $(or $(SEEDS),5)

setup:
	@PYTHON="$(PYTHON)" .ci/setup dev

# Hashes and no addresses: every mirror of the registry serves the same files. `make lock UPGRADE=--upgrade` takes the newest.
RESOLVE = $(RUN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header pyproject.toml
lock: setup
	$(RESOLVE) $(UPGRADE) --extra build -o requirements.txt
	$(RESOLVE) $(UPGRADE) --extra build --extra dev --constraint requirements.txt -o requirements-dev.txt
	echo uv | $(RUN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header - -o requirements-installer.txt
