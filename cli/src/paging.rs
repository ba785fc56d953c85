//! Lists, page by page.

use flamingock::Error;
use flamingock::admin::PageQuery;

use crate::args::Paging;
use crate::failure::Failure;

/// The server's largest page.
const LARGEST_PAGE: usize = 500;

/// What was listed, and where it goes on.
pub struct Listed<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
}

/// As many as wanted. A page may hold fewer than asked for and still have a next one.
pub async fn list<T>(
    paging: &Paging,
    fetch: impl AsyncFn(&PageQuery) -> Result<(Vec<T>, Option<String>), Error>,
) -> Result<Listed<T>, Failure> {
    let wanted = if paging.limit == 0 {
        usize::MAX
    } else {
        paging.limit
    };
    let mut listed = Listed {
        items: Vec::new(),
        next: paging.after.clone(),
    };
    loop {
        let left = wanted - listed.items.len();
        let query = PageQuery {
            after: listed.next.clone(),
            limit: u32::try_from(left.min(LARGEST_PAGE)).ok(),
        };
        let (items, next) = fetch(&query).await?;
        if next.is_some() && next == listed.next {
            return Err(Failure::failed(
                "the server's list does not go on: it gives the same cursor twice",
            ));
        }
        listed.items.extend(items);
        listed.next = next;
        if listed.next.is_none() || listed.items.len() >= wanted {
            return Ok(listed);
        }
    }
}

impl<T> Listed<T> {
    /// Says that there is more.
    pub fn remark(&self, out: crate::output::Output, what: &str) {
        if self.next.is_some() {
            out.note(&format!(
                "there are more {what}: --limit 0 shows all, --limit N more of them"
            ));
        }
    }
}
