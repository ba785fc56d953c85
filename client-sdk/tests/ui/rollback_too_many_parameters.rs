use std::io::Error;

use flamingock::{Dep, change};

#[change(id = "a", order = "0001", target = "db", rollback = undo)]
async fn create() -> Result<(), Error> {
    Ok(())
}

async fn undo(
    _a: Dep<u8>,
    _b: Dep<u16>,
    _c: Dep<u32>,
    _d: Dep<u64>,
    _e: Dep<i8>,
    _f: Dep<i16>,
    _g: Dep<i32>,
) -> Result<(), String> {
    Ok(())
}
