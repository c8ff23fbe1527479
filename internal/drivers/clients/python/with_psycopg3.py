"""The checklist with psycopg 3. PREPARE_THRESHOLD is its setting of that name."""

import asyncio
import threading
import time
import uuid
from datetime import datetime, timezone
from decimal import Decimal

import psycopg
import psycopg_pool
from checklist import BIG, WRONG_DATABASE, env, expect, run, until_cut
from psycopg import pq
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

THRESHOLD = env("PREPARE_THRESHOLD")


def open_(autocommit=True, **words):
    if THRESHOLD:
        words["prepare_threshold"] = None if THRESHOLD == "none" else int(THRESHOLD)
    return psycopg.connect(application_name="matrix", autocommit=autocommit, **words)


def rows(conn, sql, args=None, **words):
    cur = conn.execute(sql, args, **words)
    return cur.fetchall() if cur.description else cur.rowcount


def refused(conn, sql, state, args=None, **words):
    try:
        rows(conn, sql, args, **words)
    except psycopg.Error as e:
        expect(e.sqlstate, state, sql)
        return e
    raise AssertionError(f"{sql} succeeded")


def connect():
    conn = open_(options="-c statement_timeout=54321 -c datestyle=German,DMY", client_encoding="LATIN1")
    expect(rows(conn, "SHOW application_name"), [("matrix",)])
    expect(rows(conn, "SHOW statement_timeout"), [("54321ms",)])
    expect(rows(conn, "SELECT '2024-02-01'::date::text"), [("01.02.2024",)])
    expect(rows(conn, "SELECT %s::text", ("ä",)), [("ä",)])
    expect(conn.info.parameter_status("DateStyle"), "German, DMY")
    expect(conn.info.encoding, "iso8859-1")
    rows(conn, "SET client_encoding = 'UTF8'")
    expect(conn.info.encoding, "utf-8")
    seen = []
    for words in ({"dbname": WRONG_DATABASE}, {"password": "wrong"}, {"user": "no_such_user"}):
        try:
            open_(**words)
            raise AssertionError(f"{words} let in")
        except psycopg.OperationalError as e:
            seen.append(str(e).split("FATAL:")[1].strip())
    version = conn.info.server_version // 10000
    conn.close()
    return f"{version}; " + "; ".join(seen)


def parameters():
    conn = open_()
    now = datetime(2024, 2, 29, 12, 30, 1, 123456, tzinfo=timezone.utc)
    values = (1, -(2**40), 1.5, "O'Reilly \\ ä", None, True, b"\x00\xff", [1, 2, 3], uuid.UUID(int=7), Decimal("1234567890.0987654321"), now)
    for binary in (False, True):
        got = rows(conn, "SELECT %s, %s, %s, %s, %s::int, %s, %s, %s, %s, %s, %s", values, binary=binary)[0]
        expect(got, values)
    expect(rows(conn, "SELECT %b::int4 + %t::int4", (1, 2)), [(3,)])
    expect(rows(conn, "SELECT %s", (Jsonb({"a": [1, None]}),)), [({"a": [1, None]},)])
    conn.row_factory = dict_row
    expect(rows(conn, "SELECT 1 AS a"), [{"a": 1}])
    conn.close()
    return f"{len(values)} types in text and binary, jsonb"


def prepared():
    conn = open_()
    rows(conn, "CREATE TABLE prepared (a int PRIMARY KEY, b text)")
    for i in range(100):
        expect(rows(conn, "INSERT INTO prepared VALUES (%s, %s)", (i, f"row {i}"), prepare=True), 1)
        expect(rows(conn, "SELECT b FROM prepared WHERE a = %s", (i,)), [(f"row {i}",)])
    conn.prepared_max = 3
    for i in range(10):  # those that fall out of the cache are deallocated
        expect(rows(conn, f"SELECT %s::int + {i}", (i,), prepare=True), [(2 * i,)])
    for i in range(10):
        expect(rows(conn, f"SELECT %s::int + {i}", (i,), prepare=True), [(2 * i,)])
    conn.close()
    return "200 executions, a cache of 3 for 10 statements"


