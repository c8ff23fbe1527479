/* The checklist with libpq: pipeline mode, single-row mode, asynchronous calls, the function call message. */
#include <libpq-fe.h>
#include <libpq/libpq-fs.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

static jmp_buf out;          /* where a check that has failed goes */
static char detail[1024];    /* of the check's line */
static char trace[512];      /* what a pipeline answered, in order */

static void fail(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(detail, sizeof detail, format, args);
	va_end(args);
	longjmp(out, 1);
}

static void say(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(detail, sizeof detail, format, args);
	va_end(args);
}

static void note(const char *word)
{
	size_t n = strlen(trace);
	snprintf(trace + n, sizeof trace - n, "%s%s", n ? " " : "", word ? word : "?");
}

static PGconn *open_with(const char *words)
{
	char text[256];
	snprintf(text, sizeof text, "application_name=matrix %s", words);
	PGconn *conn = PQconnectdb(text);
	if (PQstatus(conn) != CONNECTION_OK)
		fail("connect: %s", PQerrorMessage(conn));
	return conn;
}

static PGconn *open_one(void) { return open_with(""); }

static const char *state_of(const PGresult *r)
{
	const char *s = PQresultErrorField(r, PG_DIAG_SQLSTATE);
	return s ? s : "none";
}

/* A statement that must succeed; the caller clears the result. */
static PGresult *query(PGconn *conn, const char *sql)
{
	PGresult *r = PQexec(conn, sql);
	ExecStatusType s = PQresultStatus(r);
	if (s != PGRES_COMMAND_OK && s != PGRES_TUPLES_OK)
		fail("%s: %s", sql, PQerrorMessage(conn));
	return r;
}

static void run(PGconn *conn, const char *sql) { PQclear(query(conn, sql)); }

static void value_is(PGconn *conn, const char *sql, const char *want)
{
	PGresult *r = query(conn, sql);
	if (PQntuples(r) != 1 || strcmp(PQgetvalue(r, 0, 0), want) != 0)
		fail("%s: %s, want %s", sql, PQntuples(r) ? PQgetvalue(r, 0, 0) : "no row", want);
	PQclear(r);
}

static void refused(PGconn *conn, const char *sql, const char *want)
{
	PGresult *r = PQexec(conn, sql);
	if (PQresultStatus(r) != PGRES_FATAL_ERROR || strcmp(state_of(r), want) != 0)
		fail("%s: %s %s, want %s", sql, PQresStatus(PQresultStatus(r)), state_of(r), want);
	PQclear(r);
}

static void same(long got, long want, const char *what)
{
	if (got != want)
		fail("%s: %ld, want %ld", what, got, want);
}

static void must(int fine, PGconn *conn, const char *what)
{
	if (!fine)
		fail("%s: %s", what, PQerrorMessage(conn));
}

static void check_connect(void)
{
	PGconn *conn = open_with("options='-c statement_timeout=54321 -c timezone=Asia/Tokyo'");
	value_is(conn, "SHOW application_name", "matrix");
	value_is(conn, "SHOW statement_timeout", "54321ms");
	if (strcmp(PQparameterStatus(conn, "TimeZone"), "Asia/Tokyo") != 0)
		fail("TimeZone is %s", PQparameterStatus(conn, "TimeZone"));
	int version = PQserverVersion(conn) / 10000;
	PQreset(conn);
	value_is(conn, "SHOW statement_timeout", "54321ms");
	PQfinish(conn);
	char seen[600] = "";
	const char *bad[] = {"dbname=no_such_database", "password=wrong", "user=no_such_user", NULL};
	for (int i = 0; bad[i]; i++) {
		PGconn *c = PQconnectdb(bad[i]);
		if (PQstatus(c) == CONNECTION_OK)
			fail("%s let in", bad[i]);
		char *fatal = strstr(PQerrorMessage(c), "FATAL:");
		strncat(seen, fatal ? fatal + 7 : PQerrorMessage(c), 150);
		PQfinish(c);
	}
	for (char *c = seen; *c; c++)
		if (*c == '\n')
			*c = ';';
	say("%d, PQreset; %s", version, seen);
}

static void check_parameters(void)
{
	PGconn *conn = open_one();
	uint32_t n = htonl(41);
	const char *values[] = {(char *)&n, "O'Reilly \\ \xc3\xa4", NULL, "{1,2,3}"};
	int lengths[] = {4, 0, 0, 0}, formats[] = {1, 0, 0, 0};
	Oid types[] = {23, 25, 23, 0};
	PGresult *r = PQexecParams(conn, "SELECT $1 + 1, $2, $3, $4::int[]", 4, types, values, lengths, formats, 0);
	if (PQresultStatus(r) != PGRES_TUPLES_OK)
		fail("%s", PQerrorMessage(conn));
	if (strcmp(PQgetvalue(r, 0, 0), "42") || strcmp(PQgetvalue(r, 0, 1), values[1]) || !PQgetisnull(r, 0, 2) || strcmp(PQgetvalue(r, 0, 3), "{1,2,3}"))
		fail("%s %s %s", PQgetvalue(r, 0, 0), PQgetvalue(r, 0, 1), PQgetvalue(r, 0, 3));
	PQclear(r);
	PQfinish(conn);
	say("4 in text and binary");
}

