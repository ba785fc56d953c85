//! "Did you mean …?", for names of fields, arguments, settings and places.

/// Of the words that are known, the one that was probably meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |word: &str| word.replace(['_', '-'], "").to_lowercase();
    let wanted = plain(word);
    known
        .into_iter()
        .map(|candidate| (distance(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).clamp(1, 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many letters have to be changed, added, removed or swapped with their neighbour, to make one word of the other.
pub fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<_>, Vec<_>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut best = change.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn slips_of_the_keyboard_are_seen() {
        assert_eq!(distance("orders", "orders"), 0);
        assert_eq!(distance("oders", "orders"), 1);
        assert_eq!(distance("ordres", "orders"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("größe", "grösse"), 2);
    }

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["id", "targetSystem", "rollback", "recovery", "apply", "steps"];
        for (word, meant) in [
            ("rolback", Some("rollback")),
            ("target_system", Some("targetSystem")),
            ("TargetSystem", Some("targetSystem")),
            ("aplpy", Some("apply")),
            ("step", Some("steps")),
            ("recoverystrategy", None),
            ("description", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
    }
}
