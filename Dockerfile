# The backend alone: a static binary, run by a user without rights. It keeps
# everything under /data and listens on loopback unless HOST says otherwise, see
# docker-compose.yml.
FROM golang:1.26-alpine AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
# What the build needs, by name: nothing else of this folder enters the image.
COPY main.go ./
COPY internal internal
COPY web/*.go web/
COPY web/dist web/dist
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w" -o /ospulse-backend main.go

FROM alpine:3.22
RUN adduser -D -H -u 10001 ospulse && mkdir /data && chown ospulse:ospulse /data
COPY --from=build /ospulse-backend /usr/local/bin/ospulse-backend
ENV DATA_DIR=/data
VOLUME /data
WORKDIR /data
USER ospulse
EXPOSE 3003
ENTRYPOINT ["ospulse-backend"]