static void check_prepared(void)
{
	PGconn *conn = open_one();
	run(conn, "CREATE TABLE prepared (a int PRIMARY KEY, b text)");
	PGresult *r = PQprepare(conn, "put", "INSERT INTO prepared VALUES ($1, $2)", 0, NULL);
	must(PQresultStatus(r) == PGRES_COMMAND_OK, conn, "put");
	PQclear(r);
	r = PQprepare(conn, "get", "SELECT b FROM prepared WHERE a = $1", 0, NULL);
	must(PQresultStatus(r) == PGRES_COMMAND_OK, conn, "get");
	PQclear(r);
	for (int i = 0; i < 100; i++) {
		char a[20], b[20];
		snprintf(a, sizeof a, "%d", i);
		snprintf(b, sizeof b, "row %d", i);
		const char *both[] = {a, b};
		r = PQexecPrepared(conn, "put", 2, both, NULL, NULL, 0);
		must(PQresultStatus(r) == PGRES_COMMAND_OK, conn, "put");
		PQclear(r);
		r = PQexecPrepared(conn, "get", 1, both, NULL, NULL, 0);
		if (PQntuples(r) != 1 || strcmp(PQgetvalue(r, 0, 0), b))
			fail("row %d: %s", i, PQerrorMessage(conn));
		PQclear(r);
	}
	r = PQdescribePrepared(conn, "get");
	same(PQnparams(r), 1, "parameters");
	same(PQparamtype(r, 0), 23, "type");
	same(PQnfields(r), 1, "fields");
	PQclear(r);
	r = PQprepare(conn, "get", "SELECT 1", 0, NULL);
	if (strcmp(state_of(r), "42P05"))
		fail("prepared twice: %s", state_of(r));
	PQclear(r);
	r = PQexecPrepared(conn, "none", 0, NULL, NULL, NULL, 0);
	if (strcmp(state_of(r), "26000"))
		fail("never prepared: %s", state_of(r));
	PQclear(r);
	run(conn, "EXECUTE put(1000, 'by SQL')");
	run(conn, "DEALLOCATE get");
	r = PQdescribePrepared(conn, "get");
	if (strcmp(state_of(r), "26000"))
		fail("deallocated: %s", state_of(r));
	PQclear(r);
	PQfinish(conn);
	say("200 executions, described; 42P05, 26000; EXECUTE and DEALLOCATE by SQL");
}

static void check_replan(void)
{
	PGconn *conn = open_one();
	run(conn, "CREATE TABLE replan (a int)");
	run(conn, "INSERT INTO replan VALUES (1)");
	PQclear(PQprepare(conn, "star", "SELECT * FROM replan", 0, NULL));
	for (int i = 0; i < 3; i++)
		PQclear(PQexecPrepared(conn, "star", 0, NULL, NULL, NULL, 0));
	run(conn, "ALTER TABLE replan ADD b int DEFAULT 2");
	PGresult *r = PQexecPrepared(conn, "star", 0, NULL, NULL, NULL, 0);
	if (PQresultStatus(r) == PGRES_TUPLES_OK)
		say("columns %d", PQnfields(r));
	else
		say("SQLSTATE %s", state_of(r));
	PQclear(r);
	PQfinish(conn);
}

/* Reads everything a pipeline still answers, until so many syncs have come. */
static void drain(PGconn *conn, int syncs)
{
	while (syncs > 0) {
		PGresult *r = PQgetResult(conn);
		if (r == NULL)
			continue;
		switch (PQresultStatus(r)) {
		case PGRES_PIPELINE_SYNC:
			note("sync");
			syncs--;
			break;
		case PGRES_PIPELINE_ABORTED:
			note("aborted");
			break;
		case PGRES_FATAL_ERROR:
			note(state_of(r));
			if (PQstatus(conn) == CONNECTION_BAD)
				fail("connection lost: %s", PQerrorMessage(conn));
			break;
		case PGRES_TUPLES_OK:
			note("rows");
			break;
		default:
			note("ok");
		}
		PQclear(r);
	}
}

static int send_one(PGconn *conn, const char *sql, const char *value)
{
	return PQsendQueryParams(conn, sql, value ? 1 : 0, NULL, &value, NULL, NULL, 0);
}

