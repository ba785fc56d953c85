use std::io::Error;

use flamingock::change;

#[change(id = "a", target = "db")]
async fn create() -> Result<(), Error> {
    Ok(())
}
