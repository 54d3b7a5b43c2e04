#!/usr/bin/env bash
# release.sh VERSION: commits and tags a release of every module that users require, and prints
# the command that pushes it. With DRY=1 it works on a clone of HEAD, .tools/release, and changes
# nothing else.
#
# The modules share VERSION, for example v0.1.0. A module of a major, such as echolimit/v5, follows
# its framework and is a pre-release until this project is 1.0: v5.0.0-beta.1, then beta.2.
#
# `go install` refuses a module with replace directives. So the tag of a command stands on a commit
# of its own, which removes them, and which no branch has.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
	echo "release: $*" >&2
	exit 1
}

version=${1:-}
[[ $version =~ ^v0\.[0-9]+\.[0-9]+$ ]] ||
	fail "VERSION is v0.MINOR.PATCH, not '$version'. From v1 on, the modules of a major need a rule of their own."

if [ -n "${DRY:-}" ]; then
	rm -rf .tools/release
	git clone -q --no-hardlinks . .tools/release
	cd .tools/release
	git config user.name "dry run"
	git config user.email "dry-run@localhost"
elif [ -n "$(git status --porcelain)" ]; then
	fail "the working tree has changes: commit them first"
fi

root=github.com/streamlimit/streamlimit
modules=$(go list -m | grep -vE "^$root/(examples|core/benchmarks)(/|$)") # those are for this repository only

# version_of prints the version that a module gets.
version_of() {
	if [[ $1 =~ /(v[0-9]+)$ ]]; then
		local major=${BASH_REMATCH[1]} prefix
		prefix=$(prefix_of "$1")
		echo "$major.0.0-beta.$(($(git tag --list "$prefix$major.0.0-beta.*" | wc -l) + 1))"
	else
		echo "$version"
	fi
}

# prefix_of prints the directory that Go demands before the version in a tag: the module's without
# its major, so echolimit/v5 shares echolimit/ with echolimit.
prefix_of() {
	local directory=${1#"$root/"}
	[[ $directory =~ ^(.*)/v[0-9]+$ ]] && directory=${BASH_REMATCH[1]}
	echo "$directory/"
}

for module in $modules; do
	tag=$(prefix_of "$module")$(version_of "$module")
	! git rev-parse -q --verify "refs/tags/$tag" >/dev/null || fail "the tag $tag exists"
done
grep -qx '## \[Unreleased\]' CHANGELOG.md || fail "CHANGELOG.md has no heading [Unreleased]"

# What a module requires of its siblings, in every go.mod, beside the replace that this repository uses.
for file in $(git ls-files '*go.mod'); do
	for module in $modules; do
		if grep -qE "^(require )?[[:space:]]*$module v" "$file"; then
			go mod edit -require="$module@$(version_of "$module")" "$file"
		fi
	done
done
awk -v heading="## [${version#v}] - $(date -u +%Y-%m-%d)" '{ print } /^## \[Unreleased\]$/ { print "\n" heading }' CHANGELOG.md >CHANGELOG.new
mv CHANGELOG.new CHANGELOG.md
git commit -qam "all: release $version"
git show --stat --format='%s' HEAD

tags=()
released=$(git symbolic-ref -q --short HEAD || git rev-parse HEAD)
for module in $modules; do
	tag=$(prefix_of "$module")$(version_of "$module")
	directory=${module#"$root/"}
	if [ "$(go list -f '{{.Name}}' "./$directory" 2>/dev/null)" = main ]; then
		git checkout -q --detach
		for sibling in $modules; do go mod edit -dropreplace="$sibling" "$directory/go.mod"; done
		git commit -qam "$directory: remove replace from $tag, for go install"
		git tag -a -m "$tag" "$tag"
		git checkout -q "$released"
	else
		git tag -a -m "$tag" "$tag"
	fi
	tags+=("$tag")
done

printf 'tagged %s\n' "${tags[@]}"
if [ -n "${DRY:-}" ]; then
	echo "This was a dry run: see .tools/release."
else
	echo "To publish it: git push --atomic origin HEAD ${tags[*]}"
fi
