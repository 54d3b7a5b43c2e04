#!/usr/bin/env bash
# Fails if `make tidy` would change anything. It runs in a copy, so that a check
# never edits the tree it checks.
set -euo pipefail
cd "$(dirname "$0")/.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
tar -cf - --exclude=./.git --exclude=./.tools . | tar -xf - -C "$copy"
if ! make -C "$copy" tidy >"$copy/tidy.log" 2>&1; then
	cat "$copy/tidy.log" >&2
	exit 1
fi
changed=0
while IFS= read -r file; do
	diff -u "$file" "$copy/$file" 2>&1 || changed=1
done < <(cd "$copy" && find . -name go.mod -o -name go.sum -o -name go.work -o -name go.work.sum)
if [ "$changed" -ne 0 ]; then
	echo "the modules are not tidy: run \`make tidy\`" >&2
	exit 1
fi
