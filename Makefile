# Everything a newcomer types. `make demo` and `make test` set themselves up; nothing else has to be done by hand.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=

.PHONY: demo test fuzz check bench bench-full bench-compare soak setup system docs lock sbom image-proof clean

demo: setup            ## the main job on the simulated cluster: make demo ARGS="--cycles 2 --nodes 20"
	$(BIN)/heapster demo $(ARGS)

test: system setup     ## every test, real servers included: make test ARGS="-k rate"
	$(BIN)/python -m pytest $(ARGS)

fuzz: setup            ## made-up requests to the running collector, made-up names in answers, some minutes: make fuzz FUZZ_EXAMPLES=2000 FUZZ_SEED=1
	FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-500} $(BIN)/python -m pytest tests/e2e/test_fuzz.py tests/e2e/test_hostile_names.py $(ARGS)

soak: setup system     ## the collector killed 200 times, against a real database, and 1,000 ticks of churn: a quarter of an hour
	SOAK_KILLS=$${SOAK_KILLS:-200} $(BIN)/python -m pytest tests/sinks/test_spooled_influxdb.py -k killed_at_any_moment $(ARGS)
	SOAK_TICKS=$${SOAK_TICKS:-1000} $(BIN)/python -m pytest tests/faults/test_memory.py $(ARGS)

check: setup           ## lint, types, layers, generated docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

bench: setup           ## CPU seconds, memory, throughput and latency of small and middle clusters, a few minutes
	$(BIN)/python -m benchmarks $(ARGS)

bench-full: setup      ## the same for everything, 5,000 nodes and the sinks included: make bench-full ARGS="--against ./heapster"
	$(BIN)/python -m benchmarks --full $(ARGS)

bench-compare: setup   ## two revisions, pair by pair: make bench-compare OLD=v0.1 NEW=HEAD ARGS="--shape 100-nodes"
	$(BIN)/python -m benchmarks.compare $(OLD) $(NEW) $(ARGS)

setup: $(VENV)/.ready

$(VENV)/.ready: requirements-dev.lock pyproject.toml collector/api/_objects.c collector/core/_place.c collector/sim/_lanes.c collector/sources/_projection.c collector/sources/_resource.c sinks/influxdb/_lines.c
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --no-deps -e .
	touch $@

system:                ## a C compiler and the real servers the tests start; installs the missing ones where it may
	./.ci/system-packages

docs: setup            ## write the generated pages again
	$(BIN)/python docs/generate.py

lock:                  ## resolve the dependencies again (needs uv)
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11 \
	    pyproject.toml -o requirements.lock
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11 \
	    -c requirements.lock --extra dev pyproject.toml -o requirements-dev.lock
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --python-version 3.11 \
	    --group image -o requirements-image.lock

sbom:                  ## what the collector is made of, as CycloneDX: build/sbom.cdx.json
	rm -rf build/sbom && $(PYTHON) -m venv build/sbom/heapster && $(PYTHON) -m venv build/sbom/tools
	build/sbom/heapster/bin/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements.lock
	build/sbom/tools/bin/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements-image.lock
	build/sbom/heapster/bin/python -m pip uninstall --quiet --yes pip setuptools
	build/sbom/tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-format JSON \
	    --output-file build/sbom.cdx.json build/sbom/heapster/bin/python

image-proof:           ## the Dockerfile's steps without a container engine: needs root and debootstrap, some minutes
	$(PYTHON) .ci/image_steps.py $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info collector/*/*.so sinks/*/*.so