static void check_pipeline(void)
{
	enum { n = 400 };
	PGconn *conn = open_one();
	run(conn, "CREATE TABLE pipeline (a int PRIMARY KEY)");
	must(PQenterPipelineMode(conn), conn, "PQenterPipelineMode");
	must(PQsendPrepare(conn, "put", "INSERT INTO pipeline VALUES ($1)", 0, NULL), conn, "PQsendPrepare");
	must(PQsetnonblocking(conn, 1) == 0, conn, "PQsetnonblocking");
	for (int i = 0; i < n; i++) {
		char a[20];
		snprintf(a, sizeof a, "%d", i);
		const char *values[] = {a};
		must(PQsendQueryPrepared(conn, "put", 1, values, NULL, NULL, 0), conn, "put");
		must(send_one(conn, "SELECT count(*)::text || $1 FROM pipeline", "."), conn, "count");
	}
	must(PQpipelineSync(conn), conn, "PQpipelineSync");
	must(PQsetnonblocking(conn, 0) == 0, conn, "PQsetnonblocking");
	PGresult *r = PQgetResult(conn); /* of PQsendPrepare */
	same(PQresultStatus(r), PGRES_COMMAND_OK, "prepare");
	PQclear(r);
	PQgetResult(conn);
	for (int i = 0; i < n; i++) {
		r = PQgetResult(conn);
		same(PQresultStatus(r), PGRES_COMMAND_OK, "insert");
		PQclear(r);
		PQgetResult(conn);
		r = PQgetResult(conn);
		char want[20];
		snprintf(want, sizeof want, "%d.", i + 1);
		if (PQresultStatus(r) != PGRES_TUPLES_OK || strcmp(PQgetvalue(r, 0, 0), want))
			fail("%d: %s %s", i, PQresStatus(PQresultStatus(r)), PQresultStatus(r) == PGRES_TUPLES_OK ? PQgetvalue(r, 0, 0) : PQerrorMessage(conn));
		PQclear(r);
		PQgetResult(conn);
	}
	drain(conn, 1);
	/* Without a Sync: the server is asked to send what it has. */
	must(send_one(conn, "SELECT 'flushed'", NULL) && PQsendFlushRequest(conn) && PQflush(conn) == 0, conn, "PQsendFlushRequest");
	r = PQgetResult(conn);
	if (PQresultStatus(r) != PGRES_TUPLES_OK || strcmp(PQgetvalue(r, 0, 0), "flushed"))
		fail("after the flush request: %s", PQerrorMessage(conn));
	PQclear(r);
	PQgetResult(conn);
	/* Transactions in a pipeline. */
	const char *list[] = {"BEGIN", "DELETE FROM pipeline", "ROLLBACK", "BEGIN", "DELETE FROM pipeline WHERE a < 100", "COMMIT", NULL};
	for (int i = 0; list[i]; i++)
		must(send_one(conn, list[i], NULL), conn, list[i]);
	must(PQpipelineSync(conn), conn, "PQpipelineSync");
	drain(conn, 1);
	must(PQexitPipelineMode(conn), conn, "PQexitPipelineMode");
	value_is(conn, "SELECT count(*) FROM pipeline", "300");
	PQfinish(conn);
	say("%s", trace);
}

static void check_pipeline_error(void)
{
	PGconn *conn = open_one();
	run(conn, "CREATE TABLE pipeline_error (a int PRIMARY KEY)");
	must(PQenterPipelineMode(conn), conn, "PQenterPipelineMode");
	const char *batches[][4] = {{"1", "2", NULL}, {"3", "1", "4", NULL}, {"5", NULL}, {"x", "6", NULL}, {"7", NULL}};
	for (int b = 0; b < 5; b++) {
		for (int i = 0; batches[b][i]; i++)
			must(send_one(conn, "INSERT INTO pipeline_error VALUES ($1)", batches[b][i]), conn, "insert");
		must(PQpipelineSync(conn), conn, "PQpipelineSync");
	}
	drain(conn, 5);
	/* An error in a transaction block lasts over the Sync. */
	must(send_one(conn, "BEGIN", NULL) && send_one(conn, "SELECT 1 / 0", NULL) && PQpipelineSync(conn), conn, "in a block");
	must(send_one(conn, "SELECT 1", NULL) && PQpipelineSync(conn) && send_one(conn, "ROLLBACK", NULL) && PQpipelineSync(conn), conn, "after it");
	drain(conn, 3);
	must(PQexitPipelineMode(conn), conn, "PQexitPipelineMode");
	value_is(conn, "SELECT string_agg(a::text, ',' ORDER BY a) FROM pipeline_error", "1,2,5,7");
	PQfinish(conn);
	say("%s", trace);
}

