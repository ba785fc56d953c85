//! Who a runner is: `<service>@<host>#<uuid>` (wire contract §1.1).

use uuid::Uuid;

pub(crate) fn new(service: &str) -> String {
    compose(service, &host(), Uuid::new_v4())
}

/// Name of this host, `unknown-host` where it cannot be told.
pub(crate) fn host() -> String {
    let name = gethostname::gethostname().to_string_lossy().into_owned();
    if name.is_empty() {
        "unknown-host".to_owned()
    } else {
        name
    }
}

fn compose(service: &str, host: &str, id: Uuid) -> String {
    let service = if service.is_empty() {
        Uuid::new_v4().to_string()
    } else {
        sanitised(service)
    };
    format!("{service}@{}#{id}", sanitised(host))
}

fn sanitised(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_characters_become_underscores() {
        let id = compose("my service/é", "node a", Uuid::nil());
        assert_eq!(id, "my_service__@node_a#00000000-0000-0000-0000-000000000000");
    }
}
