#!/usr/bin/env bash
# need.sh redis|cc|chromium|nginx|luacheck|node: makes sure that a program is installed which tests or lints run,
# by apt-get or brew; says what to do where neither can.
set -euo pipefail

have_redis() {
	if [ -n "${REDIS_SERVER:-}" ]; then
		command -v "$REDIS_SERVER" >/dev/null
	else
		command -v redis-server >/dev/null || command -v valkey-server >/dev/null
	fi
}

have_cc() {
	local cc
	cc=$(go env CC)
	command -v "${cc%% *}" >/dev/null
}

have_chromium() {
	local program
	for program in chromium chromium-browser google-chrome google-chrome-stable \
		"/Applications/Chromium.app/Contents/MacOS/Chromium" "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do
		if command -v "$program" >/dev/null; then return 0; fi
	done
	return 1
}

have_nginx() {
	# Where Debian puts it is not in the path of every user.
	command -v nginx >/dev/null || command -v /usr/sbin/nginx >/dev/null
}

have_luacheck() { command -v luacheck >/dev/null; }

have_node() { command -v node >/dev/null; }

case "${1:-}" in
redis)
	what="redis-server 7.0 or later (or valkey-server 7.2 or later, or the environment variable REDIS_SERVER with the path of one)"
	apt="redis-server" brew="redis" check=have_redis
	;;
cc)
	what="a C compiler for Go's race detector"
	# libc6-dev is only a recommendation of gcc.
	apt="gcc libc6-dev" brew="" check=have_cc
	;;
chromium)
	what="Chromium or Chrome, for the monitor's page"
	# A page needs a font, which is only a recommendation of chromium.
	apt="chromium fonts-dejavu-core" brew="chromium" check=have_chromium
	;;
nginx)
	what="nginx, as a proxy and a cache"
	apt="nginx-light" brew="nginx" check=have_nginx
	;;
luacheck)
	what="luacheck, which lints the scripts of the store"
	apt="lua-check" brew="luacheck" check=have_luacheck
	;;
node)
	what="Node.js, which checks the monitor's JavaScript"
	apt="nodejs" brew="node" check=have_node
	;;
*)
	echo "usage: $0 redis|cc|chromium|nginx|luacheck|node" >&2
	exit 2
	;;
esac

if $check; then
	exit 0
fi

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

if command -v apt-get >/dev/null && { [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null; }; then
	echo "installing $apt with apt-get" >&2
	# This may fail with stale lists. Go on: apt may know the packages already.
	as_root apt-get update -qq >&2 || true
	# shellcheck disable=SC2086 # several packages
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 $apt >&2 || true
elif [ -n "$brew" ] && command -v brew >/dev/null; then
	echo "installing $brew with brew" >&2
	brew install "$brew" >&2 || true
fi

if ! $check; then
	echo "Tests or lints need $what." >&2
	echo "It is missing, and installing it did not work: install it by hand, for example with" >&2
	if [ "$1" = cc ]; then
		echo "    apt-get install $apt     or on a Mac     xcode-select --install" >&2
	else
		echo "    apt-get install $apt     or     brew install $brew" >&2
	fi
	exit 1
fi
