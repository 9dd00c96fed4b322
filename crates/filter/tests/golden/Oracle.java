// Asks the original's classes what they say of generated conditions; prints one JSON line for each.
//   javac -cp 'LIB/*' -d /tmp/oracle Oracle.java && java -cp '/tmp/oracle:LIB/*' Oracle SEED COUNT > sql92.jsonl
// LIB: the jars of rocketmq-filter 5.5.0 and what it needs (`cargo xtask interop` fetches them).
import java.util.*;
import org.apache.rocketmq.filter.expression.*;
import org.apache.rocketmq.filter.parser.SelectorParser;

public class Oracle {
    static Random random;

    static String pick(String... of) {
        return of[random.nextInt(of.length)];
    }

    static String text() {
        return pick("'a'", "'b'", "'ab'", "''", "'it''s'", "'5'", "'-3'", "'1.5'", "'true'", "'TRUE'", "' 7 '", "'B'", "'5d'", "'NaN'", "'\u00fc'");
    }

    static String number() {
        return pick("0", "1", "5", "3", "10", "5L", "2147483647", "2147483648", "9223372036854775807", "9223372036854775808", "1.5", "5.", ".5",
            "5E1", "1e-3", "0.0", "007", "5.0", "1E400", "3l", "0x1F", "1.5f", "4.9E-324", "00.5");
    }

    static String name() {
        return pick("a", "b", "n", "t", "x", "_u", "$d", "A", "now", "inside", "absent");
    }

    static String primary(int depth) {
        switch (random.nextInt(depth > 3 ? 8 : 10)) {
            case 0: return number();
            case 1: return text();
            case 2: return pick("TRUE", "FALSE", "NULL", "true", "null", "False");
            case 3: case 4: case 5: case 6: case 7: return name();
            default: return "(" + or(depth + 1) + ")";
        }
    }

    static String unary(int depth) {
        switch (random.nextInt(12)) {
            case 0: return "-" + pick("", " ") + unary(depth + 1);
            case 1: return "+" + unary(depth + 1);
            case 2: return "NOT " + unary(depth + 1);
            default: return primary(depth);
        }
    }

    static String comparison(int depth) {
        String left = unary(depth);
        String not = random.nextInt(3) == 0 ? "NOT " : "";
        switch (random.nextInt(14)) {
            case 0: case 1: case 2: return left + pick(" > ", " >= ", "<", " <= ", ">") + unary(depth);
            case 3: return left + " " + not + pick("CONTAINS ", "contains ") + text();
            case 4: return left + " " + not + "STARTSWITH " + text();
            case 5: return left + " " + not + "EndsWith " + text();
            case 6: case 7: return left + " " + not + "BETWEEN " + unary(depth) + " AND " + unary(depth);
            case 8: case 9: {
                StringBuilder list = new StringBuilder(text());
                for (int i = random.nextInt(7); i > 0; i--) list.append(pick(",", " , ")).append(text());
                return left + " " + not + "IN (" + list + ")";
            }
            default: return left;
        }
    }

    static String equality(int depth) {
        String left = comparison(depth);
        switch (random.nextInt(8)) {
            case 0: case 1: case 2: case 3: return left + pick(" = ", "=", " <> ") + comparison(depth);
            case 4: return left + " IS NULL";
            case 5: return left + " IS NOT NULL";
            default: return left;
        }
    }

    static String and(int depth) {
        String left = equality(depth);
        return random.nextInt(4) == 0 ? left + pick(" AND ", " and ") + equality(depth) : left;
    }

    static String or(int depth) {
        String left = and(depth);
        return random.nextInt(4) == 0 ? left + " OR " + and(depth) : left;
    }

    static String condition() {
        String text = or(0);
        switch (random.nextInt(16)) {
            case 0: return text + pick(" rubbish", " LIKE 'x'", " !", " ;", " )", " (", " 'open", " -- all", " -- all\n", " /* c */", " /* c", "\tAND", " #");
            case 1: {
                int at = random.nextInt(text.length() + 1);
                return text.substring(0, at) + pick(" ", "!", "(", ")", "'", "/**/", "--\n", "=", "NOT ", "\u00e4", "\"", "") + text.substring(at);
            }
            case 2: {
                int at = random.nextInt(text.length());
                return text.substring(0, at) + text.substring(at + 1);
            }
            default: return text;
        }
    }

    static final String[][] MESSAGES = {
        {},
        {"a", "a", "b", "b", "n", "5", "t", "true", "x", "ab", "_u", "1.5", "$d", "-3", "A", "B"},
        {"a", "5", "b", "-3", "n", "2147483648", "t", "TRUE", "x", "it's", "_u", "", "$d", "1e3", "now", "7"},
        {"a", "ab", "b", "", "n", "x5", "t", "false", "x", " 7 ", "_u", "NaN", "$d", "Infinity", "inside", "\u00fc"},
        {"a", "1.5", "b", "5d", "n", "10", "x", "+5", "_u", "0.5", "$d", "9223372036854775807", "A", "true"},
    };

    static String quoted(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') out.append('\\').append(c);
            else if (c < ' ' || c > '~') out.append(String.format("\\u%04x", (int) c));
            else out.append(c);
        }
        return out.append('"').toString();
    }

    public static void main(String[] args) throws Exception {
        random = new Random(Long.parseLong(args[0]));
        Set<String> seen = new LinkedHashSet<>();
        int count = Integer.parseInt(args[1]);
        while (seen.size() < count) seen.add(condition());
        for (String condition : seen) {
            StringBuilder line = new StringBuilder("{\"condition\":").append(quoted(condition)).append(",\"answers\":");
            Expression compiled = null;
            try {
                compiled = SelectorParser.parse(condition);
            } catch (Throwable refused) {
                line.append("null");
            }
            if (compiled != null) {
                line.append('"');
                for (String[] pairs : MESSAGES) {
                    Map<String, String> properties = new HashMap<>();
                    for (int i = 0; i < pairs.length; i += 2) properties.put(pairs[i], pairs[i + 1]);
                    EvaluationContext context = new EvaluationContext() {
                        public Object get(String name) { return properties.get(name); }
                        public Map<String, Object> keyValues() { return new HashMap<>(properties); }
                    };
                    char answer;
                    try {
                        answer = Boolean.TRUE.equals(compiled.evaluate(context)) ? 'T' : 'F';
                    } catch (Throwable failed) {
                        answer = 'F';
                    }
                    line.append(answer);
                }
                line.append('"');
            }
            System.out.println(line.append('}'));
        }
    }
}
