package sql.ledger;

import io.flamingock.api.annotations.Apply;
import io.flamingock.api.annotations.Change;
import io.flamingock.api.annotations.TargetSystem;
import java.sql.Connection;
import java.sql.SQLException;
import java.sql.Statement;

@TargetSystem(id = "ledger")
@Change(id = "create-invoices", author = "mara")
public class _0001__CreateInvoices {
    @Apply
    public void apply(Connection connection) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute("CREATE TABLE invoices (number int NOT NULL)");
        }
    }
}
