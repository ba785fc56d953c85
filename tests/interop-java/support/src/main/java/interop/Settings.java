package interop;

import java.util.Arrays;

/** What a test tells an application, by environment variables. */
public final class Settings {
    private Settings() {
    }

    public static String text(String name) {
        String value = optional(name);
        if (value == null) {
            throw new IllegalStateException("INTEROP_" + name + " is not set: the tests set it");
        }
        return value;
    }

    public static long number(String name) {
        return Long.parseLong(text(name));
    }

    /** Whether a list of changes, one a line, has this one. */
    public static boolean lists(String name, String change) {
        String value = optional(name);
        return value != null && Arrays.asList(value.split("\n")).contains(change);
    }

    private static String optional(String name) {
        return System.getenv("INTEROP_" + name);
    }
}
