package interop;

import io.flamingock.api.external.TargetSystem;
import io.flamingock.cloud.Flamingock;
import io.flamingock.targetsystem.nontransactional.NonTransactionalTargetSystem;

/** The start of an application: the SDK's builder with the settings of the test. */
public final class Application {
    private Application() {
    }

    public static void start(TargetSystem target) {
        Flamingock.builder()
            .setHost(Settings.text("SERVER"))
            .setApiToken(Settings.text("TOKEN"))
            .setEnvironment(Settings.text("ENVIRONMENT"))
            .setService(Settings.text("SERVICE"))
            .setServiceIdentifier(Settings.text("RUNNER"))
            .setLockAcquiredForMillis(Settings.number("LEASE_MS"))
            .setLockQuitTryingAfterMillis(Settings.number("QUIT_MS"))
            .setLockTryFrequencyMillis(Settings.number("POLL_MS"))
            .setValidationOnly(Boolean.parseBoolean(Settings.text("VALIDATION_ONLY")))
            .addTargetSystem(target)
            .build()
            .run();
    }

    public static NonTransactionalTargetSystem shell() {
        return new NonTransactionalTargetSystem("shell").addDependency(Effects.class, new Effects());
    }
}
