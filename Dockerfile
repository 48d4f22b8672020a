# The gateway's image: `make deploy` builds it for arm64 and pushes it. It runs as nobody in particular on a read-only
# file system; all that is ever written is the certificate, on the volume at /run/tls (smtp_gateway/fetched.py).
#
#   docker build --platform linux/arm64 --tag mailrelay-gateway .

FROM python:3.13-slim AS build
COPY locks/gateway.txt /build/gateway.txt
RUN python -m venv --without-pip /opt/gateway
RUN python -m pip --disable-pip-version-check --python /opt/gateway/bin/python install --no-cache-dir \
    --no-deps --only-binary :all: --require-hashes --requirement /build/gateway.txt
COPY layers/relay/relay /opt/gateway/lib/python3.13/site-packages/relay
COPY smtp_gateway /opt/gateway/lib/python3.13/site-packages/smtp_gateway
# Compiled here, because nothing can be written later. By hash: a copy doesn't keep times to the nanosecond.
RUN /opt/gateway/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/gateway/lib/python3.13/site-packages

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin gateway
RUN install --directory --owner gateway --group gateway --mode 0700 /run/tls
COPY --from=build /opt/gateway /opt/gateway
ENV PATH=/opt/gateway/bin:/usr/local/bin:/usr/bin:/bin \
    OPENSSL_CONF=/opt/gateway/lib/python3.13/site-packages/smtp_gateway/openssl.cnf
USER 10001
# Fargate gives a volume of this path the owner that the directory has here (AWS: ECS guide, "Bind mounts").
VOLUME /run/tls
EXPOSE 2587 2465 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["python", "-I", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:%s/health' % os.environ['GATEWAY_HEALTH_LISTEN'].rpartition(':')[2], timeout=4)"]
# -I: nothing but the image decides what is imported. `... smtp_gateway fetch-certificates` is the task's other container.
CMD ["python", "-I", "-m", "smtp_gateway"]
