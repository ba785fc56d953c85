//! Names that somebody may have meant.

use flamingock_nearest::distance;

/// Few enough to be read at a glance.
const SHOWN: usize = 3;

/// Those of the names that are like the one that was written, the likest first.
pub fn matches<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let folded = written.to_lowercase();
    let allowed = (folded.chars().count() / 3).max(1);
    let mut near: Vec<(usize, &str)> = names
        .into_iter()
        .filter(|name| *name != written)
        .filter_map(|name| {
            let other = name.to_lowercase();
            let distance = distance(&folded, &other);
            let begins =
                folded.chars().count() > 1 && (other.starts_with(&folded) || folded.starts_with(&other));
            (distance <= allowed || begins).then_some((distance, name))
        })
        .collect();
    near.sort_unstable();
    near.dedup();
    near.truncate(SHOWN);
    near.into_iter().map(|(_, name)| name).collect()
}

/// What to say of them; nothing where there are none.
pub fn hint<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let near = matches(written, names);
    (!near.is_empty()).then(|| format!("did you mean {}?", near.join(" or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likest_names_are_told_and_others_are_not() {
        let names = ["production", "staging", "prod-eu", "development"];
        assert_eq!(matches("prodution", names), ["production"]);
        assert_eq!(matches("prod", names), ["prod-eu", "production"]);
        assert_eq!(matches("Staging", names), ["staging"]);
        assert!(matches("qa", names).is_empty());
        assert!(matches("", names).is_empty());
        assert_eq!(
            hint("prod", names).as_deref(),
            Some("did you mean prod-eu or production?")
        );
    }
}
