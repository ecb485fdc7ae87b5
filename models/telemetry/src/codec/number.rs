//! JSON's numbers: exactly where that is cheap, else as far as a range needs them.

/// A number that is exactly what serde_json reads with `float_roundtrip`, or so near to it that only a limit could tell them apart.
#[derive(Clone, Copy)]
pub(crate) struct Approximate {
    value: f64,
    exact: bool,
}

/// From 2^53 on not every integer is a double.
const MAX_EXACT: u64 = 1 << 53;
/// So many digits fit in a `u64`, whatever they are.
const MAX_DIGITS: usize = 19;
/// Each of them is a double.
const POWERS: [f64; MAX_DIGITS + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19];
/// How far an inexact value may be off, as a share of it: thousands of times more than it ever is.
const DOUBT: f64 = 1e-12;
/// Doubles beyond it, or nearer to 0 than its inverse, may be infinities, zeros or less precise than [`DOUBT`].
const HUGE: f64 = 1e300;

impl Approximate {
    /// The number itself.
    pub(crate) fn exactly(value: f64) -> Self {
        Self { value, exact: true }
    }

    /// The number, where it is what serde_json reads with `float_roundtrip`, to the last bit.
    pub(crate) fn exact(self) -> Option<f64> {
        self.exact.then_some(self.value)
    }

    /// Whether the number certainly lies in the closed range.
    pub(crate) fn is_surely_within(self, min: f64, max: f64) -> bool {
        if self.exact {
            // A NaN lies in no range.
            return (min..=max).contains(&self.value);
        }
        let doubt = self.value.abs() * DOUBT;
        self.is_usual() && min <= self.value - doubt && self.value + doubt <= max
    }

    /// Whether the number certainly is one.
    pub(crate) fn is_surely_finite(self) -> bool {
        if self.exact { self.value.is_finite() } else { self.is_usual() }
    }

    fn is_usual(self) -> bool {
        (1.0 / HUGE..=HUGE).contains(&self.value.abs())
    }
}

/// Reads the number at the start of the text, and how many bytes it takes; none if JSON has no such number.
pub(crate) fn read(text: &[u8]) -> Option<(Approximate, usize)> {
    let negative = text.first() == Some(&b'-');
    let start = usize::from(negative);
    let (mut digits, mut at) = digits(text, start, 0);
    // No leading zeros, and at least one digit.
    if at == start || (text[start] == b'0' && at > start + 1) {
        return None;
    }
    let mut read = at - start;
    let mut decimals = 0;
    if text.get(at) == Some(&b'.') {
        let point = at + 1;
        (digits, at) = self::digits(text, point, digits);
        decimals = at - point;
        if decimals == 0 {
            return None;
        }
        read += decimals;
    }
    if read > MAX_DIGITS || matches!(text.get(at), Some(b'e' | b'E')) {
        return long(text, at);
    }
    // Exact, because both are and a division rounds once: the double nearest to the text, which serde_json gives with `float_roundtrip`.
    #[expect(clippy::cast_precision_loss, reason = "then it is not exact, and said to be so")]
    let size = digits as f64 / POWERS[decimals];
    let number = Approximate { value: if negative { -size } else { size }, exact: digits < MAX_EXACT };
    Some((number, at))
}

/// Goes on with a number whose digits up to `at` are known to be well-formed.
fn long(text: &[u8], mut at: usize) -> Option<(Approximate, usize)> {
    if matches!(text.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let (_, end) = digits(text, at, 0);
        if end == at {
            return None;
        }
        at = end;
    }
    let value = std::str::from_utf8(&text[..at]).ok()?.parse().ok()?;
    Some((Approximate { value, exact: false }, at))
}

/// Appends the digits that start at `at` to `before`, and says where they end. Wraps beyond [`MAX_DIGITS`].
fn digits(text: &[u8], mut at: usize, mut before: u64) -> (u64, usize) {
    while let Some(digit) = text.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit <= 9) {
        before = before.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (before, at)
}

