# syntax=docker/dockerfile:1
# Its patch releases are taken as they come; what is built says which it was.
FROM golang:1.26 AS build
RUN --mount=type=bind,target=/src CGO_ENABLED=0 go build -C /src -trimpath -ldflags="-s -w" -o /wtinspect ./cmd/wtinspect
RUN --mount=type=bind,target=/src CGO_ENABLED=0 go build -C /src -trimpath -tags=parquet -ldflags="-s -w" -o /wtinspect-parquet ./cmd/wtinspect
FROM scratch
# Without them no hub is believed to be one.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /wtinspect /wtinspect-parquet /
ENTRYPOINT ["/wtinspect"]
