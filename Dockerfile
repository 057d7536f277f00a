# streamer in a container: `docker build --target cpu .`, or `--target gpu` for NVIDIA GPUs.
#
# The model is fetched while the image is built and checked by its SHA-256; nothing is fetched when
# it runs. The user is not root, and the file system may be read-only (docker-compose.yml has it so).
# The program is process 1 by itself: it hears SIGTERM, ends within 5 seconds and waits for what it
# started (tests/faults/test_stop.py runs it so).
ARG PYTHON=3.11.13-slim-bookworm

FROM python:${PYTHON} AS base
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /src

FROM base AS wheel
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY models/registry.toml models/
COPY configs/demo.yaml configs/
COPY streamer/ streamer/
RUN python -m venv /build \
    && /build/bin/pip install --quiet -c constraints.txt hatchling \
    && /build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels .

# The versions are those of the tests; the list of what is in the image is made from what is there.
FROM base AS install-cpu
COPY --from=wheel /wheels /wheels
COPY constraints.txt ./
RUN python -m venv /opt/streamer \
    && /opt/streamer/bin/pip install --quiet -c constraints.txt "$(ls /wheels/*.whl)[cpu]" \
    && XDG_CACHE_HOME=/tmp/cache /opt/streamer/bin/streamer models pull \
    && mkdir -p /opt/streamer/models \
    && mv /tmp/cache/streamer/models/*.onnx /opt/streamer/models/ \
    && /opt/streamer/bin/python -m compileall -q /opt/streamer/lib
RUN python -m venv /sbom \
    && /sbom/bin/pip install --quiet "cyclonedx-bom==7.1.0" \
    && /sbom/bin/cyclonedx-py environment /opt/streamer/bin/python --of JSON \
        -o /opt/streamer/sbom.cdx.json

FROM base AS install-gpu
COPY --from=wheel /wheels /wheels
COPY constraints.txt ./
RUN python -m venv /opt/streamer \
    && /opt/streamer/bin/pip install --quiet -c constraints.txt "$(ls /wheels/*.whl)[gpu]"
COPY --from=install-cpu /opt/streamer/models /opt/streamer/models
RUN python -m venv /sbom \
    && /sbom/bin/pip install --quiet "cyclonedx-bom==7.1.0" \
    && /sbom/bin/cyclonedx-py environment /opt/streamer/bin/python --of JSON \
        -o /opt/streamer/sbom.cdx.json

FROM python:${PYTHON} AS run
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="streamer" \
      org.opencontainers.image.description="Finds every face on live cameras, and says so while it is true" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/opt/streamer/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 \
    RETINAFACE_MODEL_PATH=/opt/streamer/models \
    XDG_CACHE_HOME=/var/cache/streamer
RUN groupadd --gid 10001 streamer \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin streamer \
    && install -d -o 10001 -g 10001 /var/cache/streamer
USER 10001:10001
WORKDIR /etc/streamer
EXPOSE 8080 5555
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["streamer"]
CMD ["run", "/etc/streamer/streamer.yaml"]

FROM run AS gpu
# What NVIDIA's container toolkit brings in of the driver: to compute, to decode, and nvidia-smi.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video
COPY --from=install-gpu /opt/streamer /opt/streamer

# The last target is what `docker build .` makes.
FROM run AS cpu
COPY --from=install-cpu /opt/streamer /opt/streamer
