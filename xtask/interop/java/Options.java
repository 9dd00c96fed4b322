import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import org.apache.rocketmq.client.AccessChannel;
import org.apache.rocketmq.client.ClientConfig;

/** The command line of a driver: `--name value` pairs and bare `--switch`es, the same names as our own examples take. */
final class Options {
    private final Map<String, String> given = new HashMap<>();

    Options(String[] args) {
        for (int i = 0; i < args.length; i++) {
            if (!args[i].startsWith("--")) {
                throw new IllegalArgumentException("not an option: " + args[i]);
            }
            boolean hasValue = i + 1 < args.length && !args[i + 1].startsWith("--");
            given.put(args[i].substring(2), hasValue ? args[++i] : "");
        }
    }

    String need(String name) {
        String value = given.get(name);
        if (value == null) {
            throw new IllegalArgumentException("--" + name + " is needed");
        }
        return value;
    }

    String text(String name, String otherwise) {
        return given.getOrDefault(name, otherwise);
    }

    int number(String name, int otherwise) {
        return given.containsKey(name) ? Integer.parseInt(given.get(name)) : otherwise;
    }

    boolean on(String name) {
        return given.containsKey(name);
    }

    /**
     * `--tls`: TLS to any server; `--tls-trust FILE`: to servers of those authorities. The client reads these properties when
     * its first class is loaded.
     */
    void tls() {
        if (on("tls") || on("tls-trust")) {
            System.setProperty("tls.enable", "true");
        }
        if (on("tls-trust")) {
            System.setProperty("tls.test.mode.enable", "false");
            System.setProperty("tls.client.authServer", "true");
            System.setProperty("tls.client.trustCertPath", need("tls-trust"));
        }
    }

    /** `--trace`: tells of every message; `--cloud`: as a cloud wants it. */
    void trace(ClientConfig client) {
        client.setEnableTrace(on("trace"));
        if (on("cloud")) {
            client.setAccessChannel(AccessChannel.CLOUD);
        }
    }

    /** A body of `size` bytes that begins with `text`; the rest is dots. */
    static byte[] body(String text, int size) {
        return (text + ".".repeat(Math.max(0, size - text.length()))).getBytes(StandardCharsets.UTF_8);
    }

    /** A body as one word: trailing dots become `~` and the length in bytes. */
    static String shown(byte[] body) {
        int end = body.length;
        while (end > 0 && body[end - 1] == '.') {
            end--;
        }
        String text = new String(body, 0, end, StandardCharsets.UTF_8);
        return end == body.length ? text : text + "~" + body.length;
    }

    /** One line to standard output, at once and whole even when many threads speak. */
    static void say(String line) {
        synchronized (System.out) {
            System.out.println(line);
            System.out.flush();
        }
    }

    static String oneLine(Throwable failure) {
        return String.valueOf(failure).replaceAll("\\s+", " ").trim();
    }
}
