#!/usr/bin/env bash
# Lints the Lua of the scripts with luacheck, and checks the syntax of the monitor's JavaScript with Node.
set -euo pipefail
cd "$(dirname "$0")/.."
git ls-files '*.lua' | xargs luacheck --quiet --no-color --config .ci/luacheckrc
git ls-files '*.js' | while IFS= read -r file; do
	node --input-type=module --check <"$file" || { echo "$file: see above" >&2; exit 1; }
done