def replan():
    conn = open_()
    rows(conn, "CREATE TABLE replan (a int)")
    rows(conn, "INSERT INTO replan VALUES (1)")
    for _ in range(8):
        expect(rows(conn, "SELECT * FROM replan"), [(1,)])
    rows(conn, "ALTER TABLE replan ADD b int DEFAULT 2")
    try:
        return f"columns {len(rows(conn, 'SELECT * FROM replan')[0])}"
    except psycopg.Error as e:
        return f"SQLSTATE {e.sqlstate}"


def pipeline():
    conn = open_()
    rows(conn, "CREATE TABLE pipeline (a int PRIMARY KEY)")
    with conn.pipeline() as p:
        for i in range(300):
            conn.execute("INSERT INTO pipeline VALUES (%s)", (i,))
        cur = conn.execute("SELECT count(*) FROM pipeline")
        p.sync()
        expect(cur.fetchone(), (300,))
        with conn.transaction():
            conn.execute("DELETE FROM pipeline WHERE a < 100")
        got = [conn.execute("SELECT %s::int", (i,)) for i in range(50)]
    expect([c.fetchone()[0] for c in got], list(range(50)))
    with conn.cursor() as cur:
        cur.executemany("INSERT INTO pipeline VALUES (%s) RETURNING a", [(i,) for i in range(1000, 1500)], returning=True)
        n = 1
        while cur.nextset():
            n += 1
    expect(n, 500)
    expect(rows(conn, "SELECT count(*) FROM pipeline"), [(700,)])
    conn.close()
    return "300 statements, a transaction, 50 reads, executemany of 500"


def pipeline_error():
    conn = open_()
    rows(conn, "CREATE TABLE pipeline_error (a int PRIMARY KEY)")
    states = []
    try:
        with conn.pipeline() as p:
            conn.execute("INSERT INTO pipeline_error VALUES (1)")
            p.sync()
            conn.execute("INSERT INTO pipeline_error VALUES (2)")
            conn.execute("INSERT INTO pipeline_error VALUES (1)")
            conn.execute("INSERT INTO pipeline_error VALUES (3)")
            p.sync()
    except psycopg.Error as e:
        states.append(str(e.sqlstate))
    expect(rows(conn, "SELECT a FROM pipeline_error ORDER BY a"), [(1,)])
    try:
        with conn.pipeline():
            with conn.transaction():
                conn.execute("INSERT INTO pipeline_error VALUES (4)")
                conn.execute("SELECT 1 / 0")
                conn.execute("INSERT INTO pipeline_error VALUES (5)")
    except psycopg.Error as e:
        states.append(str(e.sqlstate))
    expect(rows(conn, "SELECT a FROM pipeline_error ORDER BY a"), [(1,)])
    conn.close()
    return " ".join(states)


def batch():
    conn = open_()
    rows(conn, "CREATE TABLE batch (a int PRIMARY KEY)")
    with conn.cursor() as cur:
        cur.executemany("INSERT INTO batch VALUES (%s)", [(i,) for i in range(1000)])
        expect(cur.rowcount, 1000)
    try:
        conn.execute("INSERT INTO batch VALUES (5000); INSERT INTO batch VALUES (1); INSERT INTO batch VALUES (5001)", prepare=False)
        raise AssertionError("twice the same key")
    except psycopg.Error as e:
        expect(e.sqlstate, "23505")
    cur = conn.execute("SELECT 1; SELECT 2 WHERE false; INSERT INTO batch VALUES (-1) RETURNING a", prepare=False)
    got = [cur.fetchall()]
    while cur.nextset():
        got.append(cur.fetchall())
    expect(got, [[(1,)], [], [(-1,)]])
    expect(rows(conn, "SELECT count(*), max(a) FROM batch"), [(1001, 999)])
    conn.close()
    return "1000 rows, a failing one undone whole, three results of one query"


def binary():
    conn = open_()
    cur = conn.cursor(binary=True)
    cur.execute("SELECT i, i::float8 / 2, i::text, decode(repeat('00ff', i), 'hex'), ARRAY[i, NULL] FROM generate_series(1, 100) i")
    got = cur.fetchall()
    expect(cur.pgresult.fformat(0), 1)
    expect(got[99], (100, 50.0, "100", b"\x00\xff" * 100, [100, None]))
    conn.close()
    return "100 rows of 5 types"


