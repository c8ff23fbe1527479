"""The checklist with asyncpg. STATEMENT_CACHE_SIZE is its setting of that name."""

import asyncio
import uuid
from datetime import datetime, timezone
from decimal import Decimal

import asyncpg
from checklist import BIG, WRONG_DATABASE, NotAvailable, env, expect, run

CACHE = env("STATEMENT_CACHE_SIZE")


def words(more):
    if CACHE:
        more["statement_cache_size"] = int(CACHE)
    more.setdefault("server_settings", {})["application_name"] = "matrix"
    return more


async def open_(**more):
    return await asyncpg.connect(**words(more))


async def refused(awaitable, state):
    try:
        await awaitable
    except asyncpg.PostgresError as e:
        expect(e.sqlstate, state)
        return e
    raise AssertionError(f"no {state}")


async def connect():
    conn = await open_(server_settings={"statement_timeout": "54321", "timezone": "Asia/Tokyo"})
    expect(await conn.fetchval("SHOW application_name"), "matrix")
    expect(await conn.fetchval("SHOW statement_timeout"), "54321ms")
    expect(conn.get_settings().TimeZone, "Asia/Tokyo")
    await conn.execute("SET timezone = 'UTC'")
    expect(conn.get_settings().TimeZone, "UTC")
    seen = []
    for bad in ({"database": WRONG_DATABASE}, {"password": "wrong"}, {"user": "no_such_user"}):
        try:
            await open_(**bad)
            raise AssertionError(f"{bad} let in")
        except asyncpg.PostgresError as e:
            seen.append(f"{e.sqlstate} {e}")
    await conn.close()
    return "; ".join(seen)


async def parameters():
    conn = await open_()
    now = datetime(2024, 2, 29, 12, 30, 1, 123456, tzinfo=timezone.utc)
    values = (1, -(2**40), 1.5, "O'Reilly \\ ä", None, True, b"\x00\xff", [1, 2, 3], uuid.UUID(int=7), Decimal("1234567890.0987654321"), now)
    got = await conn.fetchrow(
        "SELECT $1::int, $2::int8, $3::float8, $4::text, $5::int, $6::bool, $7::bytea, $8::int[], $9::uuid, $10::numeric, $11::timestamptz", *values
    )
    expect(tuple(got), values)
    # Types it does not know are looked up in the catalogue, by a query that also changes jit.
    await conn.execute("CREATE TYPE pair AS (a int, b text)")
    await conn.execute("CREATE TYPE mood AS ENUM ('sad', 'glad')")
    await conn.execute("CREATE DOMAIN positive AS int CHECK (VALUE > 0)")
    got = await conn.fetchrow("SELECT $1::pair, $2::mood, $3::positive, $4::pair[], int4range(1, 5)", (1, "x"), "glad", 5, [(2, "y")])
    expect((tuple(got[0]), got[1], got[2], [tuple(p) for p in got[3]], got[4].upper), ((1, "x"), "glad", 5, [(2, "y")], 5))
    expect(await conn.fetchval("SHOW jit"), "on")
    await conn.set_type_codec("mood", encoder=str, decoder=lambda s: s.upper(), schema="public")
    await conn.reload_schema_state()
    expect(await conn.fetchval("SELECT 'sad'::mood"), "SAD")
    await conn.close()
    return f"{len(values)} types, composite, enum, domain, range looked up, a codec"


async def prepared():
    conn = await open_()
    await conn.execute("CREATE TABLE prepared (a int PRIMARY KEY, b text)")
    put = await conn.prepare("INSERT INTO prepared VALUES ($1, $2)")
    get = await conn.prepare("SELECT b FROM prepared WHERE a = $1")
    for i in range(100):
        await put.fetch(i, f"row {i}")
        expect(put.get_statusmsg(), "INSERT 0 1")
        expect(await get.fetchval(i), f"row {i}")
    for i in range(150):  # more than the cache holds
        expect(await conn.fetchval(f"SELECT $1::int + {i}", i), 2 * i)
    for i in range(150):
        expect(await conn.fetchval(f"SELECT $1::int + {i}", i), 2 * i)
    expect([a.name for a in get.get_attributes()], ["b"])
    await conn.execute("DEALLOCATE ALL")
    await conn.close()
    return "200 executions, 150 statements twice"


