"""The checklist with psycopg2."""

import io
import select
import threading
import time
import uuid

import psycopg2
import psycopg2.extensions
import psycopg2.extras
import psycopg2.pool
from checklist import BIG, WRONG_DATABASE, NotAvailable, expect, run, until_cut


def open_(autocommit=True, **words):
    conn = psycopg2.connect(application_name="matrix", **words)
    conn.autocommit = autocommit
    return conn


def rows(conn, sql, args=None):
    with conn.cursor() as cur:
        cur.execute(sql, args)
        return cur.fetchall() if cur.description else cur.rowcount


def refused(conn, sql, state, args=None):
    try:
        rows(conn, sql, args)
    except psycopg2.Error as e:
        expect(e.pgcode, state, sql)
        return e
    raise AssertionError(f"{sql} succeeded")


def connect():
    conn = open_(options="-c statement_timeout=54321 -c timezone=Asia/Tokyo", client_encoding="LATIN1")
    expect(rows(conn, "SHOW application_name"), [("matrix",)])
    expect(rows(conn, "SHOW statement_timeout"), [("54321ms",)])
    expect(rows(conn, "SELECT '2024-02-01 00:00+00'::timestamptz::text"), [("2024-02-01 09:00:00+09",)])
    expect(rows(conn, "SELECT 'ä'::text"), [("ä",)])
    expect(conn.get_parameter_status("TimeZone"), "Asia/Tokyo")
    expect(conn.encoding, "LATIN1")
    seen = []
    for words in ({"dbname": WRONG_DATABASE}, {"password": "wrong"}, {"user": "no_such_user"}):
        try:
            open_(**words)
            raise AssertionError(f"{words} let in")
        except psycopg2.OperationalError as e:
            seen.append(str(e).split("FATAL:")[1].strip())
    conn.close()
    return f"{conn.server_version // 10000}; " + "; ".join(seen)


def parameters():
    conn = open_()
    psycopg2.extras.register_uuid()
    values = (1, -(2**40), 1.5, "O'Reilly \\ ä", None, True, b"\x00\xff", [1, 2, 3], uuid.UUID(int=7))
    got = rows(conn, "SELECT %s, %s, %s::float8, %s, %s, %s, %s::bytea, %s, %s", values)[0]
    expect(got[:6] + (bytes(got[6]),) + got[7:], values)
    conn.close()
    return f"{len(values)} types"


def prepared():
    conn = open_()
    rows(conn, "CREATE TABLE prepared (a int PRIMARY KEY, b text)")
    rows(conn, "PREPARE put (int, text) AS INSERT INTO prepared VALUES ($1, $2)")
    rows(conn, "PREPARE get (int) AS SELECT b FROM prepared WHERE a = $1")
    for i in range(100):
        expect(rows(conn, "EXECUTE put (%s, %s)", (i, f"row {i}")), 1)
        expect(rows(conn, "EXECUTE get (%s)", (i,)), [(f"row {i}",)])
    rows(conn, "DEALLOCATE put")
    refused(conn, "EXECUTE put (1000, 'x')", "26000")
    rows(conn, "DEALLOCATE ALL")
    refused(conn, "EXECUTE get (1)", "26000")
    shown = rows(conn, "SELECT count(*) FROM pg_prepared_statements") == [(0,)]
    conn.close()
    return "200 executions by SQL; pg_prepared_statements " + ("empty" if shown else "shows others")


def replan():
    conn = open_()
    rows(conn, "CREATE TABLE replan (a int)")
    rows(conn, "INSERT INTO replan VALUES (1)")
    rows(conn, "PREPARE star AS SELECT * FROM replan")
    expect(rows(conn, "EXECUTE star"), [(1,)])
    rows(conn, "ALTER TABLE replan ADD b int DEFAULT 2")
    try:
        return f"columns {len(rows(conn, 'EXECUTE star')[0])}"
    except psycopg2.Error as e:
        return f"SQLSTATE {e.pgcode}"


def pipeline():
    raise NotAvailable("psycopg2 has no pipeline mode")


def pipeline_error():
    raise NotAvailable("psycopg2 has no pipeline mode")


