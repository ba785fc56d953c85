use std::io::Error;

use flamingock::change;

#[change(id = "a", ordre = "0001", target = "db")]
async fn create() -> Result<(), Error> {
    Ok(())
}
