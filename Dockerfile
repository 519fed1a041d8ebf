# SAFA in a container, on the CPU:                docker build -t safa .
# with CUDA (the driver is all the host needs):   docker build -t safa --build-arg TORCH=cu126 .
#   docker run --rm -v "$PWD:/work" safa upscale in.mp4 -o out.mp4            (--gpus all for CUDA)
FROM python:3.11-slim-bookworm AS build
ARG TORCH=

# g++ builds the native engine; it stays behind in this stage.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /source
COPY constraints.txt ./
# PyTorch first and by itself, if it is wanted: the largest part, and the one that source changes leave as it is.
RUN python -m venv /opt/safa \
    && version="$(sed -n 's/^torch==//p' constraints.txt)" \
    && if [ -n "${TORCH}" ]; then /opt/safa/bin/pip install --no-cache-dir \
        --index-url "https://download.pytorch.org/whl/${TORCH}" "torch==${version}"; fi
COPY pyproject.toml setup.py README.md LICENSE NOTICE ./
COPY src src
RUN /opt/safa/bin/pip install --no-cache-dir --constraint constraints.txt .

FROM python:3.11-slim-bookworm
COPY --from=build /opt/safa /opt/safa
RUN useradd --create-home --uid 1000 safa
USER 1000
WORKDIR /work
ENTRYPOINT ["/opt/safa/bin/safa"]
CMD ["--help"]