def batch():
    conn = open_()
    rows(conn, "CREATE TABLE batch (a int PRIMARY KEY)")
    with conn.cursor() as cur:
        psycopg2.extras.execute_batch(cur, "INSERT INTO batch VALUES (%s)", [(i,) for i in range(500)], page_size=100)
        psycopg2.extras.execute_values(cur, "INSERT INTO batch VALUES %s", [(i,) for i in range(500, 1000)])
    try:
        with conn.cursor() as cur:
            cur.execute("INSERT INTO batch VALUES (5000); INSERT INTO batch VALUES (1); INSERT INTO batch VALUES (5001)")
        raise AssertionError("twice the same key")
    except psycopg2.Error as e:
        expect(e.pgcode, "23505")
    expect(rows(conn, "SELECT count(*), max(a) FROM batch"), [(1000, 999)])
    conn.close()
    return "1000 rows, a failing one undone whole"


def binary():
    raise NotAvailable("psycopg2 knows text only")


def copy_in():
    conn = open_()
    rows(conn, "CREATE TABLE copy_in (a int, b text)")
    text = "".join(f"{i}\tline {i}\n" for i in range(20000))
    with conn.cursor() as cur:
        cur.copy_expert("COPY copy_in FROM STDIN", io.StringIO(text))
        expect(cur.rowcount, 20000)
    expect(rows(conn, "SELECT count(*), sum(a) FROM copy_in"), [(20000, 199990000)])
    conn.close()
    return "20000 rows"


def copy_out():
    conn = open_()
    out = io.StringIO()
    with conn.cursor() as cur:
        cur.copy_expert("COPY (SELECT i, repeat('x', 100) FROM generate_series(1, 20000) i) TO STDOUT (FORMAT csv)", out)
    lines = out.getvalue().splitlines()
    expect((len(lines), lines[-1]), (20000, "20000," + "x" * 100))
    conn.close()
    return "20000 rows"


class Breaks(io.StringIO):
    def read(self, *_):
        if self.tell() > 0:
            raise OSError("disk gone")
        self.seek(1)
        return "1\n2\n3\n"


def copy_fail():
    conn = open_()
    rows(conn, "CREATE TABLE copy_fail (a int PRIMARY KEY)")
    with conn.cursor() as cur:
        try:
            cur.copy_expert("COPY copy_fail FROM STDIN", Breaks())
            raise AssertionError("a broken source was copied")
        except (psycopg2.Error, OSError) as e:
            state = getattr(e, "pgcode", None)
        expect(state, "57014")
        for bad, want in (("1\n2\nx\n", "22P02"), ("1\n1\n", "23505")):
            try:
                cur.copy_expert("COPY copy_fail FROM STDIN", io.StringIO(bad + "3\n" * 5000))
                raise AssertionError("bad data was copied")
            except psycopg2.Error as e:
                expect(e.pgcode, want)
        try:
            cur.copy_expert("COPY (SELECT 10 / (5 - i) FROM generate_series(1, 10) i) TO STDOUT", io.StringIO())
            raise AssertionError("copied a division by zero")
        except psycopg2.Error as e:
            expect(e.pgcode, "22012")
    expect(rows(conn, "SELECT count(*) FROM copy_fail"), [(0,)])
    conn.close()
    return "57014 22P02 23505 22012"


def cursor():
    conn = open_(autocommit=False)
    with conn.cursor("big", scrollable=True) as cur:
        cur.itersize = 100
        cur.execute("SELECT i FROM generate_series(1, 1000) i")
        expect(sum(r[0] for r in cur), 500500)
        cur.scroll(0, mode="absolute")
        expect(cur.fetchmany(3), [(1,), (2,), (3,)])
    with conn.cursor("one") as a, conn.cursor("two") as b:
        a.execute("SELECT 'a' || i FROM generate_series(1, 10) i")
        b.execute("SELECT 'b' || i FROM generate_series(1, 10) i")
        for i in range(1, 11):
            expect((a.fetchone()[0], b.fetchone()[0]), (f"a{i}", f"b{i}"))
    conn.commit()
    refused(conn, "FETCH 1 FROM big", "34000")
    conn.close()
    return "1000 rows by 100, scrolled, two at a time"


