# Everything a newcomer needs: `make demo` shows it working, `make test` proves it.
# Needs Python 3.11+ (with venv) and make. PYTHON=python3.12 make test picks another interpreter.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Tests start hundreds of interpreters: compiled once, what each imports takes a third less time.
unexport PYTHONDONTWRITEBYTECODE
# Where tests keep their files, if there is room for them: on a busy disk an `fsync` takes as long as a test.
MEMORY := $(shell test "$$(df --output=avail /dev/shm 2>/dev/null | tail -1)" -gt 4000000 2>/dev/null && echo /dev/shm)
# Groups of tests that run side by side, in about the same time; most wait for processes and servers.
HOSTS     := $(patsubst %,tests/lifecycle/test_%.py,celery dev_servers gunicorn rq server_examples uwsgi) tests/surroundings
hosts     := $(HOSTS)
PROCESSES := tests/lifecycle tests/unit/test_types.py
processes := $(PROCESSES) $(addprefix --ignore=,$(HOSTS))
BACKEND   := tests/integration/server $(wildcard tests/integration/test_local_backend*.py)
backend   := $(BACKEND) tests/property
servers   := tests/integration $(addprefix --ignore=,$(BACKEND))
store     := tests/unit/server
others    := $(addprefix --ignore=,$(PROCESSES) tests/surroundings tests/integration tests/property tests/browser tests/clickhouse tests/frameworks $(store))
# Only the files that have such a test: all together take ten seconds to collect.
alone      = $(shell grep -rl --include='test_*.py' 'pytest\.mark\.alone' tests)
# Compiled on the spot; needs a C compiler and Python's headers.
UWSGI  := uwsgi==2.0.31
# The benchmarks' peers would weigh on everybody's environment.
BENCH_VENV  := .venv-bench
BENCH       := $(BENCH_VENV)/bin/python -m tests.benchmarks
BENCH_STAMP := $(BENCH_VENV)/.installed
# The providers' packages at the versions that the table was made with; NEWEST=1: at those of today.
COLLECTORS    := rotel mlflow phoenix
COLLECTORS_PYTHON ?= python3.12
SDKS_VENV     := .venv-sdks$(if $(NEWEST),-newest)
SDKS_PACKAGES := $(if $(NEWEST),sed 's/==.*//',cat) tests/sdks/pinned.txt
SDKS_TABLE    := $(if $(NEWEST),$(SDKS_VENV),tests/sdks)/TABLE.md

# What drives a browser, which is the system's: on Debian, the package chromium.
BROWSER_VENV  := .venv-browser
BROWSER_STAMP := $(BROWSER_VENV)/.installed
AXE           := axe-core@4.14.1
BROWSER       := $(and $(shell command -v chromium 2>/dev/null),$(shell command -v npm 2>/dev/null))

PRICES_VENV := .venv-prices

# An embedded ClickHouse is a large package.
CLICKHOUSE_VENV  := .venv-clickhouse
CLICKHOUSE_STAMP := $(CLICKHOUSE_VENV)/.installed

# The frameworks that have an integration, in their current releases.
FRAMEWORKS_VENV  := .venv-frameworks
FRAMEWORKS_STAMP := $(FRAMEWORKS_VENV)/.installed

.PHONY: test demo serve lint types check check-alone check-browser test-browser screenshots test-clickhouse test-integrations test-sdks test-pythons prices collectors soak bench-quick bench bench-app wrk clean

test: lint $(STAMP)           ## lint, types and all tests
	@$(MAKE) --no-print-directory check BEFORE_PROCESSES=types

demo: $(STAMP)                ## 1,000 records through an outage, counted in a real database; KEEP=1: to be looked at
	$(BIN)/python examples/demo.py $(if $(KEEP),--keep)

serve: $(STAMP)               ## the local backend on http://127.0.0.1:8787
	$(BIN)/banyan-hp serve --seed examples/seed.json

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

# The types come before the smallest group, which asks mypy, too, and finds its cache filled.
check: $(STAMP) $(if $(BROWSER),$(BROWSER_STAMP)) ## all tests: seven groups side by side, then, alone, what measures time
	@said=$$(mktemp -d $(if $(MEMORY),$(MEMORY)/t.XXXX)) && trap 'rm -rf "$$said"' EXIT; \
	mkdir "$$said/t" && export TMPDIR="$$said/t"; \
	for group in hosts processes servers backend store browser; do \
		before=; test $$group != processes || before="$(BEFORE_PROCESSES)"; \
		$(MAKE) --no-print-directory --keep-going $$before check-$$group >"$$said/$$group" 2>&1 || touch "$$said/failed" & \
	done; \
	$(MAKE) --no-print-directory check-others || touch "$$said/failed"; \
	wait; cat "$$said/hosts" "$$said/processes" "$$said/servers" "$$said/backend" "$$said/store" "$$said/browser"; \
	$(MAKE) --no-print-directory check-alone && test ! -e "$$said/failed"

check-alone: $(STAMP)
	@$(BIN)/pytest $(alone) -m "alone and not soak"

check-%: $(STAMP)             ## one group: hosts, processes, servers, backend, store or others
	@$(BIN)/pytest $($*) -m "not soak and not alone"

check-browser:                ## those of the pages, where there is a browser
	@$(if $(BROWSER),$(MAKE) --no-print-directory test-browser,echo "The tests of the pages are skipped: they need chromium and npm")

test-browser: $(BROWSER_STAMP) ## the pages in a real browser
	@$(BROWSER_VENV)/bin/pytest tests/browser

screenshots: $(BROWSER_STAMP) ## the README's pictures of the pages, in examples/screenshots; dark ones to look at
	$(BROWSER_VENV)/bin/python -m tests.browser.screenshots examples/screenshots $(BROWSER_VENV)/dark

