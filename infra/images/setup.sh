#!/bin/sh
# Installs buildah where there is none, for the tests of the images: on Debian
# and its like, as root. Elsewhere it says what to do.
set -eu
if command -v buildah >/dev/null; then
	exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "buildah is not here: install it with the system's package manager, or the tests of the images are skipped" >&2
	exit 0
fi
if ! apt-get install -y -q --no-install-recommends buildah >/dev/null 2>&1; then
	apt-get update -q >/dev/null 2>&1 || true
	apt-get install -y -q --no-install-recommends buildah >/dev/null 2>&1 ||
		echo "buildah could not be installed: the tests of the images are skipped" >&2
fi
