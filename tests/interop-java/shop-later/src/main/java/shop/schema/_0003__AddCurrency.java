package shop.schema;

import interop.Effects;
import io.flamingock.api.annotations.Apply;
import io.flamingock.api.annotations.Change;
import io.flamingock.api.annotations.Rollback;
import io.flamingock.api.annotations.TargetSystem;

@TargetSystem(id = "shell")
@Change(id = "add-currency", author = "piet")
public class _0003__AddCurrency {
    @Apply
    public void apply(Effects effects) {
        effects.apply("add-currency");
    }

    @Rollback
    public void undo(Effects effects) {
        effects.undo("add-currency");
    }
}
