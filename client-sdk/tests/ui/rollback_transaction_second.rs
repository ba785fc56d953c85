use std::io::Error;

use flamingock::{Dep, TransactionHandle, change};

pub struct Tx;
impl TransactionHandle for Tx {}

#[change(id = "a", order = "0001", target = "db", rollback = undo)]
async fn create() -> Result<(), Error> {
    Ok(())
}

async fn undo(_config: Dep<u16>, _tx: &mut Tx) -> Result<(), String> {
    Ok(())
}
