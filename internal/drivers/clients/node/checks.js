// The checklist with node-postgres, its cursors and streams. Modules are found beside this file, where the script prepare copies it.
'use strict'

const assert = require('assert')
const { once } = require('events')
const { Readable, Writable } = require('stream')
const { pipeline: flow } = require('stream/promises')
const pg = require('pg')
const Cursor = require('pg-cursor')
const QueryStream = require('pg-query-stream')
const copyStreams = require('pg-copy-streams')

const BIG = 8 << 20

class NotAvailable extends Error {}

async function open(words = {}) {
  const client = new pg.Client({ application_name: 'matrix', ...words })
  client.on('error', () => {}) // of the socket; the next query tells it
  await client.connect()
  return client
}

// rows are those of a statement as arrays.
async function rows(client, text, values) {
  return (await client.query({ text, values, rowMode: 'array' })).rows
}

async function refused(promise, state) {
  try {
    await promise
  } catch (e) {
    assert.strictEqual(e.code, state, e.message)
    return e
  }
  assert.fail(`no ${state}`)
}

// untilCut asks until that fails: whoever ends a session may need a moment.
async function untilCut(ask) {
  const end = Date.now() + 5000
  while (Date.now() < end) {
    try {
      await ask()
    } catch (e) {
      return e
    }
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  assert.fail('lives on')
}

const same = assert.deepStrictEqual

const checks = {
  async connect() {
    const client = await open({ options: '-c statement_timeout=54321', statement_timeout: 54321, client_encoding: 'UTF8' })
    same(await rows(client, 'SHOW application_name'), [['matrix']])
    same(await rows(client, 'SHOW statement_timeout'), [['54321ms']])
    same(await rows(client, "SELECT $1::text", ['ä€']), [['ä€']])
    await client.end()
    const seen = []
    for (const words of [{ database: 'no_such_database' }, { password: 'wrong' }, { user: 'no_such_user' }]) {
      try {
        await open(words)
        assert.fail('let in')
      } catch (e) {
        seen.push(`${e.code} ${e.message}`)
      }
    }
    return seen.join('; ')
  },

  async parameters() {
    const client = await open()
    const when = new Date(Date.UTC(2024, 1, 29, 12, 30, 1, 123))
    const values = [1, '-1099511627776', 1.5, "O'Reilly \\ ä", null, true, Buffer.from([0, 255]), [1, 2, 3], when, { a: [1, null] }]
    const got = await rows(
      client,
      'SELECT $1::int, $2::int8, $3::float8, $4::text, $5::int, $6::bool, $7::bytea, $8::int[], $9::timestamptz, $10::jsonb',
      values
    )
    same(got[0], values)
    await client.end()
    return `${values.length} types`
  },

  async prepared() {
    const client = await open()
    await client.query('CREATE TABLE prepared (a int PRIMARY KEY, b text)')
    for (let i = 0; i < 100; i++) {
      const put = await client.query({ name: 'put', text: 'INSERT INTO prepared VALUES ($1, $2)', values: [i, `row ${i}`] })
      same(put.rowCount, 1)
      const got = await client.query({ name: 'get', text: 'SELECT b FROM prepared WHERE a = $1', values: [i] })
      same(got.rows, [{ b: `row ${i}` }])
    }
    await assert.rejects(client.query({ name: 'get', text: 'SELECT 1' }), /must be unique/)
    await client.end()
    return '200 executions of two named queries'
  },

  async replan() {
    const client = await open()
    await client.query('CREATE TABLE replan (a int)')
    await client.query('INSERT INTO replan VALUES (1)')
    const star = { name: 'star', text: 'SELECT * FROM replan', rowMode: 'array' }
    for (let i = 0; i < 3; i++) same((await client.query(star)).rows, [[1]])
    await client.query('ALTER TABLE replan ADD b int DEFAULT 2')
    try {
      return `columns ${(await client.query(star)).rows[0].length}`
    } catch (e) {
      return `SQLSTATE ${e.code}`
    } finally {
      await client.end()
    }
  },

  async pipeline() {
    const client = await open()
    await client.query('CREATE TABLE pipeline (a int PRIMARY KEY)')
    const got = []
    for (let i = 0; i < 200; i++) {
      got.push(client.query({ name: 'fill', text: 'INSERT INTO pipeline VALUES ($1)', values: [i] }))
      got.push(rows(client, 'SELECT $1::int', [i]))
    }
    same((await Promise.all(got)).filter(Array.isArray).map((r) => r[0][0]), [...Array(200).keys()])
    same(await rows(client, 'SELECT count(*)::int FROM pipeline'), [[200]])
    await client.end()
    return '400 queued queries'
  },

  async pipeline_error() {
    const client = await open()
    await client.query('CREATE TABLE pipeline_error (a int PRIMARY KEY)')
    const all = await Promise.allSettled([1, 1, 2, 'x', 3].map((v) => client.query('INSERT INTO pipeline_error VALUES ($1)', [v])))
    const states = all.map((r) => (r.status === 'fulfilled' ? 'ok' : r.reason.code))
    same(await rows(client, 'SELECT count(*)::int FROM pipeline_error'), [[3]])
    await client.end()
    return states.join(' ')
  },

  async batch() {
    const client = await open()
    await client.query('CREATE TABLE batch (a int PRIMARY KEY); INSERT INTO batch VALUES (1); INSERT INTO batch VALUES (2)')
    await refused(client.query('INSERT INTO batch VALUES (5000); INSERT INTO batch VALUES (1); INSERT INTO batch VALUES (5001)'), '23505')
    const three = await client.query('SELECT 1 AS a; SELECT 2 AS b WHERE false; SELECT max(a) AS c FROM batch')
    same(three.map((r) => r.rows), [[{ a: 1 }], [], [{ c: 2 }]])
    same((await client.query('')).rows, [])
    await client.end()
    return 'three statements in one, a failing one undone whole, an empty one'
  },

  async binary() {
    const client = await open({ binary: true })
    const got = await client.query({ text: 'SELECT $1::int AS i, $2::text AS t', values: [7, 'x'], binary: true })
    same(got.rows, [{ i: 7, t: 'x' }])
    same(got.fields.map((f) => f.format), ['binary', 'binary'])
    await client.end()
    return 'results of two types'
  },

  async copy_in() {
    const client = await open()
    await client.query('CREATE TABLE copy_in (a int, b text)')
    const lines = []
    for (let i = 0; i < 20000; i++) lines.push(`${i}\tline ${i}\n`)
    const into = client.query(copyStreams.from('COPY copy_in FROM STDIN'))
    await flow(Readable.from(lines), into)
    same(into.rowCount, 20000)
    same(await rows(client, 'SELECT count(*)::int, sum(a)::int FROM copy_in'), [[20000, 199990000]])
    await client.end()
    return '20000 rows'
  },

  async copy_out() {
    const client = await open()
    let n = 0
    const sink = new Writable({
      write(chunk, _, done) {
        for (const c of chunk) if (c === 10) n++
        done()
      },
    })
    await flow(client.query(copyStreams.to("COPY (SELECT i, repeat('x', 100) FROM generate_series(1, 20000) i) TO STDOUT")), sink)
    same(n, 20000)
    await client.end()
    return '20000 rows'
  },

  async copy_fail() {
    const client = await open()
    await client.query('CREATE TABLE copy_fail (a int PRIMARY KEY)')
    const states = []
    for (const text of ['1\n2\nx\n', '1\n1\n']) {
      const into = client.query(copyStreams.from('COPY copy_fail FROM STDIN'))
      await refused(flow(Readable.from([text, '3\n'.repeat(5000)]), into), text.includes('x') ? '22P02' : '23505').then((e) => states.push(e.code))
    }
    async function* breaks() {
      yield '1\n'
      throw new Error('disk gone')
    }
    try {
      await flow(breaks(), client.query(copyStreams.from('COPY copy_fail FROM STDIN')))
    } catch (e) {
      states.push(e.message)
    }
    same(await rows(client, 'SELECT count(*)::int FROM copy_fail'), [[0]])
    await client.end()
    return states.join(' ')
  },

  async cursor() {
    const client = await open()
    const cursor = client.query(new Cursor('SELECT i FROM generate_series(1, $1::int) i', [1000]))
    let total = 0
    for (;;) {
      const part = await cursor.read(100)
      if (part.length === 0) break
      total += part.reduce((sum, r) => sum + r.i, 0)
    }
    same(total, 500500)
    const early = client.query(new Cursor('SELECT i FROM generate_series(1, 1000) i'))
    same((await early.read(3)).map((r) => r.i), [1, 2, 3])
    await early.close()
    let streamed = 0
    for await (const row of client.query(new QueryStream('SELECT i FROM generate_series(1, $1::int) i', [5000], { batchSize: 200 }))) streamed += row.i
    same(streamed, 12502500)
    await client.query('BEGIN')
    for await (const row of client.query(new QueryStream('SELECT i FROM generate_series(1, 500) i', [], { batchSize: 10 }))) if (row.i === 42) break
    same(await rows(client, 'SELECT 1'), [[1]])
    await client.query('COMMIT')
    const broken = client.query(new Cursor('SELECT 10 / (5 - i) AS x FROM generate_series(1, 10) i'))
    same((await broken.read(3)).length, 3)
    await refused(broken.read(5), '22012')
    same(await rows(client, 'SELECT 1'), [[1]])
    await client.end()
    return '1000 rows by 100, closed early, streams, 22012 in the middle'
  },

  async cursor_hold() {
    const client = await open()
    await client.query('BEGIN')
    await client.query('DECLARE held SCROLL CURSOR WITH HOLD FOR SELECT i FROM generate_series(1, 100) i')
    same((await rows(client, 'FETCH 10 FROM held')).length, 10)
    await client.query('COMMIT')
    same(await rows(client, 'FETCH 1 FROM held'), [[11]])
    await client.query('CREATE TABLE cursor_hold (a int)')
    same(await rows(client, 'FETCH ABSOLUTE 50 FROM held'), [[50]])
    await client.query('CLOSE held')
    await refused(client.query('FETCH 1 FROM held'), '34000')
    await client.end()
    return 'over COMMIT, by SQL'
  },

  async cancel() {
    const client = await open()
    const other = await open()
    const slept = client.query('SELECT pg_sleep(30)')
    setTimeout(() => rows(other, 'SELECT pg_cancel_backend($1)', [client.processID]), 300)
    await refused(slept, '57014')
    same(await rows(client, 'SELECT 1'), [[1]])
    await client.query('BEGIN')
    const again = client.query('SELECT pg_sleep($1)', [30])
    // The driver's own cancel: a connection of its own that sends the key.
    setTimeout(() => {
      const killer = new pg.Client()
      killer.connection.on('connect', () => killer.connection.cancel(client.processID, client.secretKey))
      killer.connection.on('error', () => {})
      killer.connection.connect(killer.port, killer.host)
    }, 300)
    await refused(again, '57014')
    await refused(client.query('SELECT 1'), '25P02')
    await client.query('ROLLBACK')
    same(await rows(client, 'SELECT 1'), [[1]])
    await client.end()
    await other.end()
    return 'pg_cancel_backend, CancelRequest; in a transaction 25P02 after it'
  },

  async notify() {
    const listener = await open()
    const sender = await open()
    const got = []
    listener.on('notification', (n) => {
      got.push(`${n.channel}:${n.payload}`)
      listener.emit('heard')
    })
    const heard = async (n) => {
      while (got.length < n) await once(listener, 'heard', { signal: AbortSignal.timeout(10000) })
      return got.splice(0)
    }
    await listener.query('LISTEN ch')
    await listener.query('LISTEN "Other ch"')
    await sender.query('BEGIN')
    await sender.query("NOTIFY ch, 'one'")
    await sender.query("SELECT pg_notify('Other ch', $1)", ['two'])
    await sender.query('COMMIT')
    await sender.query('BEGIN')
    await sender.query("NOTIFY ch, 'never'")
    await sender.query('ROLLBACK')
    await sender.query("NOTIFY ch, 'three'")
    await listener.query("NOTIFY ch, 'own'")
    same(await heard(4), ['ch:one', 'Other ch:two', 'ch:three', 'ch:own'])
    await listener.query('UNLISTEN *')
    await sender.query("NOTIFY ch, 'late'")
    await listener.query('SELECT 1')
    same(got, [])
    await listener.end()
    await sender.end()
    return 'two channels, own one, none after UNLISTEN'
  },

  async transactions() {
    const client = await open()
    const other = await open()
    const count = async (c) => (await rows(c, 'SELECT count(*)::int FROM transactions'))[0][0]
    await other.query('CREATE TABLE transactions (a int)')
    await client.query('BEGIN')
    await client.query('INSERT INTO transactions VALUES ($1)', [1])
    same(await count(other), 0)
    await client.query('COMMIT')
    same(await count(other), 1)
    await client.query('BEGIN')
    await client.query('INSERT INTO transactions VALUES ($1)', [2])
    await client.query('ROLLBACK')
    same(await count(other), 1)
    await client.query('BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE')
    same(await rows(client, 'SHOW transaction_isolation'), [['serializable']])
    await refused(client.query('INSERT INTO transactions VALUES (3)'), '25006')
    same((await client.query('COMMIT')).command, 'ROLLBACK')
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
    same(await count(client), 1)
    await other.query('INSERT INTO transactions VALUES (4)')
    same(await count(client), 1)
    await client.query('COMMIT')
    same(await count(client), 2)
    await client.end()
    await other.end()
    return '25006, snapshots kept'
  },

  async savepoints() {
    const client = await open()
    await client.query('CREATE TABLE savepoints (a int PRIMARY KEY)')
    await client.query('BEGIN')
    await client.query("SET application_name = 'outer'")
    await client.query('SAVEPOINT s1')
    await client.query("SET application_name = 'inner'")
    await client.query('INSERT INTO savepoints VALUES ($1)', [1])
    await refused(client.query('INSERT INTO savepoints VALUES ($1)', [1]), '23505')
    await refused(client.query('SELECT 1'), '25P02')
    await client.query('ROLLBACK TO s1')
    same(await rows(client, 'SHOW application_name'), [['outer']])
    await client.query('INSERT INTO savepoints VALUES (2)')
    await client.query('RELEASE s1')
    await refused(client.query('ROLLBACK TO s1'), '3B001')
    await client.query('ROLLBACK')
    same(await rows(client, 'SHOW application_name'), [['matrix']])
    await client.end()
    return '23505, 25P02, 3B001, settings undone'
  },

  async errors() {
    const client = await open()
    let last
    for (const [sql, state] of [
      ['SELEC 1', '42601'],
      ['SELECT * FROM no_such_table', '42P01'],
      ['SELECT 1 / 0', '22012'],
      ["SELECT 'x'::int", '22P02'],
      ["DO $$BEGIN RAISE EXCEPTION 'mine' USING ERRCODE = 'MY123', DETAIL = 'd', HINT = 'h'; END$$", 'MY123'],
    ]) {
      for (const query of [sql, { text: sql, values: [] }, { text: sql, name: `n${state}` }]) {
        last = await refused(client.query(query), state)
        same(await rows(client, 'SELECT 1'), [[1]])
      }
    }
    same([last.message, last.detail, last.hint], ['mine', 'd', 'h'])
    await client.end()
    const victim = await open()
    const killer = await open()
    same(await rows(killer, 'SELECT pg_terminate_backend($1)', [victim.processID]), [[true]])
    await untilCut(() => rows(victim, 'SELECT 1'))
    await killer.end()
    return "5 of them, three times; pg_terminate_backend of the driver's pid"
  },

  async big_rows() {
    const client = await open()
    same(await rows(client, 'SELECT length($1::text)', ['x'.repeat(BIG)]), [[BIG]])
    same((await rows(client, "SELECT repeat('y', $1)", [BIG]))[0][0].length, BIG)
    const got = await rows(client, "SELECT i, repeat('z', 100000) FROM generate_series(1, 100) i")
    same([got.length, got.reduce((sum, r) => sum + r[1].length, 0)], [100, 10000000])
    await client.end()
    return '8 MB there and back, 100 rows of 100 kB'
  },

  async many() {
    const client = await open()
    await client.query('CREATE TABLE many (a int PRIMARY KEY, b int)')
    for (let i = 0; i < 300; i++) {
      await client.query(`INSERT INTO many VALUES (${i}, $1)`, [2 * i])
      same(await rows(client, `SELECT b FROM many WHERE a = ${i}`), [[2 * i]])
    }
    await client.end()
    for (let i = 0; i < 30; i++) {
      const one = await open()
      same(await rows(one, 'SELECT count(*)::int FROM many'), [[300]])
      await one.end()
    }
    return '600 statements, 30 connections'
  },

  async timeouts() {
    const client = await open({ query_timeout: 300 })
    await assert.rejects(client.query('SELECT pg_sleep(30)'), /timeout/)
    client.connection.stream.destroy()
    const other = await open({ statement_timeout: 200, idle_in_transaction_session_timeout: 300, lock_timeout: 150 })
    await refused(other.query('SELECT pg_sleep(30)'), '57014')
    same(await rows(other, 'SHOW lock_timeout'), [['150ms']])
    await other.query('BEGIN')
    await other.query('SELECT 1')
    await new Promise((resolve) => setTimeout(resolve, 700))
    const cut = await untilCut(() => other.query('SELECT 1'))
    return `query_timeout, statement_timeout; idle in transaction: ${cut.code || cut.message}`
  },

  async session() {
    const client = await open()
    await client.query('SET search_path = pg_catalog, public')
    await client.query("SELECT set_config('work_mem', $1, false)", ['5MB'])
    await client.query('CREATE TEMP TABLE mine (a serial, b int)')
    await client.query('INSERT INTO mine (b) VALUES (7)')
    await client.query('CREATE SEQUENCE public.session_seq START 40')
    await client.query("SELECT nextval('public.session_seq')")
    await client.query('SELECT pg_advisory_lock($1)', [4711])
    const other = await open()
    same(await rows(other, 'SELECT pg_try_advisory_lock(4711)'), [[false]])
    for (let i = 0; i < 3; i++) {
      same(await rows(client, 'SHOW search_path'), [['pg_catalog, public']])
      same(await rows(client, 'SHOW work_mem'), [['5MB']])
      same(await rows(client, 'SELECT b FROM mine'), [[7]])
      same(await rows(client, "SELECT currval('public.session_seq')::int, lastval()::int"), [[40, 40]])
    }
    same(await rows(client, 'SELECT pg_advisory_unlock(4711)'), [[true]])
    same(await rows(other, 'SELECT pg_try_advisory_lock(4711)'), [[true]])
    await client.query('DISCARD ALL')
    same(await rows(client, 'SHOW search_path'), [['"$user", public']])
    same(await rows(client, 'SHOW work_mem'), [['4MB']])
    await refused(client.query('SELECT b FROM mine'), '42P01')
    await refused(client.query('SELECT lastval()'), '55000')
    await client.end()
    await other.end()
    return 'settings, temporary table, sequence, advisory lock; DISCARD ALL'
  },

  async notices() {
    const client = await open()
    const got = []
    client.on('notice', (n) => got.push(`${n.severity} ${n.message}`))
    await client.query("DO $$BEGIN FOR i IN 1..40 LOOP RAISE NOTICE 'n%', i; END LOOP; RAISE WARNING 'w'; END$$")
    same([got.length, got[0], got[40]], [41, 'NOTICE n1', 'WARNING w'])
    await client.end()
    return '41 in order'
  },

  async pool() {
    const pool = new pg.Pool({ max: 4, application_name: 'matrix', maxUses: 15 })
    await pool.query('CREATE TABLE pool (a int)')
    const work = async (k) => {
      for (let i = 0; i < 20; i++) {
        const client = await pool.connect()
        await client.query('BEGIN')
        await client.query("SET LOCAL work_mem = '9MB'")
        await client.query({ name: 'put', text: 'INSERT INTO pool VALUES ($1)', values: [k * 100 + i] })
        await client.query(i % 2 ? 'COMMIT' : 'ROLLBACK')
        same(await rows(client, 'SHOW work_mem'), [['4MB']])
        client.release()
      }
    }
    await Promise.all([...Array(8).keys()].map(work))
    same((await pool.query('SELECT count(*)::int AS n FROM pool')).rows, [{ n: 80 }])
    await pool.end()
    return 'Pool(4) for 8 tasks, 15 uses each'
  },
}

async function main() {
  if (process.argv[2] === '-version') {
    console.log(require('pg/package.json').version)
    return
  }
  const wanted = process.argv.slice(2)
  for (const [name, check] of Object.entries(checks)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue
    let timer
    const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error('took 60 s')), 60000)))
    let told
    try {
      told = `ok ${await Promise.race([check(), late])}`
    } catch (e) {
      if (process.env.DRIVERS_TRACE) console.error(e)
      told = `${e instanceof NotAvailable ? 'n/a' : 'failed'} ${e.message.replace(/\s+/g, ' ').slice(0, 300)}`
    }
    clearTimeout(timer)
    console.log(`${name} ${told}`)
  }
  process.exit(0) // a check that failed may have left connections open
}

main()
