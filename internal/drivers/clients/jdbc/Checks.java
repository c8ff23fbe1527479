import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.StringReader;
import java.nio.charset.StandardCharsets;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.SQLWarning;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Timestamp;
import java.sql.Types;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.TimeUnit;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.copy.CopyIn;
import org.postgresql.copy.CopyManager;
import org.postgresql.largeobject.LargeObject;
import org.postgresql.largeobject.LargeObjectManager;

/** The checklist with JDBC. URL_OPTIONS is appended to the URL's parameters. */
public final class Checks {
    private static final int BIG = 8 << 20;

    /** One line of the checklist; its answer is the detail. */
    interface Check {
        String run() throws Exception;
    }

    private static String env(String name) {
        return Objects.requireNonNullElse(System.getenv(name), "");
    }

    private static String url(String database, String words) {
        String url = "jdbc:postgresql://" + env("PGHOST") + ":" + env("PGPORT") + "/" + database + "?ApplicationName=matrix&sslmode=disable";
        for (String more : new String[] {words, env("URL_OPTIONS")}) {
            if (!more.isEmpty()) url += "&" + more;
        }
        return url;
    }

    private static Connection open(String... words) throws SQLException {
        return DriverManager.getConnection(url(env("PGDATABASE"), String.join("&", words)), env("PGUSER"), env("PGPASSWORD"));
    }

    private static void same(Object got, Object want) {
        if (!Objects.deepEquals(got, want)) throw new AssertionError(got + ", want " + want);
    }

    private static int exec(Connection conn, String sql, Object... args) throws SQLException {
        if (args.length == 0) {
            try (Statement st = conn.createStatement()) {
                st.execute(sql);
                return st.getUpdateCount();
            }
        }
        try (PreparedStatement st = conn.prepareStatement(sql)) {
            bind(st, args);
            st.execute();
            return st.getUpdateCount();
        }
    }

    private static void bind(PreparedStatement st, Object... args) throws SQLException {
        for (int i = 0; i < args.length; i++) st.setObject(i + 1, args[i]);
    }

    /** The first column of the first row as text. */
    private static String value(Connection conn, String sql, Object... args) throws SQLException {
        try (PreparedStatement st = conn.prepareStatement(sql)) {
            bind(st, args);
            try (ResultSet rs = st.executeQuery()) {
                return rs.next() ? rs.getString(1) : "no row";
            }
        }
    }

    private static SQLException refused(Connection conn, String state, String sql, Object... args) {
        try {
            exec(conn, sql, args);
        } catch (SQLException e) {
            same(e.getSQLState() + " " + sql, state + " " + sql);
            return e;
        }
        throw new AssertionError(sql + " succeeded");
    }

    private static boolean simple() {
        return env("URL_OPTIONS").contains("preferQueryMode=simple");
    }

    private static boolean autosave() {
        return env("URL_OPTIONS").contains("autosave=always");
    }

    /** A function that fails as often as it is asked until the session has been ended. */
    private static SQLException untilCut(Connection conn) throws InterruptedException {
        for (int i = 0; i < 250; i++) {
            try {
                exec(conn, "SELECT 1");
            } catch (SQLException e) {
                return e;
            }
            Thread.sleep(20);
        }
        throw new AssertionError("lives on");
    }

    static String connect() throws Exception {
        try (Connection conn = open("options=-c%20statement_timeout=54321", "currentSchema=pg_catalog")) {
            same(value(conn, "SHOW application_name"), "matrix");
            same(value(conn, "SHOW statement_timeout"), "54321ms");
            same(value(conn, "SHOW search_path"), "pg_catalog");
            same(conn.getSchema(), "pg_catalog");
            conn.setClientInfo("ApplicationName", "renamed");
            same(value(conn, "SHOW application_name"), "renamed");
            same(conn.isValid(5), true);
        }
        List<String> seen = new ArrayList<>();
        for (String[] as : new String[][] {{"no_such_database", env("PGUSER"), env("PGPASSWORD")}, {env("PGDATABASE"), env("PGUSER"), "wrong"},
            {env("PGDATABASE"), "no_such_user", "x"}}) {
            try (Connection conn = DriverManager.getConnection(url(as[0], ""), as[1], as[2])) {
                throw new AssertionError("let in");
            } catch (SQLException e) {
                seen.add(e.getSQLState());
            }
        }
        return String.join(" ", seen);
    }