def copy_in():
    conn = open_()
    rows(conn, "CREATE TABLE copy_in (a int, b text)")
    with conn.cursor() as cur:
        with cur.copy("COPY copy_in FROM STDIN") as copy:
            for i in range(10000):
                copy.write_row((i, f"line {i}"))
        expect(cur.rowcount, 10000)
        with cur.copy("COPY copy_in FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int4", "text"])
            for i in range(10000, 20000):
                copy.write_row((i, f"line {i}"))
    expect(rows(conn, "SELECT count(*), sum(a) FROM copy_in"), [(20000, 199990000)])
    conn.close()
    return "20000 rows in text and binary"


def copy_out():
    conn = open_()
    n = 0
    with conn.cursor() as cur:
        with cur.copy("COPY (SELECT i, repeat('x', 100) FROM generate_series(1, 20000) i) TO STDOUT (FORMAT BINARY)") as copy:
            copy.set_types(["int4", "text"])
            for row in copy.rows():
                n += row[0]
        expect(n, 200010000)
    expect(rows(conn, "SELECT 1"), [(1,)])
    conn.close()
    return "20000 rows in binary"


def copy_fail():
    conn = open_()
    rows(conn, "CREATE TABLE copy_fail (a int PRIMARY KEY)")
    states = []
    for bad in ("1\n2\nx\n", "1\n1\n", None):
        try:
            with conn.cursor() as cur, cur.copy("COPY copy_fail FROM STDIN") as copy:
                if bad is None:
                    copy.write("7\n")
                    raise OSError("disk gone")
                copy.write(bad)
                copy.write("3\n" * 5000)
            raise AssertionError("bad data was copied")
        except psycopg.Error as e:
            states.append(e.sqlstate)
        except OSError as e:
            states.append(str(e))
    try:
        with conn.cursor() as cur, cur.copy("COPY (SELECT 10 / (5 - i) FROM generate_series(1, 10) i) TO STDOUT") as copy:
            for _ in copy:
                pass
        raise AssertionError("copied a division by zero")
    except psycopg.Error as e:
        states.append(e.sqlstate)
    expect(rows(conn, "SELECT count(*) FROM copy_fail"), [(0,)])
    conn.close()
    return " ".join(states)


def cursor():
    conn = open_(autocommit=False)
    with conn.cursor("big", scrollable=True) as cur:
        cur.itersize = 100
        cur.execute("SELECT i FROM generate_series(1, %s) i", (1000,))
        expect(sum(r[0] for r in cur), 500500)
        cur.scroll(0, mode="absolute")
        expect(cur.fetchmany(3), [(1,), (2,), (3,)])
    with conn.cursor("one") as a, conn.cursor("two", binary=True) as b:
        a.execute("SELECT 'a' || i FROM generate_series(1, 10) i")
        b.execute("SELECT 'b' || i FROM generate_series(1, 10) i")
        for i in range(1, 11):
            expect((a.fetchone()[0], b.fetchone()[0]), (f"a{i}", f"b{i}"))
    streamed = [r[0] for r in conn.cursor().stream("SELECT generate_series(1, %s)", (500,))]
    expect(streamed, list(range(1, 501)))
    conn.commit()
    refused(conn, "FETCH 1 FROM big", "34000")
    conn.close()
    return "1000 rows by 100, scrolled, two at a time, stream()"


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
    refused(conn, "SELECT pg_sleep(%s)", "57014", (30,))
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


