package shop.seed;

import interop.Effects;
import io.flamingock.api.RecoveryStrategy;
import io.flamingock.api.annotations.Apply;
import io.flamingock.api.annotations.Change;
import io.flamingock.api.annotations.Recovery;
import io.flamingock.api.annotations.TargetSystem;

@TargetSystem(id = "shell")
@Change(id = "load-tax-rates", author = "mara")
@Recovery(strategy = RecoveryStrategy.ALWAYS_RETRY)
public class _0001__LoadTaxRates {
    @Apply
    public void apply(Effects effects) {
        effects.apply("load-tax-rates");
    }
}
