package interop;

import java.io.File;

/** How a change behaves in this start. */
public final class Behaviour {
    private Behaviour() {
    }

    public static void failIfAsked(String change) {
        if (Settings.lists("FAIL", change)) {
            throw new IllegalStateException(change + " was asked to fail");
        }
    }

    public static void failRollbackIfAsked(String change) {
        if (Settings.lists("FAIL_ROLLBACK", change)) {
            throw new IllegalStateException("the rollback of " + change + " was asked to fail");
        }
    }

    /** Says so in the effects, and waits until the test lets it go on. */
    public static void holdIfAsked(String change) {
        if (!Settings.lists("HOLD", change)) {
            return;
        }
        Effects.write("holding " + change);
        File goOn = new File(Settings.text("EFFECTS") + ".go");
        while (!goOn.exists()) {
            try {
                Thread.sleep(10);
            } catch (InterruptedException interrupted) {
                throw new IllegalStateException(interrupted);
            }
        }
    }
}