def cursor_hold():
    conn = open_(autocommit=False)
    cur = conn.cursor("held", withhold=True)
    cur.execute("SELECT i FROM generate_series(1, 100) i")
    expect(cur.fetchmany(10)[-1], (10,))
    conn.commit()
    rows(conn, "CREATE TABLE cursor_hold (a int)")
    conn.commit()
    expect(cur.fetchmany(10)[-1], (20,))
    conn.rollback()
    expect(cur.fetchone(), (21,))
    cur.close()
    conn.commit()
    refused(conn, "FETCH 1 FROM held", "34000")
    conn.close()
    return "over COMMIT and ROLLBACK"


def cancel():
    conn = open_()
    begun = time.monotonic()
    timer = threading.Timer(0.3, conn.cancel)
    timer.start()
    refused(conn, "SELECT pg_sleep(30)", "57014")
    timer.join()
    if time.monotonic() - begun > 10:
        raise AssertionError("late")
    expect(rows(conn, "SELECT 1"), [(1,)])
    conn.autocommit = False
    rows(conn, "SELECT 1")
    timer = threading.Timer(0.3, conn.cancel)
    timer.start()
    refused(conn, "SELECT pg_sleep(30)", "57014")
    timer.join()
    refused(conn, "SELECT 1", "25P02")
    conn.rollback()
    expect(rows(conn, "SELECT 1"), [(1,)])
    conn.close()
    return "57014, in a transaction 25P02 after it"


def notified(conn, n):
    end = time.monotonic() + 10
    while len(conn.notifies) < n and time.monotonic() < end:
        select.select([conn], [], [], 0.2)
        conn.poll()
    got = [(n.channel, n.payload) for n in conn.notifies]
    conn.notifies.clear()
    return got


def notify():
    listener, sender = open_(), open_(autocommit=False)
    rows(listener, "LISTEN ch")
    rows(listener, 'LISTEN "Other ch"')
    rows(sender, "NOTIFY ch, 'one'")
    rows(sender, "SELECT pg_notify('Other ch', 'two')")
    sender.commit()
    expect(notified(listener, 2), [("ch", "one"), ("Other ch", "two")])
    rows(sender, "NOTIFY ch, 'never'")
    sender.rollback()
    rows(sender, "NOTIFY ch, 'three'")
    sender.commit()
    expect(notified(listener, 1), [("ch", "three")])
    rows(listener, "NOTIFY ch, 'own'")
    expect(notified(listener, 1), [("ch", "own")])
    rows(listener, "UNLISTEN *")
    rows(sender, "NOTIFY ch, 'late'")
    sender.commit()
    rows(listener, "SELECT 1")
    expect(notified_now(listener), [])
    listener.close()
    sender.close()
    return "two channels, own one, none after UNLISTEN"


def notified_now(conn):
    conn.poll()
    return [(n.channel, n.payload) for n in conn.notifies]


def transactions():
    conn, other = open_(autocommit=False), open_()
    rows(other, "CREATE TABLE transactions (a int)")
    rows(conn, "INSERT INTO transactions VALUES (1)")
    expect(conn.info.transaction_status, psycopg2.extensions.TRANSACTION_STATUS_INTRANS)
    expect(rows(other, "SELECT count(*) FROM transactions"), [(0,)])
    conn.commit()
    expect(rows(other, "SELECT count(*) FROM transactions"), [(1,)])
    rows(conn, "INSERT INTO transactions VALUES (2)")
    conn.rollback()
    expect(rows(other, "SELECT count(*) FROM transactions"), [(1,)])
    conn.set_session(isolation_level="SERIALIZABLE", readonly=True, deferrable=True)
    expect(rows(conn, "SHOW transaction_isolation"), [("serializable",)])
    refused(conn, "INSERT INTO transactions VALUES (3)", "25006")
    conn.rollback()
    conn.set_session(isolation_level="REPEATABLE READ", readonly=False, deferrable=False)
    expect(rows(conn, "SELECT count(*) FROM transactions"), [(1,)])
    rows(other, "INSERT INTO transactions VALUES (4)")
    expect(rows(conn, "SELECT count(*) FROM transactions"), [(1,)])
    conn.commit()
    expect(rows(conn, "SELECT count(*) FROM transactions"), [(2,)])
    conn.close()
    with open_(autocommit=False) as both:
        xid = both.xid(1, "matrix", "branch")
        try:
            both.tpc_begin(xid)
            rows(both, "INSERT INTO transactions VALUES (5)")
            both.tpc_prepare()
            both.tpc_commit()
            two = "two-phase"
        except psycopg2.Error as e:
            two = f"two-phase {e.pgcode}"
    other.close()
    return f"25006, snapshots kept, {two}"


