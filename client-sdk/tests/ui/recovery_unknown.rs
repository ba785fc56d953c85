use std::io::Error;

use flamingock::change;

#[change(id = "a", order = "0001", target = "db", recovery = "always-retry")]
async fn create() -> Result<(), Error> {
    Ok(())
}
