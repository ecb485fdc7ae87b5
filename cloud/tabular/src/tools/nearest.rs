//! The name that was probably meant.

/// The candidate that the fewest changed letters make of the name; none where there is no candidate.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates.min_by_key(|candidate| distance(name, candidate))
}

/// How many letters have to be put in, taken out or replaced (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, letter) in from.chars().enumerate() {
        // The field to the upper left of the next one.
        let mut corner = row[0];
        row[0] = at + 1;
        for (column, other) in to.iter().enumerate() {
            let replaced = corner + usize::from(letter != *other);
            corner = row[column + 1];
            row[column + 1] = replaced.min(corner + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted() {
        for (from, to, expected) in
            [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("Spd", "Speed", 2)]
        {
            assert_eq!(distance(from, to), expected, "{from} {to}");
            assert_eq!(distance(to, from), expected, "{to} {from}");
        }
    }

    #[test]
    fn the_nearest_is_found() {
        let paths = ["Vehicle.Speed", "Vehicle.IsMoving", "Motorcade.Foreign.Rattle"];
        assert_eq!(nearest("Vehicle.Sped", paths.into_iter()), Some("Vehicle.Speed"));
        assert_eq!(nearest("Foreign.Rattle", paths.into_iter()), Some("Motorcade.Foreign.Rattle"));
        assert_eq!(nearest("x", [].into_iter()), None);
    }
}