    static String parameters() throws Exception {
        String bytes = simple() ? "'\\x00ff'::bytea" : "?::bytea"; // the driver cannot write those as a literal
        try (Connection conn = open();
            PreparedStatement st = conn.prepareStatement("SELECT ?::int, ?::int8, ?::float8, ?::text, ?::int, ?::bool, ?::int[], ?::timestamptz, ?::numeric, " + bytes)) {
            Timestamp when = Timestamp.from(java.time.Instant.parse("2024-02-29T12:30:01.123456Z"));
            for (int i = 0; i < 8; i++) { // text first, then by a named statement and in binary
                st.setInt(1, 1);
                st.setLong(2, -(1L << 40));
                st.setDouble(3, 1.5);
                st.setString(4, "O'Reilly \\ ä");
                st.setNull(5, Types.INTEGER);
                st.setBoolean(6, true);
                st.setArray(7, conn.createArrayOf("int4", new Integer[] {1, 2, 3}));
                st.setTimestamp(8, when);
                st.setBigDecimal(9, new java.math.BigDecimal("1234567890.0987654321"));
                if (!simple()) st.setBytes(10, new byte[] {0, -1});
                try (ResultSet rs = st.executeQuery()) {
                    rs.next();
                    same(rs.getInt(1), 1);
                    same(rs.getLong(2), -(1L << 40));
                    same(rs.getDouble(3), 1.5);
                    same(rs.getString(4), "O'Reilly \\ ä");
                    same(rs.getObject(5), null);
                    same(rs.getBoolean(6), true);
                    same(rs.getBytes(10), new byte[] {0, -1});
                    same(rs.getArray(7).getArray(), new Integer[] {1, 2, 3});
                    same(rs.getTimestamp(8), when);
                    same(rs.getBigDecimal(9), new java.math.BigDecimal("1234567890.0987654321"));
                }
            }
        }
        return "10 types, eight times";
    }

    static String prepared() throws Exception {
        try (Connection conn = open()) {
            exec(conn, "CREATE TABLE prepared (a int PRIMARY KEY, b text)");
            try (PreparedStatement put = conn.prepareStatement("INSERT INTO prepared VALUES (?, ?)");
                PreparedStatement get = conn.prepareStatement("SELECT b FROM prepared WHERE a = ?")) {
                for (int i = 0; i < 100; i++) {
                    bind(put, i, "row " + i);
                    same(put.executeUpdate(), 1);
                    bind(get, i);
                    try (ResultSet rs = get.executeQuery()) {
                        rs.next();
                        same(rs.getString(1), "row " + i);
                    }
                }
            }
            for (int round = 0; round < 2; round++) {
                for (int i = 0; i < 300; i++) same(value(conn, "SELECT ?::int + " + i, i), "" + 2 * i); // more than the cache holds
            }
            try (PreparedStatement st = conn.prepareStatement("INSERT INTO prepared VALUES (?, ?) RETURNING a, b", Statement.RETURN_GENERATED_KEYS)) {
                bind(st, 1000, "returned");
                st.execute();
            }
        }
        return "200 executions, 300 statements twice";
    }

    static String replan() throws Exception {
        try (Connection conn = open()) {
            exec(conn, "CREATE TABLE replan (a int)");
            exec(conn, "INSERT INTO replan VALUES (1)");
            try (PreparedStatement st = conn.prepareStatement("SELECT * FROM replan")) {
                for (int i = 0; i < 8; i++) st.executeQuery().close();
                exec(conn, "ALTER TABLE replan ADD b int DEFAULT 2");
                try (ResultSet rs = st.executeQuery()) {
                    rs.next();
                    return "columns " + rs.getMetaData().getColumnCount();
                } catch (SQLException e) {
                    return "SQLSTATE " + e.getSQLState();
                }
            }
        }
    }

