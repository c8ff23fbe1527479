#!/bin/sh
# The checklist with pgbench: its protocols, COPY at initialisation, pipelines, errors.
set -u
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
export PGAPPNAME=matrix

bench() { # transactions processed, and failed ones
	pgbench -n -t 50 -c 4 -j 2 "$@" 2>"$here/err" | sed -n 's/^number of transactions actually processed: //p; s/^number of failed transactions: \([0-9]*\).*/failed \1/p' | tr '\n' ' '
}
sum() { psql -XAtc "$1"; }
balanced() { # the accounts agree with the history
	[ "$(sum 'SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(bbalance) FROM pgbench_branches) AND (SELECT sum(delta) FROM pgbench_history) = (SELECT sum(tbalance) FROM pgbench_tellers)')" = t ]
}

initialise() { pgbench -i -s 1 -q >"$here/out" 2>&1 && sum 'SELECT count(*) FROM pgbench_accounts'; }
tpcb() { bench -M "$1" && balanced; }
simple() { tpcb simple; }
extended() { tpcb extended; }
prepared() { tpcb prepared; }
select_prepared() { bench -S -M prepared; }
reconnect() { bench -S -C -t 20; }
pipeline() {
	cat >"$here/script" <<'X'
\set aid random(1, 1000)
\startpipeline
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
COMMIT;
SELECT 1;
\endpipeline
X
	for way in extended prepared; do bench -M $way -f "$here/script"; done
}
gset() {
	cat >"$here/script" <<'X'
BEGIN;
SELECT 7 AS a \; SELECT 8 AS b \aset
\if :a * 10 + :b != 78
SELECT 1 / 0;
\endif
COMMIT;
X
	bench -f "$here/script"
}
errors() {
	printf 'SELECT 1 / 0;\n' >"$here/script"
	bench -f "$here/script"
	sed -n 's/.*\(division by zero\).*/\1/p' "$here/err" | sort -u
}
retries() { # serialization failures are tried again
	cat >"$here/script" <<'X'
BEGIN ISOLATION LEVEL REPEATABLE READ;
UPDATE pgbench_branches SET bbalance = bbalance + 1 WHERE bid = 1;
COMMIT;
X
	before=$(sum 'SELECT bbalance FROM pgbench_branches')
	bench --max-tries=1000 -f "$here/script"
	echo "added $(($(sum 'SELECT bbalance FROM pgbench_branches') - before))"
}

for check in initialise simple extended prepared select_prepared reconnect pipeline gset errors retries; do
	if [ $# -gt 0 ]; then
		case " $* " in *" $check "*) ;; *) continue ;; esac
	fi
	: >"$here/err"
	if told=$($check); then
		echo "$check ok $(echo "$told" | tr '\n' ' ')"
	else
		echo "$check failed $(printf '%s %s' "$told" "$(cat "$here/err")" | tr '\n' ' ' | cut -c1-300)"
	fi
done