async def replan():
    conn = await open_()
    await conn.execute("CREATE TABLE replan (a int)")
    await conn.execute("INSERT INTO replan VALUES (1)")
    for _ in range(5):
        expect(len(await conn.fetchrow("SELECT * FROM replan")), 1)
    await conn.execute("ALTER TABLE replan ADD b int DEFAULT 2")
    try:
        got = f"columns {len(await conn.fetchrow('SELECT * FROM replan'))}"
    except asyncpg.PostgresError as e:
        got = f"SQLSTATE {e.sqlstate}"
    await conn.close()
    return got


async def pipeline():
    conn = await open_()
    await conn.execute("CREATE TABLE pipeline (a int PRIMARY KEY)")
    await conn.executemany("INSERT INTO pipeline VALUES ($1)", [(i,) for i in range(5000)])
    expect(await conn.fetchval("SELECT count(*) FROM pipeline"), 5000)
    await conn.close()
    return "executemany of 5000"


async def pipeline_error():
    conn = await open_()
    await conn.execute("CREATE TABLE pipeline_error (a int PRIMARY KEY)")
    args = [(i,) for i in range(3000)]
    e = await refused(conn.executemany("INSERT INTO pipeline_error VALUES ($1)", args + [(1,)] + [(i,) for i in range(3000, 6000)]), "23505")
    expect(await conn.fetchval("SELECT count(*) FROM pipeline_error"), 0)
    await conn.close()
    return f"{e.sqlstate}, undone whole"


async def batch():
    conn = await open_()
    await conn.execute("CREATE TABLE batch (a int PRIMARY KEY); INSERT INTO batch VALUES (1); INSERT INTO batch VALUES (2)")
    await refused(conn.execute("INSERT INTO batch VALUES (5000); INSERT INTO batch VALUES (1); INSERT INTO batch VALUES (5001)"), "23505")
    expect(await conn.fetchval("SELECT max(a) FROM batch"), 2)
    await conn.close()
    return "three statements in one, a failing one undone whole"


async def binary():
    conn = await open_()
    got = await conn.fetch("SELECT i, i::float8 / 2, i::text, decode(repeat('00ff', i), 'hex'), ARRAY[i, NULL] FROM generate_series(1, 100) i")
    expect(tuple(got[99]), (100, 50.0, "100", b"\x00\xff" * 100, [100, None]))
    await conn.close()
    return "100 rows of 5 types"


async def copy_in():
    conn = await open_()
    await conn.execute("CREATE TABLE copy_in (a int, b text)")
    expect(await conn.copy_records_to_table("copy_in", records=[(i, f"line {i}") for i in range(20000)]), "COPY 20000")

    async def source():
        for i in range(100):
            yield f"{i},csv\n".encode()

    expect(await conn.copy_to_table("copy_in", source=source(), format="csv"), "COPY 100")
    expect(await conn.fetchval("SELECT count(*) FROM copy_in"), 20100)
    await conn.close()
    return "20000 rows in binary, 100 in csv"


async def copy_out():
    conn = await open_()
    out = bytearray()

    async def sink(data):
        out.extend(data)

    got = await conn.copy_from_query("SELECT i, repeat('x', 100) FROM generate_series(1, $1::int) i", 20000, output=sink, format="csv")
    expect((got, out.count(b"\n")), ("COPY 20000", 20000))
    await conn.close()
    return "20000 rows"


async def copy_fail():
    conn = await open_()
    await conn.execute("CREATE TABLE copy_fail (a int PRIMARY KEY)")

    async def breaks():
        yield b"1\n2\n"
        raise OSError("disk gone")

    async def wrong(text):
        yield text
        for _ in range(50):
            yield b"3\n" * 100

    states = []
    try:
        await conn.copy_to_table("copy_fail", source=breaks())
        raise AssertionError("a broken source was copied")
    except (OSError, asyncpg.PostgresError) as e:
        states.append(str(e))
    for text in (b"1\n2\nx\n", b"1\n1\n"):
        try:
            await conn.copy_to_table("copy_fail", source=wrong(text))
            raise AssertionError("bad data was copied")
        except asyncpg.PostgresError as e:
            states.append(e.sqlstate)

    async def sink(_):
        pass

    states.append((await refused(conn.copy_from_query("SELECT 10 / (5 - i) FROM generate_series(1, 10) i", output=sink), "22012")).sqlstate)

    async def full(_):
        raise OSError("disk full")

    try:
        await conn.copy_from_query("SELECT generate_series(1, 100000)", output=full)
    except OSError as e:
        states.append(str(e))
    expect(await conn.fetchval("SELECT count(*) FROM copy_fail"), 0)
    await conn.close()
    return " ".join(states)