async def notify():
    listener = await psycopg.AsyncConnection.connect(autocommit=True)
    sender = open_(autocommit=False)
    got = []
    enough = asyncio.Event()

    async def listen():
        async for n in listener.notifies():
            got.append((n.channel, n.payload))
            if n.payload in ("own", "three", "two"):
                enough.set()
            if n.payload == "own":
                return

    await listener.execute("LISTEN ch")
    await listener.execute('LISTEN "Other ch"')
    rows(sender, "NOTIFY ch, 'one'")
    rows(sender, "SELECT pg_notify('Other ch', 'two')")
    sender.commit()
    rows(sender, "NOTIFY ch, 'never'")
    sender.rollback()
    rows(sender, "NOTIFY ch, 'own'")
    sender.commit()
    await asyncio.wait_for(listen(), 10)
    expect(got, [("ch", "one"), ("Other ch", "two"), ("ch", "own")])
    await listener.execute("UNLISTEN *")
    rows(sender, "NOTIFY ch, 'late'")
    sender.commit()
    late = []
    listener.add_notify_handler(late.append)
    await listener.execute("SELECT 1")
    expect(late, [])
    await listener.close()
    sender.close()
    return "two channels, none after UNLISTEN"


def transactions():
    conn, other = open_(autocommit=False), open_()
    rows(other, "CREATE TABLE transactions (a int)")
    rows(conn, "INSERT INTO transactions VALUES (1)")
    expect(conn.info.transaction_status, pq.TransactionStatus.INTRANS)
    expect(rows(other, "SELECT count(*) FROM transactions"), [(0,)])
    conn.commit()
    expect(rows(other, "SELECT count(*) FROM transactions"), [(1,)])
    rows(conn, "INSERT INTO transactions VALUES (2)")
    conn.rollback()
    expect(rows(other, "SELECT count(*) FROM transactions"), [(1,)])
    conn.isolation_level, conn.read_only, conn.deferrable = psycopg.IsolationLevel.SERIALIZABLE, True, True
    expect(rows(conn, "SHOW transaction_isolation"), [("serializable",)])
    refused(conn, "INSERT INTO transactions VALUES (3)", "25006")
    conn.rollback()
    conn.isolation_level, conn.read_only, conn.deferrable = psycopg.IsolationLevel.REPEATABLE_READ, False, False
    expect(rows(conn, "SELECT count(*) FROM transactions"), [(1,)])
    rows(other, "INSERT INTO transactions VALUES (4)")
    expect(rows(conn, "SELECT count(*) FROM transactions"), [(1,)])
    conn.commit()
    expect(rows(conn, "SELECT count(*) FROM transactions"), [(2,)])
    conn.rollback()
    xid = conn.xid(1, "matrix", "branch3")
    conn.tpc_begin(xid)
    rows(conn, "INSERT INTO transactions VALUES (5)")
    conn.tpc_prepare()
    conn.tpc_commit()
    expect(rows(other, "SELECT count(*) FROM transactions"), [(3,)])
    conn.close()
    other.close()
    return "25006, snapshots kept, two-phase"


def savepoints():
    conn = open_()
    rows(conn, "CREATE TABLE savepoints (a int PRIMARY KEY)")
    states = []
    with conn.transaction():
        rows(conn, "SET application_name = 'outer'")
        rows(conn, "INSERT INTO savepoints VALUES (1)")
        for bad in ("INSERT INTO savepoints VALUES (1)", "SELECT 1 / 0"):
            try:
                with conn.transaction():
                    rows(conn, "SET application_name = 'inner'")
                    rows(conn, "INSERT INTO savepoints VALUES (10)")
                    rows(conn, bad)
            except psycopg.Error as e:
                states.append(e.sqlstate)
            expect(conn.info.parameter_status("application_name"), "outer")
        with conn.transaction(), conn.transaction():
            rows(conn, "INSERT INTO savepoints VALUES (2)")
        try:
            with conn.transaction():
                rows(conn, "INSERT INTO savepoints VALUES (3)")
                raise psycopg.Rollback()
        except psycopg.Rollback:
            raise AssertionError("Rollback leaks")
    expect(rows(conn, "SELECT a FROM savepoints ORDER BY a"), [(1,), (2,)])
    expect(rows(conn, "SHOW application_name"), [("outer",)])
    conn.close()
    return " ".join(states) + ", nested blocks, settings undone"