def savepoints():
    conn = open_(autocommit=False)
    rows(conn, "CREATE TABLE savepoints (a int PRIMARY KEY)")
    rows(conn, "SET application_name = 'outer'")
    rows(conn, "SAVEPOINT s1")
    rows(conn, "SET application_name = 'inner'")
    rows(conn, "INSERT INTO savepoints VALUES (1)")
    refused(conn, "INSERT INTO savepoints VALUES (1)", "23505")
    refused(conn, "SELECT 1", "25P02")
    rows(conn, "ROLLBACK TO s1")
    expect(rows(conn, "SHOW application_name"), [("outer",)])
    rows(conn, "INSERT INTO savepoints VALUES (2)")
    rows(conn, "RELEASE s1")
    refused(conn, "ROLLBACK TO s1", "3B001")
    conn.rollback()
    expect(rows(conn, "SHOW application_name"), [("matrix",)])
    expect(conn.get_parameter_status("application_name"), "matrix")
    conn.close()
    return "23505, 25P02, 3B001, settings undone"


def errors():
    conn = open_()
    for sql, state in (
        ("SELEC 1", "42601"),
        ("SELECT * FROM no_such_table", "42P01"),
        ("SELECT 1 / 0", "22012"),
        ("SELECT 'x'::int", "22P02"),
        ("DO $$BEGIN RAISE EXCEPTION 'mine' USING ERRCODE = 'MY123', DETAIL = 'd', HINT = 'h'; END$$", "MY123"),
    ):
        e = refused(conn, sql, state)
        expect(rows(conn, "SELECT 1"), [(1,)])
    expect((e.diag.message_primary, e.diag.message_detail, e.diag.message_hint), ("mine", "d", "h"))
    conn.close()
    victim, killer = open_(), open_()
    pid = victim.info.backend_pid
    expect(rows(killer, "SELECT pg_terminate_backend(%s)", (pid,)), [(True,)])
    try:
        until_cut(lambda: rows(victim, "SELECT 1"))
    except psycopg2.Error as e:
        ended = str(e).splitlines()[0]
    killer.close()
    return f"5 of them; pg_terminate_backend of the driver's pid: {ended}"


def big_rows():
    conn = open_()
    text = "x" * BIG
    expect(rows(conn, "SELECT length(%s)", (text,)), [(BIG,)])
    expect(len(rows(conn, "SELECT repeat('y', %s)", (BIG,))[0][0]), BIG)
    got = rows(conn, "SELECT i, repeat('z', 100000) FROM generate_series(1, 100) i")
    expect((len(got), sum(len(r[1]) for r in got)), (100, 10000000))
    conn.close()
    return "8 MB there and back, 100 rows of 100 kB"


def many():
    conn = open_()
    rows(conn, "CREATE TABLE many (a int PRIMARY KEY, b int)")
    for i in range(300):
        rows(conn, f"INSERT INTO many VALUES ({i}, {i * 2})")
        expect(rows(conn, f"SELECT b FROM many WHERE a = {i}"), [(i * 2,)])
    conn.close()
    for i in range(30):
        conn = open_()
        expect(rows(conn, "SELECT count(*) FROM many"), [(300,)])
        conn.close()
    return "600 statements, 30 connections"


def timeouts():
    conn = open_(options="-c statement_timeout=200")
    refused(conn, "SELECT pg_sleep(30)", "57014")
    rows(conn, "SET statement_timeout = 0")
    rows(conn, "SELECT pg_sleep(0.3)")
    conn.close()
    conn = open_(autocommit=False)
    rows(conn, "SET lock_timeout = '100ms'")
    conn.commit()
    expect(rows(conn, "SHOW lock_timeout"), [("100ms",)])
    conn.close()
    return "statement_timeout at login, lock_timeout by SET"