async def cursor():
    conn = await open_()
    total = 0
    async with conn.transaction():
        async for record in conn.cursor("SELECT i FROM generate_series(1, $1::int) i", 1000, prefetch=100):
            total += record[0]
        cur = await conn.cursor("SELECT generate_series(1, 100)")
        expect([r[0] for r in await cur.fetch(5)], [1, 2, 3, 4, 5])
        expect(await cur.forward(10), 10)
        other = await conn.cursor("SELECT 'b'")
        expect((await other.fetchrow())[0], "b")
        expect((await cur.fetchrow())[0], 16)
    expect(total, 500500)
    try:
        await conn.cursor("SELECT 1")
        raise AssertionError("a cursor outside of a transaction")
    except asyncpg.NoActiveSQLTransactionError:
        pass
    await conn.close()
    return "1000 rows by 100, two portals at a time"


async def cursor_hold():
    conn = await open_()
    async with conn.transaction():
        await conn.execute("DECLARE held SCROLL CURSOR WITH HOLD FOR SELECT i FROM generate_series(1, 100) i")
        expect(len(await conn.fetch("FETCH 10 FROM held")), 10)
    expect(await conn.fetchval("FETCH 1 FROM held"), 11)
    await conn.execute("CREATE TABLE cursor_hold (a int)")
    expect(await conn.fetchval("FETCH ABSOLUTE 50 FROM held"), 50)
    await conn.execute("CLOSE held")
    await refused(conn.fetch("FETCH 1 FROM held"), "34000")
    await conn.close()
    return "over COMMIT, by SQL"


async def cancel():
    conn = await open_()
    task = asyncio.ensure_future(conn.fetchval("SELECT pg_sleep(30)"))
    await asyncio.sleep(0.3)
    task.cancel()
    try:
        await task
        raise AssertionError("slept")
    except asyncio.CancelledError:
        pass
    expect(await conn.fetchval("SELECT 1"), 1)
    tr = conn.transaction()
    await tr.start()
    try:
        await conn.fetchval("SELECT pg_sleep($1)", 30, timeout=0.3)
        raise AssertionError("slept")
    except asyncio.TimeoutError:
        pass
    await refused(conn.fetchval("SELECT 1"), "25P02")
    await tr.rollback()
    expect(await conn.fetchval("SELECT 1"), 1)
    await conn.close()
    return "task cancelled, in a transaction 25P02 after it"


async def notify():
    listener, sender = await open_(), await open_()
    got = asyncio.Queue()

    def heard(conn, pid, channel, payload):
        got.put_nowait((channel, payload))

    await listener.add_listener("ch", heard)
    await listener.add_listener("Other ch", heard)
    async with sender.transaction():
        await sender.execute("NOTIFY ch, 'one'")
        await sender.execute("SELECT pg_notify('Other ch', $1)", "two")
    tr = sender.transaction()
    await tr.start()
    await sender.execute("NOTIFY ch, 'never'")
    await tr.rollback()
    await sender.execute("NOTIFY ch, 'three'")
    await listener.execute("NOTIFY ch, 'own'")
    heard_now = [await asyncio.wait_for(got.get(), 10) for _ in range(4)]
    expect(heard_now, [("ch", "one"), ("Other ch", "two"), ("ch", "three"), ("ch", "own")])
    await listener.remove_listener("ch", heard)
    await sender.execute("NOTIFY ch, 'late'")
    await sender.execute("SELECT pg_notify('Other ch', 'last')")
    expect(await asyncio.wait_for(got.get(), 10), ("Other ch", "last"))
    await listener.remove_listener("Other ch", heard)
    await listener.close()
    await sender.close()
    return "two channels, own one, none after remove_listener"


