import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.logging.Level;
import java.util.logging.Logger;

/** Logs in once for every URL on standard input and tells what came of it. */
public final class Logins {
    private static final Logger DRIVER = Logger.getLogger("org.postgresql");

    public static void main(String[] args) throws Exception {
        DRIVER.setLevel(Level.OFF); // its warnings would stand between the answers
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String url; (url = in.readLine()) != null; ) {
            System.out.println(login(url));
            System.out.println("--end--");
            System.out.flush();
        }
    }

    private static String login(String url) {
        try (Connection c = DriverManager.getConnection(url);
                ResultSet row = c.createStatement().executeQuery("SELECT current_user")) {
            row.next();
            return "in\t" + row.getString(1);
        } catch (SQLException e) {
            String state = e.getSQLState() == null ? "error" : e.getSQLState();
            return "refused\t" + state + "\t" + String.valueOf(e.getMessage()).replaceAll("\\s+", " ");
        }
    }
}
