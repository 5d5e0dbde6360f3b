# The pinned requirements and the last commit, for KubeRay and, in place of set-up commands, for Ray's launcher:
#   docker build --tag REGISTRY/fgcme:$(git rev-parse --short=12 HEAD) .
FROM python:3.11.13-slim-bookworm

# git tells the commit that a run is tagged with; KubeRay asks by wget whether a node lives; the launcher uses rsync.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git rsync wget \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system --add safe.directory /opt/fgcme

WORKDIR /opt/fgcme
# First what changes seldom. Into the image's own Python: login shells, which KubeRay starts, forget any other PATH.
COPY requirements.lock .
RUN pip install --no-cache-dir uv==0.13.9 && uv pip install --system --no-cache --requirement requirements.lock
# The commit, and nothing that is not committed.
COPY .git .git
RUN git reset --quiet --hard && uv pip install --system --no-cache --no-deps --editable .
