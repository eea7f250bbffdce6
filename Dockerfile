# syntax=docker/dockerfile:1
# Its patch releases are taken as they come; what is built says which it was.
FROM golang:1.26 AS build
RUN --mount=type=bind,target=/src CGO_ENABLED=0 go build -C /src -trimpath -ldflags="-s -w" -o /wtinspect ./cmd/wtinspect
FROM scratch
COPY --from=build /wtinspect /wtinspect
ENTRYPOINT ["/wtinspect"]
