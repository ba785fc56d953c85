use std::io::Error;

use flamingock::change;

#[change(id = "a", order = "0001", target = "db")]
async fn create(_config: u16) -> Result<(), Error> {
    Ok(())
}
