# The pinned requirements and the last commit, for KubeRay and, in place of set-up commands, for Ray's launcher:
#   docker build --tag REGISTRY/fgcme:$(git rev-parse --short=12 HEAD) .
FROM python:3.11.13-slim-bookworm

# git: for the commit that runs are tagged with; wget: for KubeRay's health checks; openssh-client: the launcher's head
# starts machines by it; rsync, tmux: `ray rsync-up` and `ray exec --tmux`.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git openssh-client rsync tmux wget \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system --add safe.directory /opt/fgcme

WORKDIR /opt/fgcme
# Requirements first: they change seldom. Into the system's Python: KubeRay starts login shells, which reset PATH.
COPY requirements.lock .
RUN pip install --no-cache-dir uv==0.13.9 && uv pip install --system --no-cache --requirement requirements.lock
# Only what is committed.
COPY .git .git
RUN git reset --quiet --hard && uv pip install --system --no-cache --no-deps --editable .
