# The CUDA libraries come with the wheels in requirements.lock, so the small base image is enough; the driver is the host's.
# Ubuntu 24.04's Python is 3.12, for which requirements.lock holds too.
FROM nvidia/cuda:13.0.2-base-ubuntu24.04

# g++ and python3-dev: torch.compile and Triton build small modules at run time. git: a run's record names the commit.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
       ca-certificates g++ git make python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system --add safe.directory /headstart

WORKDIR /headstart
COPY Makefile requirements.lock ./
RUN PIP_NO_CACHE_DIR=1 make venv

# Any user may run it: caches and home lie where all may write, and USER names one who is not in /etc/passwd.
RUN install --directory --mode=1777 /cache /headstart/runs
ENV HOME=/cache USER=headstart XDG_CACHE_HOME=/cache \
    TORCHINDUCTOR_CACHE_DIR=/cache/inductor TRITON_CACHE_DIR=/cache/triton

COPY . .
CMD ["make", "bench"]
