//! A plot of lines as SVG: round ticks, units, legend. Its colours are classes that the page's style sets, so that one
//! drawing is right in light and dark; it needs no script, and says every value's time in no other way than by place.

use std::fmt::Write;

use crate::{Line, compare::number, page::escape};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 34.0;
/// The page's style has so many colours for lines.
pub(crate) const COLOURS: usize = 6;
/// A panel of times whose values span more than this is drawn by powers of ten.
const WIDE: f64 = 50.0;

/// One axis: from where to where, and the ticks.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    from: f64,
    to: f64,
    logarithmic: bool,
    /// Where lines stand.
    pub ticks: Vec<f64>,
}

impl Axis {
    /// An axis that holds `from..=to`, with round ticks: 1, 2 or 5 times a power of ten apart.
    pub fn round(from: f64, to: f64, ticks: u32) -> Self {
        let span = if to > from { to - from } else { 1.0 };
        let rough = span / f64::from(ticks.max(1));
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| *step >= rough * 0.999);
        let step = step.unwrap_or(10.0 * power);
        let (first, last) = ((from / step).floor(), ((from + span) / step).ceil());
        let mut places = Vec::new();
        let mut place = first;
        while place <= last {
            places.push(place * step);
            place += 1.0;
        }
        Self { from: first * step, to: last * step, logarithmic: false, ticks: places }
    }

    /// An axis by powers of ten that holds `from..=to`, both above 0.
    pub fn powers(from: f64, to: f64) -> Self {
        let (first, last) = (from.log10().floor(), to.log10().ceil().max(from.log10().floor() + 1.0));
        let mut ticks = Vec::new();
        let mut power = first;
        while power <= last {
            ticks.push(10_f64.powf(power));
            power += 1.0;
        }
        Self { from: 10_f64.powf(first), to: 10_f64.powf(last), logarithmic: true, ticks }
    }

    /// Where a value stands between the ends, 0 to 1.
    pub fn place(&self, value: f64) -> f64 {
        let place = if self.logarithmic {
            (value.max(self.from).log10() - self.from.log10()) / (self.to.log10() - self.from.log10())
        } else {
            (value - self.from) / (self.to - self.from)
        };
        place.clamp(0.0, 1.0)
    }
}