    static String pipeline() throws Exception {
        try (Connection conn = open(); Statement check = conn.createStatement()) {
            exec(conn, "CREATE TABLE pipeline (a int PRIMARY KEY, b text)");
            for (boolean auto : new boolean[] {true, false}) {
                conn.setAutoCommit(auto);
                try (PreparedStatement st = conn.prepareStatement("INSERT INTO pipeline VALUES (?, ?)")) {
                    for (int i = 0; i < 1000; i++) {
                        bind(st, (auto ? 0 : 1000) + i, "x".repeat(i % 100));
                        st.addBatch();
                    }
                    same(Arrays.stream(st.executeBatch()).sum(), 1000);
                }
            }
            conn.commit();
            conn.setAutoCommit(true);
            try (PreparedStatement st = conn.prepareStatement("INSERT INTO pipeline VALUES (?, 'k') RETURNING a", new String[] {"a"})) {
                for (int i = 0; i < 100; i++) {
                    bind(st, 5000 + i);
                    st.addBatch();
                }
                st.executeBatch();
                int n = 0;
                try (ResultSet rs = st.getGeneratedKeys()) {
                    while (rs.next()) same(rs.getInt(1), 5000 + n++);
                }
                same(n, 100);
            }
            same(value(conn, "SELECT count(*) FROM pipeline"), "2100");
        }
        return "batches of 1000, one with generated keys";
    }

    static String pipelineError() throws Exception {
        List<String> seen = new ArrayList<>();
        try (Connection conn = open()) {
            exec(conn, "CREATE TABLE pipeline_error (a int PRIMARY KEY)");
            for (boolean auto : new boolean[] {true, false}) {
                conn.setAutoCommit(auto);
                try (PreparedStatement st = conn.prepareStatement("INSERT INTO pipeline_error VALUES (?)")) {
                    for (int i : new int[] {1, 2, 1, 3}) {
                        bind(st, i);
                        st.addBatch();
                    }
                    st.executeBatch();
                    seen.add("ok");
                } catch (BatchUpdateException e) {
                    seen.add(e.getSQLState() + " " + Arrays.toString(e.getUpdateCounts()));
                }
                if (!auto) conn.rollback();
            }
            seen.add(value(conn, "SELECT count(*) FROM pipeline_error") + " rows");
        }
        return String.join(", ", seen);
    }

    static String batch() throws Exception {
        try (Connection conn = open(); Statement st = conn.createStatement()) {
            exec(conn, "CREATE TABLE batch (a int PRIMARY KEY)");
            exec(conn, "INSERT INTO batch VALUES (1); INSERT INTO batch VALUES (2)");
            refused(conn, "23505", "INSERT INTO batch VALUES (5000); INSERT INTO batch VALUES (1); INSERT INTO batch VALUES (5001)");
            same(value(conn, "SELECT max(a) FROM batch"), "2");
            List<String> got = new ArrayList<>();
            boolean more = st.execute("SELECT 1; UPDATE batch SET a = a + 10; SELECT a FROM batch ORDER BY a");
            while (more || st.getUpdateCount() != -1) {
                if (more) {
                    try (ResultSet rs = st.getResultSet()) {
                        while (rs.next()) got.add(rs.getString(1));
                    }
                } else {
                    got.add("count " + st.getUpdateCount());
                }
                more = st.getMoreResults();
            }
            st.execute("");
            st.execute(";");
            return "three statements in one " + got + ", a failing one undone whole, empty ones";
        }
    }

    static String binary() throws Exception {
        if (simple()) return null;
        try (Connection conn = open("prepareThreshold=-1"); PreparedStatement st = conn.prepareStatement("SELECT i, i::float8 / 2, decode(repeat('00ff', i), 'hex'), 'x' || i FROM generate_series(1, ?) i")) {
            st.setInt(1, 100);
            try (ResultSet rs = st.executeQuery()) {
                int n = 0;
                while (rs.next()) {
                    n++;
                    same(rs.getInt(1), n);
                    same(rs.getDouble(2), n / 2.0);
                    same(rs.getBytes(3).length, 2 * n);
                    same(rs.getString(4), "x" + n);
                }
                same(n, 100);
            }
        }
        return "100 rows of 4 types";
    }

    private static CopyManager copies(Connection conn) throws SQLException {
        return conn.unwrap(PGConnection.class).getCopyAPI();
    }

