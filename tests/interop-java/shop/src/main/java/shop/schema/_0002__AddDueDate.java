package shop.schema;

import interop.Effects;
import io.flamingock.api.annotations.Apply;
import io.flamingock.api.annotations.Change;
import io.flamingock.api.annotations.TargetSystem;

@TargetSystem(id = "shell")
@Change(id = "add-due-date", author = "mara")
public class _0002__AddDueDate {
    @Apply
    public void apply(Effects effects) {
        effects.apply("add-due-date");
    }
}