test-clickhouse: $(CLICKHOUSE_STAMP) ## the backend with its calls in an embedded ClickHouse
	@$(CLICKHOUSE_VENV)/bin/pytest tests/clickhouse

test-integrations: $(FRAMEWORKS_STAMP) ## the integrations with the real frameworks: Django, Celery, LangChain, LiteLLM and others
	@$(FRAMEWORKS_VENV)/bin/pytest tests/frameworks

test-sdks:                    ## what is recorded of the providers' packages, cell by cell; NEWEST=1: of today's
	$(PYTHON) -m venv $(SDKS_VENV)
	$(SDKS_VENV)/bin/python -m pip install --quiet --use-pep517 --editable . hypothesis pytest pytest-timeout
	$(SDKS_PACKAGES) | $(SDKS_VENV)/bin/python -m pip install --quiet --upgrade --requirement /dev/stdin
	rm -rf *.egg-info build
	$(SDKS_VENV)/bin/pytest tests/sdks tests/integration/test_tracking_sdks.py --table $(SDKS_TABLE)

test-pythons:                 ## the tests on each Python there is; PYTHONS="path path": on these, too; OPTIONS: pytest's
	$(PYTHON) -m tests.pythons $(OPTIONS)

prices:                       ## the backend's prices per model, from the newest genai-prices
	$(PYTHON) -m venv $(PRICES_VENV)
	$(PRICES_VENV)/bin/python -m pip install --quiet --upgrade genai-prices
	$(PRICES_VENV)/bin/python -m tests.support.make_prices

collectors:                    ## rotel, MLflow and Phoenix for `make soak`; COLLECTORS_PYTHON: one with a shared libpython3.12
	for name in $(COLLECTORS); do \
	  $(COLLECTORS_PYTHON) -m venv .collectors/$$name && \
	  .collectors/$$name/bin/python -m pip install --quiet $$(echo $$name | sed 's/^rotel$$/rotel confluent-kafka/; s/^phoenix$$/arize-phoenix/') || exit 1; \
	done

# What happens rarely is what they look for: no test begins anew.
soak: export FIRST_TIME = 1
soak: $(STAMP) $(CLICKHOUSE_STAMP) $(FRAMEWORKS_STAMP) ## the long variants of the stress tests, some minutes
	SOAK=1 $(BIN)/pytest tests/lifecycle/test_spool_survival.py tests/property tests/integration/server/test_document_holds.py tests/unit/server/api/test_nasty.py tests/unit/engine/delivery/test_final_write.py -o timeout=600
	$(BIN)/pytest -m soak -o timeout=900
	$(CLICKHOUSE_VENV)/bin/pytest tests/clickhouse -m soak -o timeout=900
	$(FRAMEWORKS_VENV)/bin/pytest tests/frameworks -m soak -o timeout=900

bench-quick: $(STAMP)         ## the library beside a hand-written floor, within a minute
	$(BIN)/python -m tests.benchmarks --quick

bench: $(BENCH_STAMP) wrk     ## everything, beside the floor and the peers, within 15 minutes
	$(BENCH) --json bench.json --history tests/benchmarks/history.jsonl
	$(BENCH_VENV)/bin/python -m tests.benchmarks.plot tests/benchmarks

bench-app: $(BENCH_STAMP) wrk ## a Flask application under load only
	$(BENCH) --only app

wrk:                          ## the load generator of the application's benchmark
	@command -v wrk >/dev/null || apt-get install -y wrk || \
		{ echo "make bench needs wrk: install it with your package manager, then try again" >&2; exit 1; }

clean:
	rm -rf $(VENV) $(BENCH_VENV) $(BROWSER_VENV) $(CLICKHOUSE_VENV) $(FRAMEWORKS_VENV) $(PRICES_VENV) .venv-sdks .venv-sdks-newest .venv-py .collectors bench.json build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): setup.cfg setup.py
	$(PYTHON) -c 'import sys; sys.exit("banyan_hp needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --use-pep517 --editable '.[dev]'
	$(BIN)/python -m pip install --quiet $(UWSGI) 2>/dev/null || echo "$(UWSGI) can't be built here: its tests are skipped"
	rm -rf *.egg-info build
	touch $@

$(BENCH_STAMP): setup.cfg setup.py
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet --use-pep517 --editable '.[bench]'
	rm -rf *.egg-info build
	touch $@

$(FRAMEWORKS_STAMP): setup.cfg setup.py
	$(PYTHON) -m venv $(FRAMEWORKS_VENV)
	$(FRAMEWORKS_VENV)/bin/python -m pip install --quiet --use-pep517 --editable '.[frameworks]'
	rm -rf *.egg-info build
	touch $@

$(CLICKHOUSE_STAMP): setup.cfg setup.py
	$(PYTHON) -m venv $(CLICKHOUSE_VENV)
	$(CLICKHOUSE_VENV)/bin/python -m pip install --quiet --use-pep517 --editable '.[chdb]'
	rm -rf *.egg-info build
	touch $@

# axe-core, which looks for what shuts people out, is read from its npm package.
$(BROWSER_STAMP): setup.cfg setup.py
	@$(if $(BROWSER),,echo "the tests of the pages need chromium and npm: install them with your package manager" >&2; exit 1)
	$(PYTHON) -m venv $(BROWSER_VENV)
	$(BROWSER_VENV)/bin/python -m pip install --quiet --use-pep517 --editable '.[browser]'
	rm -rf *.egg-info build $(BROWSER_VENV)/axe-core-*.tgz
	npm pack --silent --pack-destination $(BROWSER_VENV) $(AXE)
	touch $@
