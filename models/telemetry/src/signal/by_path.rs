//! The row of a path, found by the path's length first: no other row is looked at twice.

use super::{CATALOGUE, Signal};

/// One more than the longest path of the catalogue, in bytes.
const LENGTHS: usize = {
    let (mut longest, mut row) = (0, 0);
    while row < CATALOGUE.len() {
        if CATALOGUE[row].path.len() > longest {
            longest = CATALOGUE[row].path.len();
        }
        row += 1;
    }
    longest + 1
};

/// Rows of the catalogue in ascending order of the length of their paths, and where each length starts.
struct ByLength {
    rows: [u16; CATALOGUE.len()],
    starts: [u16; LENGTHS + 1],
}

static BY_LENGTH: ByLength = {
    let mut by_length = ByLength { rows: [0; CATALOGUE.len()], starts: [0; LENGTHS + 1] };
    let (mut length, mut filled) = (0, 0);
    while length < LENGTHS {
        by_length.starts[length] = filled;
        let mut row = 0_u16;
        while (row as usize) < CATALOGUE.len() {
            if CATALOGUE[row as usize].path.len() == length {
                by_length.rows[filled as usize] = row;
                filled += 1;
            }
            row += 1;
        }
        length += 1;
    }
    by_length.starts[LENGTHS] = filled;
    by_length
};

/// The catalogue's row of a path.
pub fn by_path(path: &str) -> Option<&'static Signal> {
    by_path_bytes(path.as_bytes())
}

/// [`by_path`] for a path that nobody has shown to be a text yet.
pub(crate) fn by_path_bytes(path: &[u8]) -> Option<&'static Signal> {
    let [from, to] = BY_LENGTH.starts.get(path.len()..path.len() + 2)? else { return None };
    let rows = &BY_LENGTH.rows[usize::from(*from)..usize::from(*to)];
    rows.iter().map(|row| &CATALOGUE[usize::from(*row)]).find(|signal| signal.path.as_bytes() == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_and_nothing_else_is_found() {
        for signal in CATALOGUE {
            assert_eq!(by_path(signal.path), Some(signal));
            // As long as a path of the catalogue, or one byte away from that.
            let mut other = signal.path.to_owned();
            other.replace_range(0..1, "_");
            assert_eq!(by_path(&other), None);
            assert_eq!(by_path(&signal.path[1..]), None);
            other.push('_');
            assert_eq!(by_path(&other), None);
        }
        for absent in ["", "V", &"x".repeat(LENGTHS - 1), &"x".repeat(LENGTHS), &"x".repeat(10_000)] {
            assert_eq!(by_path(absent), None, "{} bytes", absent.len());
        }
    }
}
