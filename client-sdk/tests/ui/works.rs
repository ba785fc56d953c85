//! What compiles, beside all that does not.

use std::io::Error;

use flamingock::{Cancellation, Dep, Probed, TargetClient, TransactionHandle, change};

pub struct Tx;
impl TransactionHandle for Tx {}

#[change(
    id = "everything",
    order = "0001",
    target = "db",
    author = "mara",
    transactional = true,
    recovery = "always_retry",
    rollback = undo,
    probe = is_there,
    depends_on = ["create-orders"],
    checksum = "v2"
)]
pub async fn everything(_config: Dep<u16>, _tx: &mut Tx, _stop: Cancellation) -> Result<(), Error> {
    Ok(())
}

async fn undo(_tx: &mut Tx, _config: Dep<u16>) -> Result<(), String> {
    Ok(())
}

async fn is_there(_config: Dep<u16>) -> Probed {
    Probed::Unknown
}

#[change(id = "little", order = "0001", target = "shell")]
pub async fn little(_client: TargetClient<u8>) -> Result<(), Error> {
    Ok(())
}

// A change can come out of a macro.
macro_rules! flag {
    ($name:ident, $id:literal, $after:literal, $transactional:expr) => {
        #[change(id = $id, order = "0002", target = "flags", depends_on = [$after], transactional = $transactional)]
        pub async fn $name() -> Result<(), Error> {
            Ok(())
        }
    };
}

flag!(flag_checkout, "flag-checkout", "little", false);
