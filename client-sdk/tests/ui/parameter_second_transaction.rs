use std::io::Error;

use flamingock::{TransactionHandle, change};

pub struct Tx;
impl TransactionHandle for Tx {}

#[change(id = "a", order = "0001", target = "db")]
async fn create(_one: &mut Tx, _two: &mut Tx) -> Result<(), Error> {
    Ok(())
}