    static String copyIn() throws Exception {
        try (Connection conn = open()) {
            exec(conn, "CREATE TABLE copy_in (a int, b text)");
            StringBuilder text = new StringBuilder();
            for (int i = 0; i < 20000; i++) text.append(i).append("\tline ").append(i).append('\n');
            same(copies(conn).copyIn("COPY copy_in FROM STDIN", new StringReader(text.toString())), 20000L);
            same(value(conn, "SELECT sum(a) FROM copy_in"), "199990000");
        }
        return "20000 rows";
    }

    static String copyOut() throws Exception {
        try (Connection conn = open()) {
            long[] size = {0};
            OutputStream sink = new OutputStream() {
                @Override public void write(int b) { size[0]++; }
                @Override public void write(byte[] b, int from, int n) { size[0] += n; }
            };
            same(copies(conn).copyOut("COPY (SELECT repeat('x', 99) FROM generate_series(1, 20000) i) TO STDOUT", sink), 20000L);
            same(size[0], 2000000L);
        }
        return "20000 rows";
    }

    static String copyFail() throws Exception {
        List<String> seen = new ArrayList<>();
        try (Connection conn = open()) {
            exec(conn, "CREATE TABLE copy_fail (a int PRIMARY KEY)");
            for (String bad : new String[] {"1\n2\nx\n", "1\n1\n"}) {
                try {
                    copies(conn).copyIn("COPY copy_fail FROM STDIN", new StringReader(bad + "3\n".repeat(50000)));
                } catch (SQLException e) {
                    seen.add(e.getSQLState());
                }
            }
            try {
                copies(conn).copyIn("COPY copy_fail FROM STDIN", new InputStream() {
                    private final InputStream first = new ByteArrayInputStream("1\n2\n".getBytes(StandardCharsets.US_ASCII));
                    @Override public int read() throws IOException {
                        int b = first.read();
                        if (b < 0) throw new IOException("disk gone");
                        return b;
                    }
                });
            } catch (IOException e) {
                seen.add(e.getMessage());
            }
            CopyIn in = copies(conn).copyIn("COPY copy_fail FROM STDIN");
            in.writeToCopy("1\n".getBytes(StandardCharsets.US_ASCII), 0, 2);
            in.cancelCopy();
            try {
                copies(conn).copyOut("COPY (SELECT 10 / (5 - i) FROM generate_series(1, 10) i) TO STDOUT", OutputStream.nullOutputStream());
            } catch (SQLException e) {
                seen.add(e.getSQLState());
            }
            same(value(conn, "SELECT count(*) FROM copy_fail"), "0");
        }
        return String.join(" ", seen);
    }

    static String cursor() throws Exception {
        try (Connection conn = open()) {
            conn.setAutoCommit(false);
            try (PreparedStatement st = conn.prepareStatement("SELECT i FROM generate_series(1, ?) i");
                PreparedStatement other = conn.prepareStatement("SELECT 'b' || i FROM generate_series(1, 500) i")) {
                st.setFetchSize(100);
                other.setFetchSize(7);
                st.setInt(1, 1000);
                long sum = 0;
                try (ResultSet rs = st.executeQuery(); ResultSet more = other.executeQuery()) {
                    for (int i = 1; rs.next(); i++) {
                        sum += rs.getInt(1);
                        if (more.next()) same(more.getString(1), "b" + i);
                    }
                }
                same(sum, 500500L);
                try (ResultSet rs = st.executeQuery()) {
                    rs.next(); // and no more
                }
            }
            conn.commit();
            if (!simple()) {
                try (Statement st = conn.createStatement()) {
                    st.setFetchSize(2);
                    ResultSet rs = st.executeQuery("SELECT 10 / (5 - i) FROM generate_series(1, 10) i");
                    for (int i = 0; i < 4; i++) rs.next();
                    try {
                        rs.next();
                        throw new AssertionError("divided by zero");
                    } catch (SQLException e) {
                        same(e.getSQLState(), "22012");
                    }
                }
                conn.rollback();
            }
            try (Statement st = conn.createStatement()) { // a portal ends with its transaction
                st.setFetchSize(2);
                ResultSet rs = st.executeQuery("SELECT generate_series(1, 10)");
                rs.next();
                rs.next();
                conn.commit();
                String end = "read on";
                try {
                    rs.next();
                } catch (SQLException e) {
                    end = e.getSQLState();
                }
                conn.rollback();
                same(value(conn, "SELECT 1"), "1");
                conn.commit();
                return "1000 rows by 100, another by 7 between, 22012 in the middle; after COMMIT: " + end;
            }
        }
    }

