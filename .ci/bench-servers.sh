#!/usr/bin/env bash
# bench-servers.sh [ROUNDS]: measures the scripts on the installed server and on those of
# servers.sh, and prints a table in Markdown. Servers take turns, and each figure is the
# median of the rounds, 3 by default.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-3}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

mapfile -t servers < <(echo "${REDIS_SERVER:-redis-server}"; .ci/servers.sh)
names=()
for server in "${servers[@]}"; do
	# "Redis server v=7.0.15 ..." and "Valkey server v=9.1.2 ..."
	names+=("$("$server" --version | sed -E 's/^([A-Za-z]+) server v=([^ ]+).*/\1 \2/')")
done
go test -c -o "$out/bench" ./core/redisstream
for ((round = 1; round <= rounds; round++)); do
	for i in "${!servers[@]}"; do
		echo "bench-servers: round $round of $rounds, ${names[i]}" >&2
		(cd core/redisstream && REDIS_SERVER=${servers[i]} "$out/bench" -test.run '^$' -test.bench 'Script|Memory' -test.benchtime 50000x) |
			awk -v server="$i" '/^Benchmark/ { sub(/^Benchmark/, "", $1); sub(/-[0-9]+$/, "", $1)
				for (f = 3; f < NF; f += 2) if ($(f+1) != "ns/op") print server "\t" $1 " (" ($(f+1) == "server-µs/op" ? "µs" : $(f+1)) ")\t" $f }' >>"$out/figures"
	done
done

cat <<'TEXT'
# The scripts on other servers

TEXT
echo "Made by \`make bench-servers\` on $(date -u +%Y-%m-%d): the median of $rounds rounds, in which the servers take turns."
cat <<'TEXT'
Only ratios carry over to other machines.

`Script` is the server's time for a decision, in µs. `warm` finds a log that no entry leaves, `leaving` one from which
an entry leaves with each decision, `new` none, `denied` a full one, and `changed` one beside an earlier log of other
limits. `Memory` is the server's memory for a client's first request, and for each later one.

TEXT
awk -F '\t' -v names="$(IFS=,; echo "${names[*]}")" '
	{ key = $1 SUBSEP $2; values[key] = values[key] " " $3; if (!($2 in seen)) { seen[$2] = 1; rows[++n] = $2 } }
	function median(list,   all, count, i, j, v) {
		count = split(list, all, " ")
		for (i = 2; i <= count; i++) { v = all[i] + 0; for (j = i - 1; j > 0 && all[j] + 0 > v; j--) all[j+1] = all[j]; all[j+1] = v }
		return all[int((count + 1) / 2)]
	}
	END {
		count = split(names, name, ",")
		head = "| |"; line = "| --- |"
		for (i = 1; i <= count; i++) { head = head " " name[i] " |"; line = line " ---: |" }
		print head; print line
		for (r = 1; r <= n; r++) {
			row = "| " rows[r] " |"
			for (i = 0; i < count; i++) row = row sprintf(" %.1f |", median(values[i SUBSEP rows[r]]))
			print row
		}
	}' "$out/figures"