async def transactions():
    conn, other = await open_(), await open_()
    await other.execute("CREATE TABLE transactions (a int)")
    count = "SELECT count(*) FROM transactions"
    async with conn.transaction():
        await conn.execute("INSERT INTO transactions VALUES (1)")
        expect(conn.is_in_transaction(), True)
        expect(await other.fetchval(count), 0)
    expect(await other.fetchval(count), 1)
    try:
        async with conn.transaction():
            await conn.execute("INSERT INTO transactions VALUES (2)")
            raise KeyError
    except KeyError:
        pass
    expect(await other.fetchval(count), 1)
    try:
        async with conn.transaction(isolation="serializable", readonly=True, deferrable=True):
            expect(await conn.fetchval("SHOW transaction_isolation"), "serializable")
            await conn.execute("INSERT INTO transactions VALUES (3)")
        raise AssertionError("written in a read-only transaction")
    except asyncpg.ReadOnlySQLTransactionError:
        pass
    async with conn.transaction(isolation="repeatable_read"):
        expect(await conn.fetchval(count), 1)
        await other.execute("INSERT INTO transactions VALUES (4)")
        expect(await conn.fetchval(count), 1)
    expect(await conn.fetchval(count), 2)
    await conn.close()
    await other.close()
    return "25006, snapshots kept"


async def savepoints():
    conn = await open_()
    await conn.execute("CREATE TABLE savepoints (a int PRIMARY KEY)")
    states = []
    async with conn.transaction():
        await conn.execute("SET application_name = 'outer'")
        await conn.execute("INSERT INTO savepoints VALUES (1)")
        for bad in ("INSERT INTO savepoints VALUES (1)", "SELECT 1 / 0"):
            try:
                async with conn.transaction():
                    await conn.execute("SET application_name = 'inner'")
                    await conn.execute("INSERT INTO savepoints VALUES (10)")
                    await conn.fetch(bad)
            except asyncpg.PostgresError as e:
                states.append(e.sqlstate)
            expect(await conn.fetchval("SHOW application_name"), "outer")
        async with conn.transaction():
            async with conn.transaction():
                await conn.execute("INSERT INTO savepoints VALUES (2)")
    expect([r[0] for r in await conn.fetch("SELECT a FROM savepoints ORDER BY a")], [1, 2])
    expect(await conn.fetchval("SHOW application_name"), "outer")
    await conn.close()
    return " ".join(states) + ", nested blocks, settings undone"


async def errors():
    conn = await open_()
    for sql, state in (
        ("SELEC 1", "42601"),
        ("SELECT * FROM no_such_table", "42P01"),
        ("SELECT 1 / 0", "22012"),
        ("SELECT 'x'::int", "22P02"),
        ("DO $$BEGIN RAISE EXCEPTION 'mine' USING ERRCODE = 'MY123', DETAIL = 'd', HINT = 'h'; END$$", "MY123"),
    ):
        for way in (conn.execute, conn.fetch):
            e = await refused(way(sql), state)
            expect(await conn.fetchval("SELECT 1"), 1)
    expect((e.message, e.detail, e.hint), ("mine", "d", "h"))
    try:
        await conn.fetchval("SELECT $1::int", "no number")
        raise AssertionError("no number is a number")
    except asyncpg.DataError:
        pass
    expect(await conn.fetchval("SELECT 1"), 1)
    await conn.close()
    victim, killer = await open_(), await open_()
    expect(await killer.fetchval("SELECT pg_terminate_backend($1)", victim.get_server_pid()), True)
    for _ in range(100):
        if victim.is_closed():
            break
        await asyncio.sleep(0.05)
    try:
        await victim.fetchval("SELECT 1")
        raise AssertionError("lives on")
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as e:
        ended = str(e)
    await killer.close()
    return f"5 of them, twice; pg_terminate_backend of the driver's pid: {ended}"


async def big_rows():
    conn = await open_()
    expect(await conn.fetchval("SELECT length($1::text)", "x" * BIG), BIG)
    expect(len(await conn.fetchval("SELECT convert_to(repeat('y', $1::int), 'UTF8')", BIG)), BIG)
    got = await conn.fetch("SELECT i, repeat('z', 100000) FROM generate_series(1, 100) i")
    expect((len(got), sum(len(r[1]) for r in got)), (100, 10000000))
    await conn.close()
    return "8 MB there and back, 100 rows of 100 kB"


async def many():
    conn = await open_()
    await conn.execute("CREATE TABLE many (a int PRIMARY KEY, b int)")
    for i in range(300):
        await conn.execute(f"INSERT INTO many VALUES ({i}, $1)", i * 2)
        expect(await conn.fetchval(f"SELECT b FROM many WHERE a = {i}"), i * 2)
    await conn.close()
    for i in range(30):
        conn = await open_()
        expect(await conn.fetchval("SELECT count(*) FROM many"), 300)
        await conn.close()
    return "600 statements, 30 connections"