/// Reads a whole number from 1 on, of at most [`MAX_DIGITS`] digits; a fraction or exponent behind it stays there.
pub(crate) fn read_whole(text: &[u8]) -> Option<(u64, usize)> {
    let (number, end) = digits(text, 0, 0);
    (text.first() != Some(&b'0') && (1..=MAX_DIGITS).contains(&end)).then_some((number, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_does_not_know_is_no_number() {
        for bad in ["", "-", "+1", "01", "-01", ".5", "1.", "1.e5", "1e", "1e+", "1E-", "x", "-x", "NaN", "Infinity"] {
            assert!(read(bad.as_bytes()).is_none(), "{bad}");
        }
        for bad in ["", "0", "01", "-1", "12345678901234567890", "x"] {
            assert!(read_whole(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_number_ends_where_it_ends() {
        for (text, number) in [
            ("0", 0.0),
            ("-0", 0.0),
            ("0.1", 0.1),
            ("100.0", 100.0),
            ("33.333333333333336", 33.333_333_333_333_336),
            ("9007199254740993", 9_007_199_254_740_992.0),
            ("-12.50", -12.5),
            ("1e2", 100.0),
            ("1.5E-3", 0.0015),
            ("123456789012345678901234567890", 1.234_567_890_123_456_8e29),
        ] {
            for behind in ["", ",", "}", " ", "x"] {
                let (read, end) = read(format!("{text}{behind}").as_bytes()).unwrap();
                assert_eq!(end, text.len(), "{text}");
                assert!((read.value - number).abs() <= number.abs() * 1e-15, "{text} is not {}", read.value);
            }
        }
        assert_eq!(read_whole(b"1234567890123456789,").unwrap(), (1_234_567_890_123_456_789, 19));
    }

    #[test]
    fn what_is_exact_is_what_serde_json_reads_to_the_last_bit() {
        let mut texts: Vec<String> =
            ["-0", "0.0", "9007199254740991", "9007199254740992", "0.1234567890123456789"].map(str::to_owned).to_vec();
        for n in 0..20_000_u64 {
            // Digits without a pattern, as many as there are, and the point at every place among them.
            let digits = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (n % 64);
            let text = digits.to_string();
            let (whole, decimals) = text.split_at((n % text.len() as u64) as usize);
            texts.push(format!(
                "{}{}.{decimals}",
                if n % 2 == 0 { "-" } else { "" },
                if whole.is_empty() { "0" } else { whole }
            ));
        }
        let mut exact = 0;
        for text in &texts {
            let (number, _) = read(text.as_bytes()).unwrap();
            let Some(number) = number.exact() else { continue };
            exact += 1;
            assert_eq!(number.to_bits(), serde_json::from_str::<f64>(text).unwrap().to_bits(), "{text}");
        }
        assert!(exact > texts.len() / 2 && exact < texts.len(), "{exact}");
    }

    #[test]
    fn near_a_limit_only_the_exact_are_sure() {
        let sure = |text: &str| read(text.as_bytes()).unwrap().0.is_surely_within(0.0, 100.0);
        // The last one is below 2^53 without its point, the first unsure one is not.
        for inside in ["0", "0.0", "100", "100.0", "50.000000000000004", "99.9999999", "1e1", "90.07199254740991"] {
            assert!(sure(inside), "{inside}");
        }
        for unsure in [
            "99.99999999999999",
            "100.00000000000001",
            "99.999999999999999",
            "1e2",
            "0e0",
            "1e-320",
            "-0.1",
            "100.1",
            "-1e-400",
        ] {
            assert!(!sure(unsure), "{unsure}");
        }
        for infinite in ["1e400", "-1e400", "1e301"] {
            assert!(!read(infinite.as_bytes()).unwrap().0.is_surely_finite(), "{infinite}");
        }
    }
}
