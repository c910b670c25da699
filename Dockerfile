# Two stages: the first installs wheels, builds our C extensions and lists what is in the image (SBOM); the second has
# only the result, no compiler and no installer. Every dependency is a wheel for amd64 and arm64, pinned by hash, and
# --only-binary makes a missing one an error instead of a build. No HEALTHCHECK: Kubernetes' probes do that.
#
#     docker buildx build --platform linux/amd64,linux/arm64 --build-arg COMMIT=$(git rev-parse HEAD) -t REGISTRY/pyheapster .
#
# `make image-proof` runs these steps without a container engine; docs/deploy.md says what that does not show.

FROM python:3.13-slim-trixie AS build
WORKDIR /src
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/heapster && python -m venv /opt/tools
COPY requirements.lock requirements-image.lock ./
RUN /opt/heapster/bin/pip install --no-cache-dir --no-compile --require-hashes --only-binary :all: -r requirements.lock \
    && /opt/tools/bin/pip install --no-cache-dir --no-compile --require-hashes --only-binary :all: -r requirements-image.lock
COPY pyproject.toml README.md LICENSE ./
COPY collector collector
COPY sinks sinks
# The extensions are optional elsewhere, not here. -I: the installed package, not the sources beside it.
RUN /opt/tools/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist . \
    && /opt/heapster/bin/pip install --no-cache-dir --no-compile --no-deps /dist/*.whl \
    && /opt/heapster/bin/python -I -c "from collector.api import _objects; from collector.core import _place; from collector.sim import _lanes; from collector.sources import _projection, _resource; from sinks.influxdb import _lines"
# Headers, tests, the installer and what of Arrow nobody calls (RPC, S3: 50 MB) stay here. Modules are
# compiled now, since nothing can be written next to them later.
RUN /opt/heapster/bin/pip uninstall --yes pip \
    && cd /opt/heapster/lib/python3.13/site-packages \
    && rm -rf numpy/_core/include pyarrow/include pyarrow/tests pyarrow/*flight* pyarrow/*_s3* \
    && find numpy -type d -name tests -prune -exec rm -rf {} + \
    && /opt/heapster/bin/python -I -c "import duckdb, pyarrow.dataset, pyarrow.parquet" \
    && find /opt/heapster -type d -name __pycache__ -prune -exec rm -rf {} + \
    && /opt/heapster/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/heapster/lib
RUN /opt/tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-format JSON \
    --output-file /opt/heapster/sbom.cdx.json /opt/heapster/bin/python

FROM python:3.13-slim-trixie
LABEL org.opencontainers.image.title="pyheapster" \
      org.opencontainers.image.description="Cluster metrics for Kubernetes: Heapster, rebuilt on asyncio and NumPy columns" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13-slim-trixie"
# The base's own installer goes; the entry point has the name that old manifests call.
RUN python -m pip uninstall --yes pip \
    && rm -rf "$(python -c 'import ensurepip; print(ensurepip.__path__[0])')" \
    && printf '#!/bin/sh\nexec /opt/heapster/bin/python -m collector "$@"\n' > /heapster && chmod 755 /heapster
COPY --from=build /opt/heapster /opt/heapster
ENV PATH=/opt/heapster/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# What --version says of the source.
ARG COMMIT=unknown
ENV HEAPSTER_COMMIT=$COMMIT
LABEL org.opencontainers.image.revision=$COMMIT
WORKDIR /
USER 65532:65532
EXPOSE 8082 6443
ENTRYPOINT ["/heapster"]
