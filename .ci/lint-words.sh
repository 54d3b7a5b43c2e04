#!/usr/bin/env bash
# Fails where a comment or a text has one of the phrases in .ci/words, which are hard to read: "X is
# whether" for "X reports whether", "is no error" for "is not an error".
set -euo pipefail
cd "$(dirname "$0")/.."
if git grep -nwiE -f .ci/words -- '*.go' '*.md' '*.lua' '*.js' '*.html' '*.sh' '*.yml' Makefile .ci/run ':!.ci/lint-words.sh'; then
	echo "say these in plain words: .ci/words lists the phrases" >&2
	exit 1
fi
