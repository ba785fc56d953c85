package names.schema;

import interop.Effects;
import io.flamingock.api.annotations.Apply;
import io.flamingock.api.annotations.Change;
import io.flamingock.api.annotations.Rollback;
import io.flamingock.api.annotations.TargetSystem;

@TargetSystem(id = "shell")
@Change(id = "règle 100%+TVA/été", author = "Zoë Müller + Söhne / 5%")
public class _0001__CreateRates {
    @Apply
    public void apply(Effects effects) {
        effects.apply("règle 100%+TVA/été");
    }

    @Rollback
    public void undo(Effects effects) {
        effects.undo("règle 100%+TVA/été");
    }
}
