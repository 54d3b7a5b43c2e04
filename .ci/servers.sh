#!/usr/bin/env bash
# servers.sh [NAME...]: unpacks servers from Debian's packages into .tools/servers,
# installs nothing, and prints the path of each program, for REDIS_SERVER.
# NAME is a program and the Debian release that packages it; without one, all:
# redis-trixie (8.0), valkey-trixie (8.1) and valkey-sid (9.1, or what sid has by then).
#
# A server is unpacked once: remove .tools/servers to get newer ones. The packages come from
# the mirror that apt is configured with, or from DEBIAN_MIRROR, and apt checks their signatures.
set -euo pipefail
cd "$(dirname "$0")/.."
servers=$PWD/.tools/servers
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

fail() {
	echo "servers: $*" >&2
	exit 1
}

# mirror prints the first Debian mirror that apt is configured with.
mirror() {
	# Printing is possible before the first update, and needs no root.
	apt-get update --print-uris -q | awk -F "'" '$2 ~ "/debian/dists/" && !found { found = 1; sub("/dists/.*", "", $2); print $2 }'
}

# configure writes a configuration of apt for one release. Of the machine's it keeps
# the mirror and the proxies; what is installed there is of no concern.
configure() {
	local dir=$1 release=$2 url=$3
	mkdir -p "$dir/state/lists/partial" "$dir/cache/archives/partial"
	: >"$dir/status"
	echo "deb [arch=$(dpkg --print-architecture) signed-by=$keyring] $url $release main" >"$dir/sources.list"
	apt-config dump Acquire::http Acquire::https >"$dir/apt.conf"
	cat >>"$dir/apt.conf" <<-END
		Dir::Etc::Main "/dev/null";
		Dir::Etc::Parts "/dev/null";
		Dir::Etc::Preferences "/dev/null";
		Dir::Etc::PreferencesParts "/dev/null";
		Dir::Etc::SourceList "$dir/sources.list";
		Dir::Etc::SourceParts "/dev/null";
		Dir::State "$dir/state";
		Dir::State::status "$dir/status";
		Dir::Cache "$dir/cache";
		# The user who runs this, since apt's own may not write here.
		APT::Sandbox::User "";
		APT::Install-Recommends "false";
		Acquire::Languages "none";
		Acquire::Retries "3";
		# A mirror may be a snapshot, whose lists are old. Their signatures are checked as ever.
		Acquire::Check-Valid-Until "false";
	END
}

# unpack makes the folder of one server: its program, the libraries and the dynamic
# loader that belong to it, and a script that starts the one with the others.
unpack() {
	local name=$1 program=${1%-*} release=${1##*-} url dir root lib loader version
	for tool in apt-get apt-config dpkg dpkg-deb; do
		command -v "$tool" >/dev/null || fail "$name is unpacked from Debian's packages, which needs $tool"
	done
	[ -r "$keyring" ] || fail "$keyring is missing: install the package debian-archive-keyring"
	url=${DEBIAN_MIRROR:-$(mirror)}
	[ -n "$url" ] || fail "apt is configured with no Debian mirror: name one in the environment variable DEBIAN_MIRROR"

	mkdir -p "$servers"
	dir=$(mktemp -d "$servers/.$name.XXXXXX")
	trap 'rm -rf "$dir"' EXIT
	configure "$dir" "$release" "$url"
	export APT_CONFIG="$dir/apt.conf"
	apt-get update -qq --error-on=any >&2 || fail "the lists of Debian's $release cannot be had from $url"
	# The program is in the package of the tools, under another name; with its
	# libraries, and theirs.
	apt-get install -qq -y --download-only "$program-tools" >"$dir/log" 2>&1 || {
		cat "$dir/log" >&2
		fail "the package $program-tools of Debian's $release cannot be had from $url"
	}
	unset APT_CONFIG
	root=$dir/root
	for package in "$dir"/cache/archives/*.deb; do
		dpkg-deb -x "$package" "$root"
	done

	loader=$(echo "$root"/usr/lib/*/ld-linux-*.so.?)
	lib=${loader%/*}
	mkdir -p "$dir/server/lib"
	cp "$root/usr/bin/$program-check-rdb" "$dir/server/lib/$program-server"
	"$loader" --library-path "$lib" --list "$dir/server/lib/$program-server" |
		sed -n 's/ (0x[0-9a-f]*)$//; s/.* => \(\/.*\)/\1/p; /not found/p' >"$dir/libraries"
	while IFS= read -r library; do
		# Any other is the machine's, or missing.
		case $library in
		"$lib"/*) cp -L "$library" "$dir/server/lib/" ;;
		*) fail "$name needs a library that its packages do not have: $library" ;;
		esac
	done <"$dir/libraries"
	cat >"$dir/server/$program-server" <<-'END'
		#!/bin/sh
		here=$(cd "$(dirname "$0")" && pwd -P)
		exec "$here"/lib/ld-linux-*.so.? --library-path "$here/lib" "$here/lib/${0##*/}" "$@"
	END
	chmod +x "$dir/server/$program-server"
	version=$("$dir/server/$program-server" --version | sed -n 's/.* v=\([^ ]*\).*/\1/p')
	[ -n "$version" ] || fail "$name does not start"

	rm -rf "${servers:?}/$program-$version"
	mv "$dir/server" "$servers/$program-$version"
	ln -sfn "$program-$version" "$servers/$name"
	rm -rf "$dir"
	trap - EXIT
}

if [ $# -eq 0 ]; then set -- redis-trixie valkey-trixie valkey-sid; fi
for name in "$@"; do
	case $name in
	redis-trixie | valkey-trixie | valkey-sid) ;;
	*) fail "no server is called $name: there are redis-trixie, valkey-trixie and valkey-sid" ;;
	esac
	[ -x "$servers/$name/${name%-*}-server" ] || unpack "$name"
	echo "$(cd "$servers/$name" && pwd -P)/${name%-*}-server"
done
