# Two targets: `api` serves published snapshots (no compiler, no PyMC); `refresh` ingests and fits.
# The install steps are scripts/install, which tests/test_install.py runs without Docker.
#   docker build --target api -t quietquota-api .        docker run -v quietquota:/var/lib/quietquota -p 8000:8000 quietquota-api
#   docker run -v quietquota:/var/lib/quietquota quietquota-api keys add risk-desk     (off loopback, no request is answered without a key)
#   docker build --target refresh -t quietquota-refresh .
FROM python:3.13-slim-bookworm AS build
WORKDIR /src
COPY scripts/ scripts/
COPY locks/ locks/
COPY pyproject.toml README.md LICENSE ./
COPY data/ data/
COPY model/ model/
COPY service/ service/

FROM build AS build-api
RUN scripts/install api /opt/quietquota

FROM build AS build-refresh
RUN scripts/install refresh /opt/quietquota

FROM python:3.13-slim-bookworm AS runtime
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/quietquota quietquota
ENV PATH=/opt/quietquota/bin:$PATH PYTHONUNBUFFERED=1 QUIETQUOTA_STORE=/var/lib/quietquota
WORKDIR /var/lib/quietquota
USER quietquota
VOLUME /var/lib/quietquota
ENTRYPOINT ["quietquota"]

FROM runtime AS api
COPY --from=build-api /opt/quietquota /opt/quietquota
ENV QUIETQUOTA_HOST=0.0.0.0 NUMBA_CACHE_DIR=/opt/cache/numba
USER root
RUN install --directory --owner=quietquota /opt/cache
USER quietquota
# What what-ifs are filtered by, compiled.
RUN python -m service.what_if_worker /tmp/none < /dev/null
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
CMD ["serve"]

# PyTensor links its small C shims with g++ where it is there; the sampler itself is compiled by XLA and by numba's own LLVM.
FROM runtime AS refresh
USER root
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner=quietquota /opt/cache
USER quietquota
COPY --from=build-refresh /opt/quietquota /opt/quietquota
# Outside the volume, which would hide what is compiled here; writable, since a processor of another kind compiles its own.
ENV PYTENSOR_FLAGS=base_compiledir=/opt/cache/pytensor NUMBA_CACHE_DIR=/opt/cache/numba \
    JAX_COMPILATION_CACHE_DIR=/opt/cache/xla JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0
RUN quietquota warm
CMD ["refresh"]
