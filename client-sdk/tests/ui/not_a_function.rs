use flamingock::change;

#[change(id = "a", order = "0001", target = "db")]
pub struct Create;
