use std::io::Error;

use flamingock::change;

#[change(id = "a", order = "0001", target = "db", depends_on = ["b", "a"])]
async fn create() -> Result<(), Error> {
    Ok(())
}