/// Draws the lines of a panel over their axis.
pub fn svg(title: &str, axis: &str, at: &[f64], lines: &[&Line]) -> String {
    let unit = lines.first().map_or("", |line| line.unit.as_str());
    let x = x_axis(at);
    let y = y_axis(unit, lines);
    let (across, down) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    let to_x = |value: f64| LEFT + x.place(value) * across;
    let to_y = |value: f64| TOP + (1.0 - y.place(value)) * down;
    let mut svg = String::new();
    let label = escape(&format!("{title}, {unit}"));
    push(&mut svg, format_args!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">"#));
    for tick in &y.ticks {
        let (place, text) = (to_y(*tick), short(*tick));
        let end = WIDTH - RIGHT;
        push(&mut svg, format_args!(r#"<line class="grid" x1="{LEFT}" y1="{place:.1}" x2="{end}" y2="{place:.1}"/>"#));
        let (x, y) = (LEFT - 6.0, place + 4.0);
        push(&mut svg, format_args!(r#"<text class="tick" x="{x}" y="{y:.1}" text-anchor="end">{text}</text>"#));
    }
    for tick in x.ticks.iter().filter(|tick| **tick <= at.last().copied().unwrap_or(0.0)) {
        let (place, text, y) = (to_x(*tick), short(*tick), HEIGHT - BOTTOM + 16.0);
        push(&mut svg, format_args!(r#"<text class="tick" x="{place:.1}" y="{y}" text-anchor="middle">{text}</text>"#));
    }
    let (middle, foot) = (LEFT + across / 2.0, HEIGHT - 4.0);
    let axis = escape(&with_unit(axis));
    push(&mut svg, format_args!(r#"<text class="tick" x="{middle}" y="{foot}" text-anchor="middle">{axis}</text>"#));
    push(&mut svg, format_args!(r#"<text class="tick" x="{LEFT}" y="16" text-anchor="end">{}</text>"#, escape(unit)));
    let mut legend = LEFT + 14.0;
    for (number, line) in lines.iter().enumerate() {
        let colour = number % COLOURS;
        for piece in pieces(at, &line.values) {
            let points = piece.iter().map(|(x, y)| format!("{:.1},{:.1}", to_x(*x), to_y(*y)));
            let points: Vec<_> = points.collect();
            match &points[..] {
                [alone] => {
                    let (x, y) = alone.split_once(',').unwrap_or_default();
                    push(&mut svg, format_args!(r#"<circle class="dot c{colour}" cx="{x}" cy="{y}" r="2"/>"#));
                }
                many => {
                    push(&mut svg, format_args!(r#"<polyline class="line c{colour}" points="{}"/>"#, many.join(" ")));
                }
            }
        }
        let (end, text) = (legend + 16.0, escape(&line.name.replace('_', " ")));
        push(&mut svg, format_args!(r#"<line class="line c{colour}" x1="{legend}" y1="12" x2="{end}" y2="12"/>"#));
        let start = end + 5.0;
        push(&mut svg, format_args!(r#"<text class="name" x="{start}" y="16">{text}</text>"#));
        // About what the letters take.
        legend = start + 6.6 * f64::from(u32::try_from(line.name.chars().count()).unwrap_or(0)) + 16.0;
    }
    svg.push_str("</svg>");
    svg
}

/// Writing to a text can't fail.
fn push(svg: &mut String, element: std::fmt::Arguments<'_>) {
    writeln!(svg, "{element}").unwrap_or(());
}

/// From the first value's place, or 0, to the last one's: nothing is drawn beyond.
fn x_axis(at: &[f64]) -> Axis {
    let first = at.first().copied().unwrap_or(0.0).min(0.0);
    let last = at.last().copied().unwrap_or(1.0).max(first + f64::EPSILON);
    Axis { to: last, from: first, ..Axis::round(first, last, 8) }
}

fn y_axis(unit: &str, lines: &[&Line]) -> Axis {
    let values = || lines.iter().flat_map(|line| line.values.iter().flatten().copied()).filter(|v| v.is_finite());
    let most = values().fold(0.0, f64::max);
    let least = values().fold(0.0, f64::min);
    let small = values().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
    let is_time = ["ms", "s", "µs"].contains(&unit);
    if is_time && least >= 0.0 && small.is_finite() && most / small > WIDE {
        return Axis::powers(small, most);
    }
    Axis::round(least, if most > least { most } else { least + 1.0 }, 4)
}

/// The values that were measured one after the other.
fn pieces(at: &[f64], values: &[Option<f64>]) -> Vec<Vec<(f64, f64)>> {
    let mut pieces = vec![Vec::new()];
    for (x, y) in at.iter().zip(values) {
        match (y.filter(|y| y.is_finite()), pieces.last_mut()) {
            (Some(y), Some(piece)) => piece.push((*x, y)),
            _ => pieces.push(Vec::new()),
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// A tick's value, with k and M for thousands and millions.
fn short(value: f64) -> String {
    let trimmed = |value: f64| {
        let text = format!("{value:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match value.abs() {
        size if size >= 1e6 => trimmed(value / 1e6) + "M",
        size if size >= 1e4 => trimmed(value / 1e3) + "k",
        size if size < 1e-3 && size > 0.0 => number(value),
        _ => trimmed(value),
    }
}

/// `time_s` as people write it: `time, s`.
fn with_unit(name: &str) -> String {
    name.rsplit_once('_').map_or_else(|| name.to_owned(), |(name, unit)| format!("{}, {unit}", name.replace('_', " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(values: &[Option<f64>], unit: &str) -> Line {
        Line { name: "<p99>".into(), panel: "Latency".into(), unit: unit.into(), values: values.to_vec() }
    }

    #[test]
    fn ticks_are_round_and_hold_all_values() {
        for (from, to, ticks) in [(0.0, 7.0, &[0.0, 2.0, 4.0, 6.0, 8.0][..]), (0.0, 1_000.0, &[0.0, 500.0, 1_000.0])] {
            let axis = Axis::round(from, to, 4);
            assert_eq!((axis.ticks.as_slice(), axis.place(from)), (ticks, 0.0));
            assert!(axis.place(to) <= 1.0 && axis.place(to) > 0.8);
        }
        assert_eq!(Axis::round(3.0, 3.0, 4).place(3.0), 0.0, "one value has a place, too");
        let powers = Axis::powers(0.3, 900.0);
        assert_eq!(powers.ticks.len(), 5);
        assert!((powers.place(10.0) - 0.5).abs() < 1e-9 && powers.place(0.0) == 0.0);
    }

    #[test]
    fn a_gap_stays_a_gap_and_text_is_escaped() {
        let values = [Some(1.0), Some(2.0), None, Some(3.0), Some(f64::NAN)];
        let svg = svg("Latency", "time_s", &[1.0, 2.0, 3.0, 4.0, 5.0], &[&line(&values, "ms")]);
        assert_eq!((svg.matches("<polyline").count(), svg.matches("<circle").count()), (1, 1));
        assert!(svg.contains("&lt;p99&gt;") && !svg.contains("<p99>") && !svg.contains("NaN"), "{svg}");
        assert!(svg.contains("time, s"));
    }

    #[test]
    fn nothing_is_drawn_as_nothing() {
        let svg = svg("Rate", "time_s", &[], &[&line(&[], "/s")]);
        assert!(svg.starts_with("<svg") && !svg.contains("polyline") && !svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn times_far_apart_are_drawn_by_powers_of_ten_and_rates_never() {
        let values = [Some(1.0), Some(1_000.0)];
        assert!(y_axis("ms", &[&line(&values, "ms")]).logarithmic);
        assert!(!y_axis("/s", &[&line(&values, "/s")]).logarithmic);
    }

    #[test]
    fn ticks_are_short() {
        let texts = [0.0, 0.5, 1_500.0, 20_000.0, 2_500_000.0].map(short);
        assert_eq!(texts, ["0", "0.5", "1500", "20k", "2.5M"]);
    }
}
