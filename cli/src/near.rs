//! Names that somebody may have meant.

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

/// Letters to insert, remove, replace or swap with their neighbour, to make one text of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    let mut previous = None;
    for (row, letter) in one.chars().enumerate() {
        let mut current = vec![row + 1];
        for (column, candidate) in other.iter().enumerate() {
            let replaced = above[column] + usize::from(letter != *candidate);
            let mut least = replaced.min(above[column + 1] + 1).min(current[column] + 1);
            if column > 0 && previous == Some(*candidate) && other[column - 1] == letter {
                least = least.min(before[column - 1] + 1);
            }
            current.push(least);
        }
        before = std::mem::replace(&mut above, current);
        previous = Some(letter);
    }
    above[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_keyboard_are_seen() {
        assert_eq!(distance("orders", "orders"), 0);
        assert_eq!(distance("oders", "orders"), 1);
        assert_eq!(distance("ordres", "orders"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("größe", "grösse"), 2);
    }

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
