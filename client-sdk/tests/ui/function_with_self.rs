use std::io::Error;

use flamingock::change;

pub struct Orders;

impl Orders {
    #[change(id = "a", order = "0001", target = "db")]
    async fn create(&self) -> Result<(), Error> {
        Ok(())
    }
}
