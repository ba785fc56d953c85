use std::io::Error;

use flamingock::change;

#[change(id = "a", order = "0001", target = "db", checksum = 2)]
async fn create() -> Result<(), Error> {
    Ok(())
}
