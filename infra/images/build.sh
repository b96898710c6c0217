#!/bin/sh
# Builds the images of nodes and gateways, and pushes them if asked:
#
#   infra/images/build.sh ARCH [REGISTRY/PREFIX [TAG]]
#
# ARCH is arm64 or amd64; the images are weft/node and weft/gateway, or, with a
# registry, REGISTRY/PREFIX/node:TAG and …/gateway:TAG. Go builds them for any
# ARCH on any machine; buildah (which needs no daemon) or docker packs them.
# Nothing is pulled. WEFT_BUILDAH_ROOT keeps buildah's storage somewhere else.
set -eu

arch=${1:-}
case $arch in
arm64 | amd64) ;;
*)
	echo "usage: $0 arm64|amd64 [REGISTRY/PREFIX [TAG]]" >&2
	exit 2
	;;
esac
to=${2:-weft}
tag=${3:-latest}
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)

authorities=
for file in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
	if [ -n "$file" ] && [ -s "$file" ]; then
		authorities=$file
		break
	fi
done
if [ -z "$authorities" ]; then
	echo "no file of certificate authorities is here; install ca-certificates or set SSL_CERT_FILE" >&2
	exit 1
fi

if command -v buildah >/dev/null; then
	pack() {
		buildah --storage-driver vfs ${WEFT_BUILDAH_ROOT:+--root "$WEFT_BUILDAH_ROOT/root" --runroot "$WEFT_BUILDAH_ROOT/run"} "$@"
	}
	build() { pack bud --isolation chroot --arch "$arch" --timestamp 0 -f "$1" -t "$2" "$3"; }
elif command -v docker >/dev/null; then
	pack() { docker "$@"; }
	build() { pack build --platform "linux/$arch" -f "$1" -t "$2" "$3"; }
else
	echo "neither buildah nor docker is here; install buildah, which needs no daemon" >&2
	exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for role in node:simnode gateway:gateway; do
	program=${role#*:}
	role=${role%:*}
	mkdir -p "$work/$role"
	cp "$authorities" "$work/$role/ca-certificates.crt"
	(cd "$source" && CGO_ENABLED=0 GOOS=linux GOARCH=$arch go build -trimpath -buildvcs=false -ldflags "-s -w -buildid=" -o "$work/$role/$program" "./simnode/cmd/$program")
	build "$here/$program.Dockerfile" "$to/$role:$tag" "$work/$role"
	if [ -n "${2:-}" ]; then
		pack push "$to/$role:$tag"
	fi
done
