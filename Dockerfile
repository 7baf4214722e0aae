# Builds the UI and the binary, and ships the binary alone.
FROM node:20-bookworm-slim AS ui
WORKDIR /ui
COPY ui/ ./
RUN npm ci --ignore-scripts && npm run build

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
COPY --from=ui /ui/dist /ui-dist
ENV UI_DIST_DIR=/ui-dist UI_REQUIRED=1
RUN cargo build --release --locked --bin barograph

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --home /data barograph && mkdir /data && chown barograph /data
COPY --from=build /src/target/release/barograph /usr/local/bin/barograph
USER barograph
VOLUME /data
EXPOSE 9090
ENTRYPOINT ["barograph"]
CMD ["--storage.tsdb.path=/data"]
