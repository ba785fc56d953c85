use std::io::Error;

use flamingock::{Probed, change};

#[change(id = "a", order = "0001", target = "db", probe = is_there)]
async fn create() -> Result<(), Error> {
    Ok(())
}

fn is_there() -> Probed {
    Probed::Unknown
}
