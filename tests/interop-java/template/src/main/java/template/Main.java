package template;

import interop.Application;
import interop.Settings;
import io.flamingock.api.annotations.EnableFlamingock;
import io.flamingock.api.annotations.Stage;
import io.flamingock.targetsystem.sql.SqlTargetSystem;
import org.postgresql.ds.PGSimpleDataSource;

@EnableFlamingock(stages = @Stage(location = "template.rates", name = "rates"))
public final class Main {
    private Main() {
    }

    public static void main(String[] arguments) {
        PGSimpleDataSource database = new PGSimpleDataSource();
        database.setUrl(Settings.text("DATABASE"));
        Application.start(new SqlTargetSystem("ledger", database));
    }
}
