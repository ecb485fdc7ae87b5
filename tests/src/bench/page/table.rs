//! Tables and numbers as Markdown has them.

use crate::bench::result::Spread;

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// A table that grows row by row.
#[derive(Debug)]
pub(super) struct Table {
    text: String,
    rows: usize,
}

impl Table {
    pub(super) fn new(columns: &[(&str, Align)]) -> Self {
        let names: Vec<_> = columns.iter().map(|(name, _)| *name).collect();
        let rule: Vec<_> =
            columns.iter().map(|(_, align)| if *align == Align::Left { "---" } else { "---:" }).collect();
        Self { text: format!("| {} |\n|{}|\n", names.join(" | "), rule.join("|")), rows: 0 }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<_> = cells.into_iter().map(|cell| cell.replace('|', "\\|")).collect();
        self.text.push_str(&format!("| {} |\n", cells.join(" | ")));
        self.rows += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub(super) fn text(self) -> String {
        self.text
    }
}

/// A number with as many digits as it is worth: two behind the point up to 10, one up to 100, none from there on, and
/// commas.
pub(super) fn number(value: f64) -> String {
    let digits = match value.abs() {
        small if small < 9.995 => 2,
        middle if middle < 99.95 => 1,
        _ => 0,
    };
    if digits > 0 {
        let text = format!("{value:.digits$}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        return if text == "-0" { "0".to_owned() } else { text.to_owned() };
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

/// Median, and the range where there was more than one round.
pub(super) fn spread(spread: Option<&Spread>, rounds: usize) -> String {
    match spread {
        None => "–".to_owned(),
        Some(Spread { median, least, most }) if rounds > 1 && least < most => {
            format!("{} ({} – {})", number(*median), number(*least), number(*most))
        }
        Some(spread) => number(spread.median),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_they_are_worth() {
        let numbers = [0.0, 0.125, 5.0, 4.256, 12.34, 99.99, 100.4, 1_234_567.0, -0.5, -1_234.0, -0.001];
        let texts = ["0", "0.12", "5", "4.26", "12.3", "100", "100", "1,234,567", "-0.5", "-1,234", "0"];
        assert_eq!(numbers.map(number), texts);
    }

    #[test]
    fn a_range_stands_where_there_is_one() {
        let of = |values: &[f64]| spread(Spread::of(values).as_ref(), values.len());
        assert_eq!(of(&[]), "–");
        assert_eq!(of(&[3.0]), "3");
        assert_eq!(of(&[3.0, 3.0]), "3");
        assert_eq!(of(&[3.0, 5.0, 4.0]), "4 (3 – 5)");
    }

    #[test]
    fn a_cell_can_not_break_its_row() {
        let mut table = Table::new(&[("name", Align::Left), ("n", Align::Right)]);
        assert!(table.is_empty());
        table.row(["a|b".to_owned(), "1".to_owned()]);
        assert_eq!(table.text(), "| name | n |\n|---|---:|\n| a\\|b | 1 |\n");
    }
}
