package sql.ledger;

import interop.Behaviour;
import io.flamingock.api.annotations.Apply;
import io.flamingock.api.annotations.Change;
import io.flamingock.api.annotations.TargetSystem;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;

/** Not idempotent: a second run would be seen in the table. */
@TargetSystem(id = "ledger")
@Change(id = "load-invoices", author = "mara")
public class _0002__LoadInvoices {
    @Apply
    public void apply(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute("INSERT INTO invoices VALUES (1)");
            Behaviour.holdIfAsked("load-invoices");
            Behaviour.failIfAsked("load-invoices");
            statement.execute("INSERT INTO invoices VALUES (2)");
        }
    }
}
