import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.util.TimeZone;
import org.joda.time.DateTime;
import org.joda.time.DateTimeZone;
import org.joda.time.Period;
import org.joda.time.format.ISODateTimeFormat;
import org.joda.time.format.ISOPeriodFormat;

/**
 * Answers questions about calendar arithmetic with Joda-Time, as Chronos uses it. Reads lines of
 * tab-separated fields and writes each with one more field, the answer, or ! where Joda throws:
 *
 * <pre>
 * period text                    the period, normalised
 * start  text zone               the start of a schedule; the zone may be empty
 * plus   instant zone period n   instant + n periods, computed in the zone
 * </pre>
 */
public class Oracle {
    public static void main(String[] args) throws Exception {
        DateTimeZone.setDefault(DateTimeZone.UTC);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
        PrintStream out = new PrintStream(System.out, false, "UTF-8");
        for (String line; (line = in.readLine()) != null; ) {
            String answer;
            try {
                answer = answer(line.split("\t", -1));
            } catch (IllegalArgumentException | ArithmeticException e) {
                answer = "!";
            }
            out.print(line + "\t" + answer + "\n");
        }
        out.flush();
    }

    static String answer(String[] f) {
        switch (f[0]) {
            case "period":
                return ISOPeriodFormat.standard().print(ISOPeriodFormat.standard().parsePeriod(f[1]));
            case "start": {
                DateTime start = DateTime.parse(f[1]);
                if (!f[2].isEmpty()) {
                    start = start.withZoneRetainFields(zone(f[2]));
                }
                return ISODateTimeFormat.dateTime().print(start);
            }
            case "plus": {
                DateTime start = DateTime.parse(f[1]).withZone(zone(f[2]));
                Period period = ISOPeriodFormat.standard().parsePeriod(f[3]);
                return ISODateTimeFormat.dateTime().print(start.withPeriodAdded(period, Integer.parseInt(f[4])));
            }
        }
        throw new IllegalStateException("unknown question " + f[0]);
    }

    static DateTimeZone zone(String id) {
        return DateTimeZone.forTimeZone(TimeZone.getTimeZone(id));
    }
}