    static String cursorHold() throws Exception {
        try (Connection conn = open(); Statement st = conn.createStatement(ResultSet.TYPE_FORWARD_ONLY, ResultSet.CONCUR_READ_ONLY, ResultSet.HOLD_CURSORS_OVER_COMMIT)) {
            conn.setAutoCommit(false);
            exec(conn, "DECLARE held SCROLL CURSOR WITH HOLD FOR SELECT i FROM generate_series(1, 100) i");
            same(value(conn, "FETCH 1 FROM held"), "1");
            conn.commit();
            conn.setAutoCommit(true);
            same(value(conn, "FETCH 1 FROM held"), "2");
            exec(conn, "CREATE TABLE cursor_hold (a int)");
            same(value(conn, "FETCH ABSOLUTE 50 FROM held"), "50");
            exec(conn, "CLOSE held");
            refused(conn, "34000", "FETCH 1 FROM held");
        }
        return "over COMMIT, by SQL";
    }

    static String cancel() throws Exception {
        try (Connection conn = open()) {
            for (boolean auto : new boolean[] {true, false}) {
                conn.setAutoCommit(auto);
                try (PreparedStatement st = conn.prepareStatement("SELECT pg_sleep(?)")) {
                    if (!auto) same(value(conn, "SELECT 1"), "1");
                    st.setInt(1, 30);
                    Thread killer = new Thread(() -> {
                        try {
                            Thread.sleep(300);
                            st.cancel();
                        } catch (SQLException | InterruptedException e) {
                            throw new IllegalStateException(e);
                        }
                    });
                    killer.start();
                    try {
                        st.executeQuery();
                        throw new AssertionError("slept");
                    } catch (SQLException e) {
                        same(e.getSQLState(), "57014");
                    }
                    killer.join();
                }
            }
            if (autosave()) same(value(conn, "SELECT 1"), "1");
            else refused(conn, "25P02", "SELECT 1");
            conn.rollback();
            same(value(conn, "SELECT 1"), "1");
        }
        return autosave() ? "57014, in a transaction undone to the savepoint" : "57014, in a transaction 25P02 after it";
    }

    private static List<String> heard(Connection conn, int n) throws SQLException {
        List<String> got = new ArrayList<>();
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(10);
        while (got.size() < n && System.nanoTime() < end) {
            PGNotification[] some = conn.unwrap(PGConnection.class).getNotifications(200);
            if (some == null) continue;
            for (PGNotification one : some) got.add(one.getName() + ":" + one.getParameter());
        }
        return got;
    }

    static String notifications() throws Exception {
        try (Connection listener = open(); Connection sender = open()) {
            exec(listener, "LISTEN ch");
            exec(listener, "LISTEN \"Other ch\"");
            sender.setAutoCommit(false);
            exec(sender, "NOTIFY ch, 'one'");
            exec(sender, "SELECT pg_notify('Other ch', ?)", "two");
            sender.commit();
            exec(sender, "NOTIFY ch, 'never'");
            sender.rollback();
            exec(sender, "NOTIFY ch, 'three'");
            sender.commit();
            same(heard(listener, 3), List.of("ch:one", "Other ch:two", "ch:three"));
            exec(listener, "NOTIFY ch, 'own'");
            same(heard(listener, 1), List.of("ch:own"));
            exec(listener, "UNLISTEN *");
            exec(sender, "NOTIFY ch, 'late'");
            sender.commit();
            exec(listener, "SELECT 1");
            PGNotification[] late = listener.unwrap(PGConnection.class).getNotifications(100);
            same(late == null ? 0 : late.length, 0);
        }
        return "two channels, own one, none after UNLISTEN";
    }