static void check_batch(void)
{
	PGconn *conn = open_one();
	run(conn, "CREATE TABLE batch (a int PRIMARY KEY); INSERT INTO batch VALUES (1); INSERT INTO batch VALUES (2)");
	must(PQsendQuery(conn, "SELECT 1; INSERT INTO batch VALUES (3); SELECT 1 / 0; SELECT 2"), conn, "PQsendQuery");
	PGresult *r;
	while ((r = PQgetResult(conn)) != NULL) {
		note(PQresultStatus(r) == PGRES_FATAL_ERROR ? state_of(r) : PQcmdStatus(r));
		PQclear(r);
	}
	value_is(conn, "SELECT max(a) FROM batch", "2");
	r = PQexec(conn, "");
	same(PQresultStatus(r), PGRES_EMPTY_QUERY, "an empty query");
	PQclear(r);
	PQfinish(conn);
	say("%s", trace);
}

static void check_binary(void)
{
	PGconn *conn = open_one();
	PGresult *r = PQexecParams(conn, "SELECT 42, 'x'::text, decode('00ff', 'hex')", 0, NULL, NULL, NULL, NULL, 1);
	must(PQresultStatus(r) == PGRES_TUPLES_OK, conn, "select");
	uint32_t n;
	memcpy(&n, PQgetvalue(r, 0, 0), 4);
	same(ntohl(n), 42, "int4");
	same(PQgetlength(r, 0, 2), 2, "bytea");
	PQclear(r);
	PQfinish(conn);
	say("int4, text, bytea");
}

static void check_copy_in(void)
{
	PGconn *conn = open_one();
	run(conn, "CREATE TABLE copy_in (a int, b text)");
	PQclear(PQexec(conn, "COPY copy_in FROM STDIN"));
	for (int i = 0; i < 20000; i++) {
		char line[50];
		int n = snprintf(line, sizeof line, "%d\tline %d\n", i, i);
		must(PQputCopyData(conn, line, n) == 1, conn, "PQputCopyData");
	}
	must(PQputCopyEnd(conn, NULL) == 1, conn, "PQputCopyEnd");
	PGresult *r = PQgetResult(conn);
	if (strcmp(PQcmdTuples(r), "20000"))
		fail("%s", PQerrorMessage(conn));
	PQclear(r);
	PQgetResult(conn);
	value_is(conn, "SELECT sum(a) FROM copy_in", "199990000");
	PQfinish(conn);
	say("20000 rows");
}

static void check_copy_out(void)
{
	PGconn *conn = open_one();
	PQclear(PQexec(conn, "COPY (SELECT repeat('x', 99) FROM generate_series(1, 20000)) TO STDOUT"));
	char *line;
	long n = 0, size = 0;
	int got;
	while ((got = PQgetCopyData(conn, &line, 0)) > 0) {
		n++;
		size += got;
		PQfreemem(line);
	}
	same(got, -1, "the end");
	PGresult *r = PQgetResult(conn);
	same(PQresultStatus(r), PGRES_COMMAND_OK, "result");
	PQclear(r);
	PQgetResult(conn);
	same(n, 20000, "rows");
	same(size, 2000000, "bytes");
	value_is(conn, "SELECT 1", "1");
	PQfinish(conn);
	say("20000 rows");
}

static void check_copy_fail(void)
{
	PGconn *conn = open_one();
	run(conn, "CREATE TABLE copy_fail (a int PRIMARY KEY)");
	const char *bad[] = {"1\n2\nx\n", "1\n1\n", NULL};
	for (int i = 0; i < 3; i++) {
		PQclear(PQexec(conn, "COPY copy_fail FROM STDIN"));
		if (bad[i]) {
			PQputCopyData(conn, bad[i], (int)strlen(bad[i]));
			for (int k = 0; k < 50000; k++)
				PQputCopyData(conn, "3\n", 2);
			PQputCopyEnd(conn, NULL);
		} else {
			PQputCopyData(conn, "7\n", 2);
			PQputCopyEnd(conn, "given up");
		}
		PGresult *r = PQgetResult(conn);
		note(state_of(r));
		PQclear(r);
		PQgetResult(conn);
	}
	PQclear(PQexec(conn, "COPY (SELECT 10 / (5 - i) FROM generate_series(1, 10) i) TO STDOUT"));
	char *line;
	int n = 0;
	while (PQgetCopyData(conn, &line, 0) > 0) {
		n++;
		PQfreemem(line);
	}
	PGresult *r = PQgetResult(conn);
	note(state_of(r));
	PQclear(r);
	PQgetResult(conn);
	same(n, 4, "rows before the error");
	/* A copy nobody reads on: the next statement is refused until it is over. */
	PQclear(PQexec(conn, "COPY copy_fail FROM STDIN"));
	value_is(conn, "SELECT count(*) FROM copy_fail", "0");
	PQfinish(conn);
	say("%s", trace);
}

