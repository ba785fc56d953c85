package names.schema;

import interop.Effects;
import io.flamingock.api.annotations.Apply;
import io.flamingock.api.annotations.Change;
import io.flamingock.api.annotations.TargetSystem;

@TargetSystem(id = "shell")
@Change(id = "a b/c+d %2F=ñ", author = "Ñandú")
public class _0002__AddRate {
    @Apply
    public void apply(Effects effects) {
        effects.apply("a b/c+d %2F=ñ");
    }
}