    static String transactions() throws Exception {
        final String count = "SELECT count(*) FROM transactions";
        try (Connection conn = open(); Connection other = open()) {
            exec(other, "CREATE TABLE transactions (a int)");
            conn.setAutoCommit(false);
            exec(conn, "INSERT INTO transactions VALUES (?)", 1);
            same(value(other, count), "0");
            conn.commit();
            same(value(other, count), "1");
            exec(conn, "INSERT INTO transactions VALUES (?)", 2);
            conn.rollback();
            same(value(other, count), "1");
            conn.setReadOnly(true);
            conn.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            same(value(conn, "SHOW transaction_isolation"), "serializable");
            refused(conn, "25006", "INSERT INTO transactions VALUES (3)");
            conn.rollback();
            conn.setReadOnly(false);
            conn.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
            same(value(conn, count), "1");
            exec(other, "INSERT INTO transactions VALUES (4)");
            same(value(conn, count), "1");
            conn.commit();
            same(value(conn, count), "2");
            conn.commit();
        }
        return "25006, snapshots kept";
    }

    static String savepoints() throws Exception {
        if (autosave()) return null; // cleanupSavepoints releases them
        try (Connection conn = open()) {
            exec(conn, "CREATE TABLE savepoints (a int PRIMARY KEY)");
            conn.setAutoCommit(false);
            exec(conn, "SET application_name = 'outer'");
            Savepoint s1 = conn.setSavepoint("s1");
            exec(conn, "SET application_name = 'inner'");
            exec(conn, "INSERT INTO savepoints VALUES (?)", 1);
            refused(conn, "23505", "INSERT INTO savepoints VALUES (?)", 1);
            refused(conn, "25P02", "SELECT 1");
            conn.rollback(s1);
            same(value(conn, "SHOW application_name"), "outer");
            exec(conn, "INSERT INTO savepoints VALUES (2)");
            conn.releaseSavepoint(s1);
            refused(conn, "3B001", "ROLLBACK TO s1");
            conn.rollback();
            same(value(conn, "SHOW application_name"), "matrix");
            conn.commit();
        }
        return "23505, 25P02, 3B001, settings undone";
    }

    static String errors() throws Exception {
        try (Connection conn = open()) {
            SQLException last = null;
            for (String[] c : new String[][] {
                {"SELEC 1", "42601"}, {"SELECT * FROM no_such_table", "42P01"}, {"SELECT 1 / 0", "22012"}, {"SELECT 'x'::int", "22P02"},
                {"DO $$BEGIN RAISE EXCEPTION 'mine' USING ERRCODE = 'MY123', DETAIL = 'd', HINT = 'h'; END$$", "MY123"}}) {
                for (int i = 0; i < 7; i++) {
                    last = refused(conn, c[1], c[0]);
                    same(value(conn, "SELECT 1"), "1");
                }
            }
            same(last.getMessage().contains("mine") && last.getMessage().contains("Detail: d"), true);
        }
        try (Connection victim = open(); Connection killer = open()) {
            same(value(killer, "SELECT pg_terminate_backend(?)", victim.unwrap(PGConnection.class).getBackendPID()), "t");
            return "5 of them, seven times; pg_terminate_backend of the driver's pid: " + untilCut(victim).getSQLState();
        }
    }

    static String bigRows() throws Exception {
        try (Connection conn = open(); Statement st = conn.createStatement()) {
            same(value(conn, "SELECT length(?::text)", "x".repeat(BIG)), "" + BIG);
            try (ResultSet rs = st.executeQuery("SELECT convert_to(repeat('y', " + BIG + "), 'UTF8')")) {
                rs.next();
                same(rs.getBytes(1).length, BIG);
            }
            int n = 0;
            int size = 0;
            try (ResultSet rs = st.executeQuery("SELECT repeat('z', 100000) FROM generate_series(1, 100) i")) {
                for (; rs.next(); n++) size += rs.getString(1).length();
            }
            same(n + " " + size, "100 10000000");
        }
        return "8 MB there and back, 100 rows of 100 kB";
    }

    static String many() throws Exception {
        try (Connection conn = open()) {
            exec(conn, "CREATE TABLE many (a int PRIMARY KEY, b int)");
            for (int i = 0; i < 300; i++) {
                exec(conn, "INSERT INTO many VALUES (" + i + ", ?)", 2 * i);
                same(value(conn, "SELECT b FROM many WHERE a = " + i), "" + 2 * i);
            }
        }
        for (int i = 0; i < 30; i++) {
            try (Connection one = open()) {
                same(value(one, "SELECT count(*) FROM many"), "300");
            }
        }
        return "600 statements, 30 connections";
    }

