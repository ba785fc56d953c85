package interop;

import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;

/**
 * What changes really did: a line for each step, in a file that outlives the process. Injected into changes, so that the
 * SDK's lock guard stands before each step.
 */
public class Effects {
    public void apply(String change) {
        Behaviour.holdIfAsked(change);
        if (Settings.lists("FAIL", change)) {
            write("half " + change);
        }
        Behaviour.failIfAsked(change);
        write("applied " + change);
    }

    public void undo(String change) {
        Behaviour.failRollbackIfAsked(change);
        write("undone " + change);
    }

    /** In one piece, as several processes may write at once. */
    static void write(String line) {
        try (OutputStream file = new FileOutputStream(Settings.text("EFFECTS"), true)) {
            file.write((line + "\n").getBytes(StandardCharsets.UTF_8));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