def errors():
    conn = open_()
    for sql, state in (
        ("SELEC 1", "42601"),
        ("SELECT * FROM no_such_table", "42P01"),
        ("SELECT 1 / 0", "22012"),
        ("SELECT 'x'::int", "22P02"),
        ("DO $$BEGIN RAISE EXCEPTION 'mine' USING ERRCODE = 'MY123', DETAIL = 'd', HINT = 'h'; END$$", "MY123"),
    ):
        for prepare in (False, True):
            e = refused(conn, sql, state, prepare=prepare)
            expect(rows(conn, "SELECT 1"), [(1,)])
    expect((e.diag.message_primary, e.diag.message_detail, e.diag.message_hint), ("mine", "d", "h"))
    conn.close()
    victim, killer = open_(), open_()
    expect(rows(killer, "SELECT pg_terminate_backend(%s)", (victim.info.backend_pid,)), [(True,)])
    try:
        until_cut(lambda: rows(victim, "SELECT 1"))
    except psycopg.Error as e:
        ended = str(e).splitlines()[0].split("failed: ")[-1]
    killer.close()
    return f"5 of them, twice; pg_terminate_backend of the driver's pid: {ended}"


def big_rows():
    conn = open_()
    expect(rows(conn, "SELECT length(%s)", ("x" * BIG,)), [(BIG,)])
    expect(len(rows(conn, "SELECT convert_to(repeat('y', %s), 'UTF8')", (BIG,), binary=True)[0][0]), BIG)
    got = rows(conn, "SELECT i, repeat('z', 100000) FROM generate_series(1, 100) i")
    expect((len(got), sum(len(r[1]) for r in got)), (100, 10000000))
    conn.close()
    return "8 MB there and back, 100 rows of 100 kB"


def many():
    conn = open_()
    rows(conn, "CREATE TABLE many (a int PRIMARY KEY, b int)")
    for i in range(300):
        rows(conn, f"INSERT INTO many VALUES ({i}, %s)", (i * 2,))
        expect(rows(conn, f"SELECT b FROM many WHERE a = {i}"), [(i * 2,)])
    conn.close()
    for i in range(30):
        with open_() as conn:
            expect(rows(conn, "SELECT count(*) FROM many"), [(300,)])
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
    rows(conn, "SELECT set_config('work_mem', %s, false)", ("5MB",))
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
    rows(conn, "DISCARD ALL", prepare=False)
    conn.prepare_threshold = None  # the driver does not notice that its statements are gone
    expect(rows(conn, "SHOW work_mem -- again"), [("4MB",)])
    expect(rows(conn, "SHOW search_path -- again"), [('"$user", public',)])
    refused(conn, "SELECT b FROM mine -- again", "42P01")
    refused(conn, "SELECT lastval()", "55000")
    conn.close()
    other.close()
    return "settings, temporary table, sequence, advisory lock; DISCARD ALL"


def notices():
    conn = open_()
    got = []
    conn.add_notice_handler(lambda d: got.append((d.severity, d.message_primary)))
    rows(conn, "DO $$BEGIN FOR i IN 1..40 LOOP RAISE NOTICE 'n%', i; END LOOP; RAISE WARNING 'w'; END$$")
    expect((len(got), got[0], got[-1]), (41, ("NOTICE", "n1"), ("WARNING", "w")))
    conn.close()
    return "41 in order"


def pool():
    with psycopg_pool.ConnectionPool("", min_size=2, max_size=4, kwargs={"application_name": "matrix"}, timeout=20) as p:
        with p.connection() as conn:
            rows(conn, "CREATE TABLE pool (a int)")

        def work(k):
            for i in range(20):
                try:
                    with p.connection() as conn:
                        rows(conn, "SET LOCAL work_mem = '9MB'")
                        rows(conn, "INSERT INTO pool VALUES (%s)", (k * 100 + i,))
                        if i % 2:
                            raise KeyError(i)
                except KeyError:
                    pass

        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        p.check()
        with p.connection() as conn:
            expect(rows(conn, "SELECT count(*) FROM pool"), [(40,)])
            expect(rows(conn, "SHOW work_mem"), [("4MB",)])
    return "psycopg_pool, 4 threads"


run([connect, parameters, prepared, replan, pipeline, pipeline_error, batch, binary, copy_in, copy_out, copy_fail, cursor,
     cursor_hold, cancel, notify, transactions, savepoints, errors, big_rows, many, timeouts, session, notices, pool])
