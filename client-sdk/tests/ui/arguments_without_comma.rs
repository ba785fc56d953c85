use std::io::Error;

use flamingock::change;

#[change(id = "a" order = "0001", target = "db")]
async fn create() -> Result<(), Error> {
    Ok(())
}