    static String timeouts() throws Exception {
        try (Connection conn = open(); Statement st = conn.createStatement()) {
            st.setQueryTimeout(1); // the driver sends a CancelRequest
            try {
                st.executeQuery("SELECT pg_sleep(30)");
                throw new AssertionError("slept");
            } catch (SQLException e) {
                same(e.getSQLState(), "57014");
            }
            same(value(conn, "SELECT 1"), "1");
        }
        try (Connection conn = open("socketTimeout=1")) {
            refused(conn, "08006", "SELECT pg_sleep(30)");
            same(conn.isClosed(), true);
        }
        return "setQueryTimeout, socketTimeout";
    }

    static String session() throws Exception {
        try (Connection conn = open(); Connection other = open()) {
            exec(conn, "SET search_path = pg_catalog, public");
            value(conn, "SELECT set_config('work_mem', ?, false)", "5MB");
            exec(conn, "CREATE TEMP TABLE mine (a serial, b int)");
            exec(conn, "INSERT INTO mine (b) VALUES (7)");
            exec(conn, "CREATE SEQUENCE public.session_seq START 40");
            value(conn, "SELECT nextval('public.session_seq')");
            value(conn, "SELECT pg_advisory_lock(?)", 4711);
            same(value(other, "SELECT pg_try_advisory_lock(4711)"), "f");
            for (int i = 0; i < 3; i++) {
                same(value(conn, "SHOW search_path"), "pg_catalog, public");
                same(value(conn, "SHOW work_mem"), "5MB");
                same(value(conn, "SELECT b FROM mine"), "7");
                same(value(conn, "SELECT currval('public.session_seq') + lastval()"), "80");
            }
            same(value(conn, "SELECT pg_advisory_unlock(4711)"), "t");
            same(value(other, "SELECT pg_try_advisory_lock(4711)"), "t");
            exec(conn, "DISCARD ALL");
            same(value(conn, "SHOW search_path"), "\"$user\", public");
            same(value(conn, "SHOW work_mem"), "4MB");
            refused(conn, "42P01", "SELECT b FROM mine");
            refused(conn, "55000", "SELECT lastval()");
        }
        return "settings, temporary table, sequence, advisory lock; DISCARD ALL";
    }

    static String notices() throws Exception {
        try (Connection conn = open(); Statement st = conn.createStatement()) {
            st.execute("DO $$BEGIN FOR i IN 1..40 LOOP RAISE NOTICE 'n%', i; END LOOP; RAISE WARNING 'w'; END$$");
            List<String> got = new ArrayList<>();
            for (SQLWarning w = st.getWarnings(); w != null; w = w.getNextWarning()) got.add(w.getMessage());
            same(got.size() + got.get(0) + got.get(40), "41n1w");
        }
        return "41 in order";
    }

    static String largeObjects() throws Exception {
        if (autosave()) return null; // the driver does not expect the answer to its own savepoint
        try (Connection conn = open()) {
            conn.setAutoCommit(false);
            LargeObjectManager los = conn.unwrap(PGConnection.class).getLargeObjectAPI();
            long oid = los.createLO();
            byte[] data = new byte[400000];
            Arrays.fill(data, (byte) 7);
            try (LargeObject lo = los.open(oid, LargeObjectManager.WRITE)) {
                lo.write(data);
            }
            conn.commit();
            try (LargeObject lo = los.open(oid, LargeObjectManager.READ)) {
                same(lo.read(400010).length, 400000);
                lo.seek(399999);
                same(lo.read(10).length, 1);
            }
            los.delete(oid);
            conn.commit();
            String state = "opened";
            try {
                los.open(oid, LargeObjectManager.READ);
            } catch (SQLException e) {
                state = e.getSQLState();
            }
            conn.rollback();
            same(value(conn, "SELECT 1"), "1");
            conn.commit();
            return "400 kB by function calls, deleted " + state;
        }
    }