static void check_cursor(void)
{
	PGconn *conn = open_one();
	must(PQsendQuery(conn, "SELECT i FROM generate_series(1, 20000) i"), conn, "PQsendQuery");
	must(PQsetSingleRowMode(conn), conn, "PQsetSingleRowMode");
	long sum = 0;
	PGresult *r;
	while ((r = PQgetResult(conn)) != NULL) {
		if (PQresultStatus(r) == PGRES_SINGLE_TUPLE)
			sum += atol(PQgetvalue(r, 0, 0));
		PQclear(r);
	}
	same(sum, 200010000, "rows one by one");
	must(PQsendQuery(conn, "SELECT 10 / (1000 - i) FROM generate_series(1, 2000) i") && PQsetSingleRowMode(conn), conn, "PQsendQuery");
	long n = 0;
	char last[8] = "";
	while ((r = PQgetResult(conn)) != NULL) {
		if (PQresultStatus(r) == PGRES_SINGLE_TUPLE)
			n++;
		else
			snprintf(last, sizeof last, "%s", state_of(r));
		PQclear(r);
	}
	run(conn, "BEGIN");
	run(conn, "DECLARE big SCROLL CURSOR FOR SELECT i FROM generate_series(1, 1000) i");
	r = query(conn, "FETCH 100 FROM big");
	same(PQntuples(r), 100, "FETCH");
	PQclear(r);
	value_is(conn, "FETCH ABSOLUTE 42 FROM big", "42");
	r = PQdescribePortal(conn, "big");
	same(PQnfields(r), 1, "PQdescribePortal");
	PQclear(r);
	run(conn, "COMMIT");
	refused(conn, "FETCH 1 FROM big", "34000");
	PQfinish(conn);
	say("20000 rows one by one, %ld before %s, scrolled, described", n, last);
}

static void check_cursor_hold(void)
{
	PGconn *conn = open_one();
	run(conn, "BEGIN");
	run(conn, "DECLARE held CURSOR WITH HOLD FOR SELECT i FROM generate_series(1, 100) i");
	value_is(conn, "FETCH 1 FROM held", "1");
	run(conn, "COMMIT");
	value_is(conn, "FETCH 1 FROM held", "2");
	run(conn, "CREATE TABLE cursor_hold (a int)");
	value_is(conn, "FETCH 1 FROM held", "3");
	run(conn, "CLOSE held");
	refused(conn, "FETCH 1 FROM held", "34000");
	PQfinish(conn);
	say("over COMMIT, by SQL");
}

static void *cancel_soon(void *arg)
{
	char problem[256];
	struct timespec soon = {0, 300000000};
	nanosleep(&soon, NULL);
	PQcancel(arg, problem, sizeof problem);
	return NULL;
}

static void cancelled(PGconn *conn, const char *sql)
{
	pthread_t thread;
	PGcancel *key = PQgetCancel(conn);
	pthread_create(&thread, NULL, cancel_soon, key);
	PGresult *r = PQexec(conn, sql);
	pthread_join(thread, NULL);
	PQfreeCancel(key);
	if (strcmp(state_of(r), "57014"))
		fail("%s: %s", sql, state_of(r));
	PQclear(r);
}

static void check_cancel(void)
{
	PGconn *conn = open_one();
	cancelled(conn, "SELECT pg_sleep(30)");
	value_is(conn, "SELECT 1", "1");
	run(conn, "BEGIN");
	cancelled(conn, "SELECT pg_sleep(30)");
	refused(conn, "SELECT 1", "25P02");
	run(conn, "ROLLBACK");
	PGcancel *key = PQgetCancel(conn); /* with nothing to cancel */
	char problem[256];
	must(PQcancel(key, problem, sizeof problem), conn, "PQcancel");
	PQfreeCancel(key);
	PQfinish(conn);
	say("57014, in a transaction 25P02 after it, idle");
}

static void hear(PGconn *conn, const char *want)
{
	for (int i = 0; i < 100; i++) {
		must(PQconsumeInput(conn), conn, "PQconsumeInput");
		PGnotify *n = PQnotifies(conn);
		if (n) {
			if (strcmp(n->extra, want))
				fail("heard %s, want %s", n->extra, want);
			PQfreemem(n);
			return;
		}
		struct pollfd p = {PQsocket(conn), POLLIN, 0};
		poll(&p, 1, 100);
	}
	fail("%s was not heard", want);
}

