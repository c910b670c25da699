# Two stages: the first installs wheels and builds our two C extensions, the second has only the result and no compiler.
# Every dependency is a wheel for amd64 and arm64, and --only-binary makes a missing one an error instead of a build.
# No HEALTHCHECK: Kubernetes' probes do that (manifests/base/deployment.yaml).

FROM python:3.13-slim AS build
WORKDIR /src
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/heapster
COPY requirements.lock ./
RUN /opt/heapster/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY collector collector
COPY sinks sinks
# setuptools builds our own package; it stays out of the environment that is copied. The extensions are optional
# elsewhere, not here.
RUN python -m pip install --no-cache-dir --no-deps --target /opt/heapster/app . \
    && PYTHONPATH=/opt/heapster/app python -c "from collector.sources import _projection; from sinks.influxdb import _lines" \
    && find /opt/heapster -name __pycache__ -prune -exec rm -rf {} + \
    && /opt/heapster/bin/pip uninstall --yes pip

FROM python:3.13-slim
LABEL org.opencontainers.image.title="pyheapster" \
      org.opencontainers.image.description="Cluster metrics for Kubernetes: Heapster, rebuilt on asyncio and NumPy columns" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/heapster /opt/heapster
# What --version says of the source: docker build --build-arg COMMIT=$(git rev-parse HEAD) .
ARG COMMIT=unknown
ENV HEAPSTER_COMMIT=$COMMIT
ENV PATH=/opt/heapster/bin:$PATH \
    PYTHONPATH=/opt/heapster/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# The entry point under the name that old manifests call.
RUN printf '#!/bin/sh\nexec /opt/heapster/bin/python -m collector "$@"\n' > /heapster && chmod 755 /heapster
USER 65532:65532
EXPOSE 8082
ENTRYPOINT ["/heapster"]