    static String metadata() throws Exception {
        try (Connection conn = open()) {
            exec(conn, "CREATE TABLE metadata (a serial PRIMARY KEY, b text NOT NULL)");
            List<String> got = new ArrayList<>();
            try (ResultSet rs = conn.getMetaData().getColumns(null, "public", "metadata", null)) {
                while (rs.next()) got.add(rs.getString("COLUMN_NAME") + " " + rs.getString("TYPE_NAME"));
            }
            try (ResultSet rs = conn.getMetaData().getPrimaryKeys(null, "public", "metadata")) {
                while (rs.next()) got.add("key " + rs.getString("COLUMN_NAME"));
            }
            try (Statement st = conn.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE)) {
                exec(conn, "INSERT INTO metadata (b) VALUES ('x'), ('y')");
                ResultSet rs = st.executeQuery("SELECT a, b FROM metadata ORDER BY a");
                rs.last();
                rs.updateString(2, "z");
                rs.updateRow();
            }
            got.add(value(conn, "SELECT string_agg(b, ',' ORDER BY a) FROM metadata"));
            return String.join(", ", got);
        }
    }

    static String threads() throws Exception {
        try (Connection setup = open()) {
            exec(setup, "CREATE TABLE pool (a int)");
        }
        ThreadFactory daemons = r -> {
            Thread t = new Thread(r);
            t.setDaemon(true);
            return t;
        };
        ExecutorService workers = Executors.newFixedThreadPool(4, daemons);
        List<Future<Void>> all = new ArrayList<>();
        for (int k = 0; k < 4; k++) {
            final int worker = k;
            Callable<Void> work = () -> {
                try (Connection conn = open()) {
                    conn.setAutoCommit(false);
                    for (int i = 0; i < 40; i++) {
                        exec(conn, "SET LOCAL work_mem = '9MB'");
                        exec(conn, "INSERT INTO pool VALUES (?)", worker * 100 + i);
                        if (i % 2 == 0) conn.rollback();
                        else conn.commit();
                        same(value(conn, "SHOW work_mem"), "4MB");
                        conn.commit();
                    }
                }
                return null;
            };
            all.add(workers.submit(work));
        }
        for (Future<Void> one : all) one.get();
        workers.shutdown();
        try (Connection conn = open()) {
            same(value(conn, "SELECT count(*) FROM pool"), "80");
        }
        return "4 threads with a connection each";
    }

    private static String line(Throwable e) {
        String text = String.valueOf(e.getMessage()).replaceAll("\\s+", " ");
        return e.getClass().getSimpleName() + ": " + text.substring(0, Math.min(300, text.length()));
    }

    public static void main(String[] args) throws Exception {
        if (args.length == 1 && args[0].equals("-version")) {
            System.out.println(org.postgresql.util.DriverInfo.DRIVER_VERSION);
            return;
        }
        Map<String, Check> checks = new LinkedHashMap<>();
        checks.put("connect", Checks::connect);
        checks.put("parameters", Checks::parameters);
        checks.put("prepared", Checks::prepared);
        checks.put("replan", Checks::replan);
        checks.put("pipeline", Checks::pipeline);
        checks.put("pipeline_error", Checks::pipelineError);
        checks.put("batch", Checks::batch);
        checks.put("binary", Checks::binary);
        checks.put("copy_in", Checks::copyIn);
        checks.put("copy_out", Checks::copyOut);
        checks.put("copy_fail", Checks::copyFail);
        checks.put("cursor", Checks::cursor);
        checks.put("cursor_hold", Checks::cursorHold);
        checks.put("cancel", Checks::cancel);
        checks.put("notify", Checks::notifications);
        checks.put("transactions", Checks::transactions);
        checks.put("savepoints", Checks::savepoints);
        checks.put("errors", Checks::errors);
        checks.put("big_rows", Checks::bigRows);
        checks.put("many", Checks::many);
        checks.put("timeouts", Checks::timeouts);
        checks.put("session", Checks::session);
        checks.put("notices", Checks::notices);
        checks.put("large_objects", Checks::largeObjects);
        checks.put("metadata", Checks::metadata);
        checks.put("pool", Checks::threads);
        List<String> wanted = Arrays.asList(args);
        for (Map.Entry<String, Check> one : checks.entrySet()) {
            if (!wanted.isEmpty() && !wanted.contains(one.getKey())) continue;
            String told;
            try {
                String detail = one.getValue().run();
                told = detail == null ? "n/a not in this mode" : "ok " + detail;
            } catch (Exception | AssertionError e) {
                if (!env("DRIVERS_TRACE").isEmpty()) e.printStackTrace();
                told = "failed " + line(e);
            }
            System.out.println(one.getKey() + " " + told);
        }
        System.exit(0);
    }
}