static void check_notify(void)
{
	PGconn *listener = open_one(), *sender = open_one();
	run(listener, "LISTEN ch");
	run(listener, "LISTEN \"Other ch\"");
	run(sender, "BEGIN; NOTIFY ch, 'one'; SELECT pg_notify('Other ch', 'two'); COMMIT");
	run(sender, "BEGIN; NOTIFY ch, 'never'; ROLLBACK");
	run(sender, "NOTIFY ch, 'three'");
	hear(listener, "one");
	hear(listener, "two");
	hear(listener, "three");
	run(listener, "NOTIFY ch, 'own'");
	PGnotify *own = PQnotifies(listener);
	if (!own)
		hear(listener, "own");
	else if (own->be_pid != PQbackendPID(listener))
		note("be_pid is not PQbackendPID");
	PQfreemem(own);
	run(listener, "UNLISTEN *");
	run(sender, "NOTIFY ch, 'late'");
	run(listener, "SELECT 1");
	if (PQnotifies(listener))
		fail("heard after UNLISTEN");
	PQfinish(listener);
	PQfinish(sender);
	say("two channels, own one, none after UNLISTEN %s", trace);
}

static void check_transactions(void)
{
	PGconn *conn = open_one(), *other = open_one();
	run(other, "CREATE TABLE transactions (a int)");
	run(conn, "BEGIN");
	same(PQtransactionStatus(conn), PQTRANS_INTRANS, "status");
	run(conn, "INSERT INTO transactions VALUES (1)");
	value_is(other, "SELECT count(*) FROM transactions", "0");
	run(conn, "COMMIT AND CHAIN");
	same(PQtransactionStatus(conn), PQTRANS_INTRANS, "status after COMMIT AND CHAIN");
	run(conn, "INSERT INTO transactions VALUES (2)");
	run(conn, "ROLLBACK");
	value_is(other, "SELECT count(*) FROM transactions", "1");
	run(conn, "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE");
	value_is(conn, "SHOW transaction_isolation", "serializable");
	refused(conn, "INSERT INTO transactions VALUES (3)", "25006");
	same(PQtransactionStatus(conn), PQTRANS_INERROR, "status after an error");
	run(conn, "ROLLBACK");
	run(conn, "BEGIN ISOLATION LEVEL REPEATABLE READ");
	value_is(conn, "SELECT count(*) FROM transactions", "1");
	run(other, "INSERT INTO transactions VALUES (4)");
	value_is(conn, "SELECT count(*) FROM transactions", "1");
	run(conn, "COMMIT");
	run(conn, "SET default_transaction_isolation = 'repeatable read'");
	run(conn, "BEGIN");
	value_is(conn, "SELECT count(*) FROM transactions", "2");
	run(other, "INSERT INTO transactions VALUES (5)");
	value_is(conn, "SELECT count(*) FROM transactions", "2");
	run(conn, "COMMIT");
	value_is(conn, "SELECT count(*) FROM transactions", "3");
	run(conn, "INSERT INTO transactions VALUES (6); BEGIN; INSERT INTO transactions VALUES (7)");
	run(conn, "ROLLBACK");
	value_is(conn, "SELECT count(*) FROM transactions", "3");
	PQfinish(conn);
	PQfinish(other);
	say("COMMIT AND CHAIN, 25006, snapshots kept, BEGIN in the middle of a query");
}

static void check_savepoints(void)
{
	PGconn *conn = open_one();
	run(conn, "CREATE TABLE savepoints (a int PRIMARY KEY)");
	run(conn, "BEGIN");
	run(conn, "SET application_name = 'outer'");
	run(conn, "SAVEPOINT s1");
	run(conn, "SET application_name = 'inner'");
	if (strcmp(PQparameterStatus(conn, "application_name"), "inner"))
		fail("reported %s", PQparameterStatus(conn, "application_name"));
	run(conn, "INSERT INTO savepoints VALUES (1)");
	refused(conn, "INSERT INTO savepoints VALUES (1)", "23505");
	refused(conn, "SELECT 1", "25P02");
	run(conn, "ROLLBACK TO s1");
	if (strcmp(PQparameterStatus(conn, "application_name"), "outer"))
		fail("reported %s after ROLLBACK TO", PQparameterStatus(conn, "application_name"));
	run(conn, "INSERT INTO savepoints VALUES (2)");
	run(conn, "RELEASE s1");
	refused(conn, "ROLLBACK TO s1", "3B001");
	run(conn, "ROLLBACK");
	value_is(conn, "SHOW application_name", "matrix");
	PQfinish(conn);
	say("23505, 25P02, 3B001, settings undone and reported");
}

