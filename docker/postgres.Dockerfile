# PostgreSQL from Debian's package, for places without a registry; elsewhere
# use the official image.  It understands what that one does as far as
# docker/postgres-entrypoint says.
#
#     docker build -f docker/postgres.Dockerfile -t nginx-commerce-postgres .

ARG BASE=debian:trixie-slim


FROM ${BASE}
USER 0:0
# the numbers of the official image: volumes fit both
RUN groupadd --gid 999 postgres \
    && useradd --uid 999 --gid 999 --home-dir /var/lib/postgresql \
               --shell /bin/sh postgres
COPY docker/stages/postgres docker/stages/apt.sh /stages/
COPY docker/apt.d/ /stages/apt.d/
RUN ["/bin/sh", "/stages/postgres"]
COPY docker/postgres-entrypoint /usr/local/bin/
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/lib/postgresql/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PGDATA=/var/lib/postgresql/data \
    LANG=C.UTF-8
LABEL org.opencontainers.image.title="PostgreSQL for nginx-commerce"
VOLUME /var/lib/postgresql/data
EXPOSE 5432
USER 999:999
STOPSIGNAL SIGINT
ENTRYPOINT ["/usr/local/bin/postgres-entrypoint"]
CMD ["postgres"]
