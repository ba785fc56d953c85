package spring.schema;

import interop.Effects;
import io.flamingock.api.annotations.Apply;
import io.flamingock.api.annotations.Change;
import io.flamingock.api.annotations.Rollback;
import io.flamingock.api.annotations.TargetSystem;

@TargetSystem(id = "shell")
@Change(id = "create-invoices", author = "mara")
public class _0001__CreateInvoices {
    @Apply
    public void apply(Effects effects) {
        effects.apply("create-invoices");
    }

    @Rollback
    public void undo(Effects effects) {
        effects.undo("create-invoices");
    }
}