static void check_errors(void)
{
	PGconn *conn = open_one();
	const char *bad[][2] = {{"SELEC 1", "42601"}, {"SELECT * FROM no_such_table", "42P01"}, {"SELECT 1 / 0", "22012"}, {"SELECT 'x'::int", "22P02"}};
	for (int i = 0; i < 4; i++) {
		refused(conn, bad[i][0], bad[i][1]);
		value_is(conn, "SELECT 1", "1");
		PGresult *r = PQexecParams(conn, bad[i][0], 0, NULL, NULL, NULL, NULL, 1);
		if (strcmp(state_of(r), bad[i][1]))
			fail("%s extended: %s", bad[i][0], state_of(r));
		PQclear(r);
		value_is(conn, "SELECT 1", "1");
	}
	PGresult *r = PQexec(conn, "SELECT 1 + no_such_column");
	if (!PQresultErrorField(r, PG_DIAG_STATEMENT_POSITION) || atoi(PQresultErrorField(r, PG_DIAG_STATEMENT_POSITION)) != 12)
		fail("position of the error");
	PQclear(r);
	PGconn *killer = open_one();
	char sql[80];
	snprintf(sql, sizeof sql, "SELECT pg_terminate_backend(%d)", PQbackendPID(conn));
	value_is(killer, sql, "t");
	for (int i = 0; i < 250 && PQstatus(conn) == CONNECTION_OK; i++) {
		r = PQexec(conn, "SELECT 1");
		if (PQstatus(conn) != CONNECTION_OK)
			note(state_of(r));
		PQclear(r);
		struct timespec moment = {0, 20000000};
		nanosleep(&moment, NULL);
	}
	if (PQstatus(conn) == CONNECTION_OK)
		fail("lives on");
	PQfinish(killer);
	PQfinish(conn);
	say("4 of them, twice, a position; pg_terminate_backend of the driver's pid");
}

static void check_big_rows(void)
{
	enum { size = 8 << 20 };
	PGconn *conn = open_one();
	char *text = malloc(size + 1);
	memset(text, 'x', size);
	text[size] = 0;
	const char *values[] = {text};
	PGresult *r = PQexecParams(conn, "SELECT length($1::text)", 1, NULL, values, NULL, NULL, 0);
	must(PQresultStatus(r) == PGRES_TUPLES_OK, conn, "there");
	same(atol(PQgetvalue(r, 0, 0)), size, "there");
	PQclear(r);
	r = PQexecParams(conn, "SELECT $1::text", 1, NULL, values, NULL, NULL, 1);
	must(PQresultStatus(r) == PGRES_TUPLES_OK, conn, "and back");
	same(PQgetlength(r, 0, 0), size, "and back");
	PQclear(r);
	free(text);
	r = query(conn, "SELECT repeat('z', 100000) FROM generate_series(1, 100)");
	same(PQntuples(r), 100, "rows");
	PQclear(r);
	PQfinish(conn);
	say("8 MB there and back, 100 rows of 100 kB");
}

static void check_many(void)
{
	PGconn *conn = open_one();
	run(conn, "CREATE TABLE many (a int PRIMARY KEY, b int)");
	for (int i = 0; i < 300; i++) {
		char sql[100], want[20];
		snprintf(sql, sizeof sql, "INSERT INTO many VALUES (%d, %d)", i, 2 * i);
		run(conn, sql);
		snprintf(sql, sizeof sql, "SELECT b FROM many WHERE a = %d", i);
		snprintf(want, sizeof want, "%d", 2 * i);
		value_is(conn, sql, want);
	}
	PQfinish(conn);
	for (int i = 0; i < 30; i++) {
		conn = open_one();
		value_is(conn, "SELECT count(*) FROM many", "300");
		PQfinish(conn);
	}
	say("600 statements, 30 connections");
}

static void check_timeouts(void)
{
	PGconn *conn = open_with("options='-c statement_timeout=200'");
	refused(conn, "SELECT pg_sleep(30)", "57014");
	run(conn, "SET statement_timeout = 0");
	run(conn, "SELECT pg_sleep(0.3)");
	run(conn, "SET idle_in_transaction_session_timeout = 200");
	run(conn, "BEGIN");
	run(conn, "SELECT 1");
	struct pollfd p = {PQsocket(conn), POLLIN, 0};
	same(poll(&p, 1, 5000), 1, "idle in a transaction");
	PGresult *r = PQexec(conn, "SELECT 1");
	same(PQstatus(conn), CONNECTION_BAD, "cut");
	PQclear(r);
	PQfinish(conn);
	conn = open_with("options='-c idle_session_timeout=200'");
	struct pollfd q = {PQsocket(conn), POLLIN, 0};
	say("statement_timeout, idle_in_transaction_session_timeout; idle_session_timeout %s", poll(&q, 1, 1500) == 1 ? "cuts" : "does not cut");
	PQfinish(conn);
}

