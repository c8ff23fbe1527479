#!/bin/sh
# The checklist with psql. Each check is a function whose last line of output is the detail; a psql that ends with an error, or output
# that is not what it should be, fails it.
set -u
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
export PGAPPNAME=matrix PSQLRC=/dev/null

sql() { psql -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }
# lines that must be the same
same() {
	[ "$1" = "$2" ] || { echo "got $1, want $2" | tr '\n' '/'; return 1; }
}
# state of the error a statement ends with
state_of() {
	psql -X -q -A -t -v VERBOSITY=sqlstate "$@" 2>&1 >/dev/null | sed -n 's/.*\(ERROR\|FATAL\): *\([0-9A-Z]\{5\}\).*/\2/p' | tail -1
}

connect() {
	same "$(PGOPTIONS='-c statement_timeout=54321' sql -c 'SHOW application_name' -c 'SHOW statement_timeout')" "matrix
54321ms" || return
	same "$(PGCLIENTENCODING=LATIN1 sql -c 'SHOW client_encoding')" LATIN1 || return
	same "$(PGTZ=Asia/Tokyo sql -c 'SHOW timezone')" Asia/Tokyo || return
	for words in dbname=no_such_database user=no_such_user password=wrong; do
		sql "$words" -c 'SELECT 1' 2>&1 | sed 's/.*FATAL: *//'
	done | tr '\n' ';'
	sql -c '\c' -c '\encoding' -c '\echo :SERVER_VERSION_NUM :ENCODING' | cut -c1-6 | tail -1
}
parameters() { # psql's variables are part of the text
	same "$(sql -v v="O'Reilly \\ ä" <<'X'
SELECT :'v' AS text \gset x_
\echo :x_text
SELECT 6 AS six \gset
SELECT :six * 7;
X
)" "O'Reilly \\ ä
42" || return
	echo '\gset, quoted variables'
}
prepared() {
	{
		echo 'CREATE TABLE prepared (a int PRIMARY KEY, b text); PREPARE put AS INSERT INTO prepared VALUES ($1, $2); PREPARE get AS SELECT b FROM prepared WHERE a = $1;'
		seq 1 100 | sed 's/.*/EXECUTE put(&, $$row &$$); EXECUTE get(&);/'
		echo "DEALLOCATE put; SELECT count(*) FROM pg_prepared_statements;"
	} | sql -f - >"$here/out" || return
	same "$(wc -l <"$here/out")" 101 && echo '200 executions by SQL'
}
replan() {
	same "$(printf '%s\n' 'CREATE TABLE replan (a int);' 'SELECT * FROM replan \gdesc' 'ALTER TABLE replan ADD b text;' 'SELECT * FROM replan \gdesc' | sql -f -)" 'a|integer
a|integer
b|text' && echo '\gdesc before and after ALTER TABLE'
}
batch() {
	sql -c 'CREATE TABLE batch (a int PRIMARY KEY)' || return
	same "$(sql -c 'INSERT INTO batch VALUES (1); SELECT 7; INSERT INTO batch VALUES (2); SELECT count(*) FROM batch')" "7
2" || return
	same "$(state_of -c 'INSERT INTO batch VALUES (3); INSERT INTO batch VALUES (1); INSERT INTO batch VALUES (4)')" 23505 || return
	same "$(sql -c 'SELECT max(a) FROM batch')" 2 || return
	same "$(state_of -1 -c 'INSERT INTO batch VALUES (3)' -c 'SELECT 1/0')" 22012 || return
	same "$(sql -c 'SELECT max(a) FROM batch' -c ';' -c '')" 2 && echo 'one undone whole, --single-transaction, empty ones'
}
copy_in() {
	sql -c 'CREATE TABLE copy_in (a int, b text)' || return
	seq 1 20000 | sed 's/.*/&\tline &/' | sql -c 'COPY copy_in FROM STDIN' || return
	seq 1 100 >"$here/in"
	sql -c "\\copy copy_in (a) FROM '$here/in' CSV" || return
	same "$(sql -c 'SELECT count(*), sum(a) FROM copy_in')" '20100|200015050' && echo '20100 rows'
}
copy_out() {
	same "$(sql -c "COPY (SELECT repeat('x', 99) FROM generate_series(1, 20000)) TO STDOUT" | wc -c)" 2000000 || return
	sql -c "\\copy (SELECT generate_series(1, 100)) TO '$here/out' CSV" || return
	same "$(wc -l <"$here/out")" 100 && echo '20100 rows'
}
copy_fail() {
	sql -c 'CREATE TABLE copy_fail (a int PRIMARY KEY)' || return
	same "$({ echo 1; echo x; seq 2 50000; } | state_of -c 'COPY copy_fail FROM STDIN')" 22P02 || return
	same "$({ echo 1; echo 1; seq 2 50000; } | state_of -c 'COPY copy_fail FROM STDIN')" 23505 || return
	same "$(state_of -c 'COPY (SELECT 10 / (5 - i) FROM generate_series(1, 10) i) TO STDOUT')" 22012 || return
	same "$(printf '1\nx\n\\.\nSELECT 7;\n' | psql -X -q -A -t -c 'COPY copy_fail FROM STDIN' -f - 2>/dev/null)" 7 || return
	same "$(sql -c 'SELECT count(*) FROM copy_fail')" 0 && echo '22P02 23505 22012'
}
cursor() {
	same "$(sql -v FETCH_COUNT=100 -c 'SELECT i FROM generate_series(1, 1000) i' | awk '{ s += $1 } END { print s }')" 500500 || return
	same "$(state_of -v FETCH_COUNT=2 -c 'SELECT 10 / (5 - i) FROM generate_series(1, 10) i')" 22012 || return
	same "$(sql -c BEGIN -c 'DECLARE c SCROLL CURSOR FOR SELECT generate_series(1, 10)' -c 'FETCH 2 FROM c' -c 'MOVE LAST FROM c' -c 'FETCH PRIOR FROM c' -c COMMIT)" "1
2
9" && echo 'FETCH_COUNT=100, 22012 in the middle, scrolled'
}
cursor_hold() {
	same "$(sql -c BEGIN -c 'DECLARE h CURSOR WITH HOLD FOR SELECT generate_series(1, 10)' -c COMMIT -c 'FETCH 2 FROM h' -c 'CREATE TABLE cursor_hold ()' -c 'FETCH h' -c 'CLOSE h')" "1
2
3" && echo 'over COMMIT'
}
cancel() { # psql sends a CancelRequest at SIGINT
	printf 'SELECT pg_sleep(30);\nSELECT 7;\n' >"$here/in"
	psql -X -q -A -t -v VERBOSITY=sqlstate -f "$here/in" >"$here/out" 2>&1 &
	pid=$!
	for _ in $(seq 100); do
		[ "$(sql -c "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'")" = 1 ] && break
		sleep 0.05
	done
	kill -INT $pid
	wait $pid
	same "$(sed -n 's/.*ERROR: *//p' "$here/out")" 57014 && echo '57014 by SIGINT'
}
notify() {
	same "$(sql -c 'LISTEN ch' -c "NOTIFY ch, 'own'" -c 'UNLISTEN ch' -c "NOTIFY ch, 'late'" -c 'SELECT 1' | sed 's/ from server.*//')" 'Asynchronous notification "ch" with payload "own" received
1' && echo 'own one, none after UNLISTEN'
}
transactions() {
	same "$(sql -c 'CREATE TABLE transactions (a int)' -c BEGIN -c 'INSERT INTO transactions VALUES (1)' -c COMMIT -c BEGIN -c 'INSERT INTO transactions VALUES (2)' -c ROLLBACK -c 'SELECT count(*) FROM transactions')" 1 || return
	same "$(state_of -c 'BEGIN READ ONLY' -c 'INSERT INTO transactions VALUES (3)')" 25006 || return
	same "$(sql -v AUTOCOMMIT=off -c 'INSERT INTO transactions VALUES (4)' -c ROLLBACK -c 'SELECT count(*) FROM transactions')" 1 || return
	same "$(sql -c 'BEGIN ISOLATION LEVEL SERIALIZABLE' -c 'SHOW transaction_isolation' -c 'COMMIT AND CHAIN' -c 'SHOW transaction_isolation' -c END)" 'serializable
serializable' && echo '25006, AUTOCOMMIT=off, COMMIT AND CHAIN'
}
savepoints() {
	same "$(printf '%s\n' 'CREATE TABLE savepoints (a int PRIMARY KEY);' 'BEGIN;' 'INSERT INTO savepoints VALUES (1);' 'INSERT INTO savepoints VALUES (1);' 'SELECT 1/0;' 'INSERT INTO savepoints VALUES (2);' 'COMMIT;' 'SELECT count(*) FROM savepoints;' |
		psql -X -q -A -t -v ON_ERROR_ROLLBACK=on -v VERBOSITY=sqlstate -f - 2>/dev/null)" 2 || return
	same "$(sql -c BEGIN -c 'SAVEPOINT a' -c "SET work_mem = '5MB'" -c 'ROLLBACK TO a' -c 'SHOW work_mem' -c COMMIT)" 4MB && echo 'ON_ERROR_ROLLBACK, settings undone'
}
errors() {
	for pair in 'SELEC 1|42601' 'SELECT * FROM no_such_table|42P01' 'SELECT 1/0|22012' "SELECT 'x'::int|22P02"; do
		same "$(state_of -c "${pair%|*}")" "${pair#*|}" || return
	done
	same "$(printf 'SELECT 1/0;\n\\echo :ERROR :SQLSTATE\nSELECT 7;\n' | psql -X -q -A -t -f - 2>/dev/null)" 'true 22012
7' || return
	same "$(printf 'SELECT 1 + no_such_column;\n' | psql -X -q -A -t -f - 2>&1 | sed -n '2,3p')" 'LINE 1: SELECT 1 + no_such_column;
                   ^' && echo '4 of them, usable after them, their position'
}
big_rows() {
	same "$(sql -c "SELECT repeat('y', 8388608)" | wc -c)" 8388609 || return
	{ printf "SELECT length('"; head -c 8388608 /dev/zero | tr '\0' x; echo "');"; } >"$here/in"
	same "$(sql -f "$here/in")" 8388608 && echo '8 MB there and back'
}
many() {
	{
		echo 'CREATE TABLE many (a int PRIMARY KEY, b int);'
		seq 1 300 | sed 's/.*/INSERT INTO many VALUES (&, 2 * &); SELECT b FROM many WHERE a = &;/'
	} | sql -f - | awk '{ s += $1 } END { print s }' >"$here/out" || return
	same "$(cat "$here/out")" 90300 || return
	for _ in 1 2 3 4 5; do same "$(sql -c 'SELECT count(*) FROM many')" 300 || return; done
	echo '600 statements, 5 connections'
}
timeouts() {
	same "$(PGOPTIONS='-c statement_timeout=200' state_of -c 'SELECT pg_sleep(30)')" 57014 || return
	same "$(sql -c 'SET statement_timeout = 100' -c 'SET statement_timeout = 0' -c 'SELECT pg_sleep(0.2)')" '' && echo 'statement_timeout at login'
}
session() {
	same "$(sql -c 'SET search_path = pg_catalog, public' -c 'CREATE TEMP TABLE mine (b int)' -c 'INSERT INTO mine VALUES (7)' -c 'SELECT b FROM mine' -c 'SHOW search_path' -c 'DISCARD ALL' -c 'SHOW search_path')" '7
pg_catalog, public
"$user", public' || return
	same "$(sql -c 'CREATE SEQUENCE s START 40' -c "SELECT nextval('s')" -c "SELECT currval('s')" -c 'SELECT pg_advisory_lock(4711)' -c 'SELECT pg_advisory_unlock(4711)')" "40
40

t" && echo 'settings, temporary table, sequence, advisory lock; DISCARD ALL'
}
notices() {
	same "$(sql -c 'DO $$BEGIN FOR i IN 1..40 LOOP RAISE NOTICE $f$n%$f$, i; END LOOP; END$$' 2>&1 | sed -n '1p;40p' | tr '\n' ' ')" 'NOTICE:  n1 NOTICE:  n40 ' && echo '40 in order'
}
large_objects() { # by the function call message
	head -c 400000 /dev/urandom >"$here/in"
	oid=$(psql -X -A -t -c "\\lo_import '$here/in'" | awk '{ print $2 }')
	sql -c "\\lo_export $oid '$here/out'" >/dev/null || return
	cmp "$here/in" "$here/out" || return
	psql -X -c "\\lo_unlink $oid" >/dev/null || return
	echo '400 kB by function calls'
}
metadata() {
	sql -c 'CREATE TABLE metadata (a serial PRIMARY KEY, b text NOT NULL DEFAULT 0)' -c 'CREATE VIEW mv AS SELECT * FROM metadata' || return
	for command in '\d metadata' '\d+ mv' '\dt' '\df' '\du' '\l' '\dn+' '\dx' '\di' '\ds' '\dp' '\sf pg_catalog.lower(text)'; do
		sql -c "$command" >"$here/out" || { echo "$command"; return 1; }
	done
	same "$(sql -c '\d metadata' | sed -n 1p)" "a|integer||not null|nextval('metadata_a_seq'::regclass)" || return
	printf 'SELECT %s;\n' "'CREATE TABLE made_' || i FROM generate_series(1, 5) i" >"$here/in"
	same "$(printf "SELECT format('SELECT %%s', i) FROM generate_series(1, 5) i \\\\gexec\n" | sql -f - | tr '\n' ' ')" '1 2 3 4 5 ' && echo '12 commands of \d and its kin, \gexec'
}

lacks() { echo "$1 n/a $2"; }

for check in connect parameters prepared replan pipeline pipeline_error batch binary copy_in copy_out copy_fail cursor cursor_hold cancel notify \
	transactions savepoints errors big_rows many timeouts session notices large_objects metadata; do
	if [ $# -gt 0 ]; then
		case " $* " in *" $check "*) ;; *) continue ;; esac
	fi
	case $check in
	pipeline | pipeline_error | binary)
		lacks $check 'psql 15 sends simple queries only'
		continue
		;;
	esac
	if told=$($check 2>"$here/err"); then
		echo "$check ok $(echo "$told" | tr '\n' ' ')"
	else
		echo "$check failed $(printf '%s %s' "$told" "$(cat "$here/err")" | tr '\n' ' ' | cut -c1-300)"
	fi
done