async def timeouts():
    conn = await open_(command_timeout=0.3)
    for _ in range(2):
        try:
            await conn.fetchval("SELECT pg_sleep(30)")
            raise AssertionError("slept")
        except asyncio.TimeoutError:
            pass
        expect(await conn.fetchval("SELECT 1"), 1)
    await conn.close()
    conn = await open_(server_settings={"statement_timeout": "200"})
    await refused(conn.execute("SELECT pg_sleep(30)"), "57014")
    await conn.close()
    return "command_timeout, statement_timeout at login"


async def session():
    conn = await open_()
    await conn.execute("SET search_path = pg_catalog, public")
    await conn.fetchval("SELECT set_config('work_mem', $1, false)", "5MB")
    await conn.execute("CREATE TEMP TABLE mine (a serial, b int)")
    await conn.execute("INSERT INTO mine (b) VALUES (7)")
    await conn.execute("CREATE SEQUENCE public.session_seq START 40")
    await conn.fetchval("SELECT nextval('public.session_seq')")
    await conn.fetchval("SELECT pg_advisory_lock($1)", 4711)
    other = await open_()
    expect(await other.fetchval("SELECT pg_try_advisory_lock($1)", 4711), False)
    for _ in range(3):
        expect(await conn.fetchval("SHOW search_path"), "pg_catalog, public")
        expect(await conn.fetchval("SHOW work_mem"), "5MB")
        expect(await conn.fetchval("SELECT b FROM mine"), 7)
        expect(tuple(await conn.fetchrow("SELECT currval('public.session_seq'), lastval()")), (40, 40))
    await conn.execute("DECLARE c CURSOR WITH HOLD FOR SELECT 1")
    await conn.execute("LISTEN ch")
    await conn.reset()
    expect(await other.fetchval("SELECT pg_try_advisory_lock($1)", 4711), True)
    expect(await conn.fetchval("SHOW search_path"), '"$user", public')
    expect(await conn.fetchval("SHOW work_mem"), "4MB")
    await refused(conn.execute("FETCH 1 FROM c"), "34000")
    expect(await conn.fetchval("SELECT count(*) FROM pg_listening_channels()"), 0)
    expect(await conn.fetchval("SELECT b FROM mine"), 7)
    await conn.execute("DISCARD ALL")
    await refused(conn.fetchval("SELECT b FROM mine -- again"), "42P01")
    await conn.close()
    await other.close()
    return "settings, temporary table, sequence, advisory lock, held cursor; reset(), DISCARD ALL"


async def notices():
    conn = await open_()
    got = []
    conn.add_log_listener(lambda c, m: got.append((m.severity, m.message)))
    await conn.execute("DO $$BEGIN FOR i IN 1..40 LOOP RAISE NOTICE 'n%', i; END LOOP; RAISE WARNING 'w'; END$$")
    await asyncio.sleep(0)
    expect((len(got), got[0], got[-1]), (41, ("NOTICE", "n1"), ("WARNING", "w")))
    await conn.close()
    return "41 in order"


async def pool():
    async with asyncpg.create_pool(**words({"min_size": 2, "max_size": 4})) as p:
        await p.execute("CREATE TABLE pool (a int)")

        async def work(k):
            for i in range(20):
                async with p.acquire() as conn:
                    expect(await conn.fetchval("SHOW work_mem"), "4MB")
                    await conn.execute("SET work_mem = '9MB'")
                    await conn.fetchval("SELECT pg_advisory_lock($1)", 1000 + k)
                    tr = conn.transaction()
                    await tr.start()
                    await conn.execute("INSERT INTO pool VALUES ($1)", k * 100 + i)
                    await (tr.commit() if i % 2 else tr.rollback())

        await asyncio.gather(*(work(k) for k in range(8)))
        expect(await p.fetchval("SELECT count(*) FROM pool"), 80)
        expect(await p.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"), 0)
    return "create_pool(4) for 8 tasks, reset at each release"


run([connect, parameters, prepared, replan, pipeline, pipeline_error, batch, binary, copy_in, copy_out, copy_fail, cursor,
     cursor_hold, cancel, notify, transactions, savepoints, errors, big_rows, many, timeouts, session, notices, pool])