static void check_session(void)
{
	PGconn *conn = open_one(), *other = open_one();
	run(conn, "SET search_path = pg_catalog, public");
	run(conn, "SELECT set_config('work_mem', '5MB', false)");
	run(conn, "CREATE TEMP TABLE mine (a serial, b int)");
	run(conn, "INSERT INTO mine (b) VALUES (7)");
	run(conn, "CREATE SEQUENCE public.session_seq START 40");
	run(conn, "SELECT nextval('public.session_seq')");
	run(conn, "SELECT pg_advisory_lock(4711)");
	run(conn, "SET ROLE app; RESET ROLE");
	value_is(other, "SELECT pg_try_advisory_lock(4711)", "f");
	for (int i = 0; i < 3; i++) {
		value_is(conn, "SHOW search_path", "pg_catalog, public");
		value_is(conn, "SHOW work_mem", "5MB");
		value_is(conn, "SELECT b FROM mine", "7");
		value_is(conn, "SELECT currval('public.session_seq') + lastval()", "80");
	}
	value_is(conn, "SELECT pg_advisory_unlock(4711)", "t");
	value_is(other, "SELECT pg_try_advisory_lock(4711)", "t");
	run(conn, "PREPARE p AS SELECT 'p'");
	value_is(conn, "EXECUTE p", "p");
	run(conn, "DISCARD ALL");
	refused(conn, "EXECUTE p", "26000");
	value_is(conn, "SHOW search_path", "\"$user\", public");
	value_is(conn, "SHOW work_mem", "4MB");
	refused(conn, "SELECT b FROM mine", "42P01");
	refused(conn, "SELECT lastval()", "55000");
	PQfinish(conn);
	PQfinish(other);
	say("settings, temporary table, sequence, advisory lock, PREPARE; DISCARD ALL");
}

static int noticed;

static void count_notice(void *arg, const PGresult *r)
{
	(void)arg;
	(void)r;
	noticed++;
}

static void check_notices(void)
{
	PGconn *conn = open_one();
	PQsetNoticeReceiver(conn, count_notice, NULL);
	run(conn, "DO $$BEGIN FOR i IN 1..40 LOOP RAISE NOTICE 'n%', i; END LOOP; RAISE WARNING 'w'; END$$");
	same(noticed, 41, "notices");
	PQfinish(conn);
	say("41");
}

static void check_large_objects(void)
{
	enum { size = 400000 };
	static char data[size], back[size];
	PGconn *conn = open_one();
	memset(data, 7, size);
	run(conn, "BEGIN");
	Oid oid = lo_creat(conn, INV_READ | INV_WRITE);
	must(oid != 0, conn, "lo_creat");
	int fd = lo_open(conn, oid, INV_WRITE);
	must(fd >= 0, conn, "lo_open");
	must(lo_write(conn, fd, data, size) == size, conn, "lo_write");
	must(lo_close(conn, fd) == 0, conn, "lo_close");
	run(conn, "COMMIT");
	run(conn, "BEGIN");
	fd = lo_open(conn, oid, INV_READ);
	must(fd >= 0, conn, "lo_open to read");
	int n = 0, got;
	while (n < size && (got = lo_read(conn, fd, back + n, 65536)) > 0)
		n += got;
	same(n, size, "bytes");
	same(memcmp(data, back, size), 0, "what came back");
	must(lo_lseek(conn, fd, -1, 2) == size - 1, conn, "lo_lseek");
	must(lo_unlink(conn, oid) == 1, conn, "lo_unlink");
	run(conn, "COMMIT");
	run(conn, "BEGIN");
	same(lo_open(conn, oid, INV_READ), -1, "lo_open of what is gone");
	run(conn, "ROLLBACK");
	value_is(conn, "SELECT 1", "1");
	PQfinish(conn);
	say("400 kB by function calls");
}

struct check {
	const char *name;
	void (*run)(void);
};

static const struct check checks[] = {
	{"connect", check_connect}, {"parameters", check_parameters}, {"prepared", check_prepared}, {"replan", check_replan},
	{"pipeline", check_pipeline}, {"pipeline_error", check_pipeline_error}, {"batch", check_batch}, {"binary", check_binary},
	{"copy_in", check_copy_in}, {"copy_out", check_copy_out}, {"copy_fail", check_copy_fail}, {"cursor", check_cursor},
	{"cursor_hold", check_cursor_hold}, {"cancel", check_cancel}, {"notify", check_notify}, {"transactions", check_transactions},
	{"savepoints", check_savepoints}, {"errors", check_errors}, {"big_rows", check_big_rows}, {"many", check_many},
	{"timeouts", check_timeouts}, {"session", check_session}, {"notices", check_notices}, {"large_objects", check_large_objects},
};

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "-version") == 0) {
		printf("%d.%d\n", PQlibVersion() / 10000, PQlibVersion() % 10000);
		return 0;
	}
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
		int wanted = argc == 1;
		for (int k = 1; k < argc; k++)
			wanted |= strcmp(argv[k], checks[i].name) == 0;
		if (!wanted)
			continue;
		detail[0] = trace[0] = 0;
		const char *status = "ok";
		if (setjmp(out) == 0)
			checks[i].run();
		else
			status = "failed";
		for (char *c = detail; *c; c++)
			if (*c == '\n')
				*c = ' ';
		printf("%s %s %s\n", checks[i].name, status, detail);
		fflush(stdout);
	}
	return 0;
}
