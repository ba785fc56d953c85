# syntax=docker/dockerfile:1

# The server's image. Three stages build it, a fourth runs it:
#   skeleton   the workspace without its code: manifests, lock file, empty targets
#   build      dependencies first, from the skeleton; they are compiled again only when a manifest changes
#   runtime    the binary, a user without rights, nothing else

ARG RUST_VERSION=1.95.0
ARG DEBIAN_RELEASE=trixie

FROM rust:${RUST_VERSION}-slim-${DEBIAN_RELEASE} AS skeleton
WORKDIR /workspace
COPY . .
# What names a target stays, emptied; all other code goes. The result depends on the manifests and on the list of
# targets alone, so the layer that is built on it survives every other change.
RUN mkdir /skeleton \
    && find . -type f \( -name Cargo.toml -o -name Cargo.lock \) -exec cp --parents {} /skeleton \; \
    && find . -type f \( -path '*/src/lib.rs' -o -path '*/src/main.rs' -o -path '*/src/bin/*.rs' -o -name build.rs \
        -o -path '*/benches/*.rs' -o -path '*/examples/*.rs' -o -regex '.*/tests/[^/]*\(/main\)?\.rs' \) \
        -exec sh -c 'mkdir -p "/skeleton/$(dirname "$1")" && echo "fn main() { }" > "/skeleton/$1"' _ {} \;

FROM rust:${RUST_VERSION}-slim-${DEBIAN_RELEASE} AS build
ARG RUST_VERSION
# The toolchain of this image, whatever components rust-toolchain.toml wants for development.
ENV RUSTUP_TOOLCHAIN=${RUST_VERSION} \
    CARGO_INCREMENTAL=0
WORKDIR /workspace
COPY --from=skeleton /skeleton .
RUN cargo build --release --locked -p flamingock-server
COPY . .
# Newer than the emptied targets, or cargo would take those for the code.
# Not below target: generated code there is the dependencies'.
RUN find . -path ./target -prune -o -name '*.rs' -exec touch {} + \
    && cargo build --release --locked -p flamingock-server

FROM debian:${DEBIAN_RELEASE}-slim AS runtime
LABEL org.opencontainers.image.title="flamingock-server" \
      org.opencontainers.image.description="The Flamingock coordination server: plans, locks and the append-only audit" \
      org.opencontainers.image.licenses="Apache-2.0"
# No package is added: public certificate authorities are compiled in, a private one is named by sslrootcert in the URL.
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin flamingock
COPY --from=build /workspace/target/release/flamingock-server /usr/local/bin/flamingock-server
USER 10001:10001
# Inside a container the loopback interface reaches nobody; which ports are published is decided outside.
ENV FLAMINGOCK_LISTEN=0.0.0.0:8080 \
    FLAMINGOCK_LOG_FORMAT=json
EXPOSE 8080
# SIGTERM begins an orderly stop: give it longer than FLAMINGOCK_HTTP_SHUTDOWN_GRACE before it is killed.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=40s --retries=3 CMD ["flamingock-server", "healthcheck"]
ENTRYPOINT ["flamingock-server"]
CMD ["serve"]
