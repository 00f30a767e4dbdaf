# Build: docker build -t mailer .    Run: docker compose up
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY mailer mailer
COPY workers workers
COPY templates templates
RUN python -m venv /opt/mailer \
 && /opt/mailer/bin/pip install --no-cache-dir --disable-pip-version-check .

FROM python:3.12-slim
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin mailer \
 && install --directory --owner mailer --group mailer --mode 0700 /data
COPY --from=build /opt/mailer /opt/mailer
ENV PATH=/opt/mailer/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MAILER_STORE__DATA=/data
USER mailer
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=4 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["mailer"]
CMD ["web", "--host", "0.0.0.0", "--port", "8000"]