def session():
    conn = open_()
    rows(conn, "SET search_path = pg_catalog, public")
    rows(conn, "SELECT set_config('work_mem', '5MB', false)")
    rows(conn, "CREATE TEMP TABLE mine (a serial, b int)")
    rows(conn, "INSERT INTO mine (b) VALUES (7)")
    rows(conn, "CREATE SEQUENCE public.session_seq START 40")
    rows(conn, "SELECT nextval('public.session_seq')")
    rows(conn, "SELECT pg_advisory_lock(4711)")
    other = open_()
    expect(rows(other, "SELECT pg_try_advisory_lock(4711)"), [(False,)])
    for _ in range(3):
        expect(rows(conn, "SHOW search_path"), [("pg_catalog, public",)])
        expect(rows(conn, "SHOW work_mem"), [("5MB",)])
        expect(rows(conn, "SELECT b FROM mine"), [(7,)])
        expect(rows(conn, "SELECT currval('public.session_seq'), lastval()"), [(40, 40)])
    expect(rows(conn, "SELECT pg_advisory_unlock(4711)"), [(True,)])
    expect(rows(other, "SELECT pg_try_advisory_lock(4711)"), [(True,)])
    conn.reset()
    expect(rows(conn, "SHOW search_path"), [('"$user", public',)])
    expect(rows(conn, "SHOW work_mem"), [("4MB",)])
    conn.rollback()
    conn.autocommit = True
    rows(conn, "DISCARD ALL")
    refused(conn, "SELECT b FROM mine", "42P01")
    refused(conn, "SELECT lastval()", "55000")
    conn.close()
    other.close()
    return "settings, temporary table, sequence, advisory lock; reset(), DISCARD ALL"


def notices():
    conn = open_()
    rows(conn, "DO $$BEGIN FOR i IN 1..40 LOOP RAISE NOTICE 'n%', i; END LOOP; RAISE WARNING 'w'; END$$")
    expect((len(conn.notices), conn.notices[-1], conn.notices[0]), (41, "WARNING:  w\n", "NOTICE:  n1\n"))
    conn.close()
    return "41 in order"


def large_objects():
    conn = open_(autocommit=False)
    lob = conn.lobject(0, "wb")
    lob.write(b"\x00\x01" * 200000)
    oid = lob.oid
    lob.close()
    conn.commit()
    lob = conn.lobject(oid, "rb")
    lob.seek(399999)
    expect(lob.read(10), b"\x01")
    lob.seek(0)
    expect(len(lob.read()), 400000)
    lob.close()
    conn.lobject(oid, "n").unlink()
    conn.commit()
    try:
        conn.lobject(oid, "rb")
        raise AssertionError("still there")
    except psycopg2.Error as e:
        state = e.pgcode
    conn.rollback()
    expect(rows(conn, "SELECT 1"), [(1,)])
    conn.close()
    return f"400 kB by function calls, unlinked {state}"


def pool():
    p = psycopg2.pool.ThreadedConnectionPool(2, 4, application_name="matrix")
    setup = p.getconn()
    rows(setup, "CREATE TABLE pool (a int)")
    setup.commit()
    p.putconn(setup)

    def work(k):
        for i in range(20):
            conn = p.getconn()
            rows(conn, "SET work_mem = '9MB'")
            rows(conn, "INSERT INTO pool VALUES (%s)", (k * 100 + i,))
            if i % 2:
                conn.commit()
            p.putconn(conn)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    conn = p.getconn()
    expect(rows(conn, "SELECT count(*) FROM pool"), [(40,)])
    p.closeall()
    return "ThreadedConnectionPool, 4 threads"


run([connect, parameters, prepared, replan, pipeline, pipeline_error, batch, binary, copy_in, copy_out, copy_fail, cursor,
     cursor_hold, cancel, notify, transactions, savepoints, errors, big_rows, many, timeouts, session, notices, large_objects, pool])
