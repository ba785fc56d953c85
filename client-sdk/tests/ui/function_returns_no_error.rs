use flamingock::change;

#[change(id = "a", order = "0001", target = "db")]
async fn create() -> Result<(), u8> {
    Ok(())
}
