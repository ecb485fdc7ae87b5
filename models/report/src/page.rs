//! A report as one HTML file: verdicts, figures, plots, what was run on what. Nothing is loaded from anywhere and
//! nothing runs, so that it opens from a mail or an archive in ten years as today.

use std::{
    fmt::Write,
    io,
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use serde_json::Value;

use crate::{Report, chart, compare::number};

/// Colours are those of colour-blind-safe palettes, by light and dark; dashes tell lines apart that lie on each other.
const STYLE: &str = "
:root{color-scheme:light dark;--bg:#fff;--fg:#1c2024;--soft:#60646c;--edge:#e0e1e6;--card:#f9f9fb;--ok:#18794e;--bad:#ce2c31;
--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#cc79a7;--c4:#8a6d00;--c5:#56616c}
@media (prefers-color-scheme:dark){:root{--bg:#111113;--fg:#edeef0;--soft:#b0b4ba;--edge:#363a3f;--card:#18191b;--ok:#3dd68c;
--bad:#ff9592;--c0:#56b4e9;--c1:#ff9d4d;--c2:#2fcf9f;--c3:#e7a1c9;--c4:#f0e442;--c5:#b0b4ba}}
body{background:var(--bg);color:var(--fg);font:15px/1.45 system-ui,sans-serif;margin:0 auto;max-width:1180px;padding:24px}
h1{font-size:24px;margin:0}h2{font-size:17px;margin:32px 0 10px}.soft{color:var(--soft)}
.plots{display:grid;gap:16px;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr))}
figure{background:var(--card);border:1px solid var(--edge);border-radius:8px;margin:0;padding:12px}
figcaption{font-weight:600;margin-bottom:4px}svg{display:block;height:auto;width:100%}
.grid{stroke:var(--edge)}.tick{fill:var(--soft);font:12px system-ui,sans-serif}.name{fill:var(--fg);font:12px system-ui,sans-serif}
.line{fill:none;stroke-linejoin:round;stroke-width:1.6}
.c0{stroke:var(--c0)}.c1{stroke:var(--c1)}.c2{stroke:var(--c2)}.c3{stroke:var(--c3)}.c4{stroke:var(--c4)}.c5{stroke:var(--c5)}
.c1{stroke-dasharray:7 3}.c2{stroke-dasharray:2 3}.c3{stroke-dasharray:9 3 2 3}
.scroll{overflow-x:auto}table{border-collapse:collapse}td,th{border-bottom:1px solid var(--edge);padding:4px 18px 4px 0;text-align:left;
vertical-align:top}th{color:var(--soft);font-weight:500}.n{font-variant-numeric:tabular-nums;text-align:right}td.n{white-space:nowrap}
.ok{color:var(--ok);font-weight:600}.bad{color:var(--bad);font-weight:600}
.facts{column-gap:48px;columns:2 440px}
.facts div{border-bottom:1px solid var(--edge);break-inside:avoid;display:flex;justify-content:space-between;padding:4px 0}
";

/// Writes the page of a report; folders that lack are made.
///
/// # Errors
/// If the file can't be written.
pub fn write(report: &Report, path: &Path) -> io::Result<()> {
    crate::write(path, html(report).as_bytes())
}

/// The page of a report.
pub fn html(report: &Report) -> String {
    let name = escape(&report.name);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <title>{name}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
    );
    let (class, word) = if report.is_ok() { ("ok", "ok") } else { ("bad", "failed") };
    page.push_str(&format!(
        "<h1>{name} <span class=\"{class}\">{word}</span></h1>\n<p class=\"soft\">{}, {:.1} s; commit {}; {}</p>\n",
        utc(report.started),
        report.duration_s,
        escape(&report.commit),
        escape(&report.machine.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")),
    ));
    verdicts(&mut page, report);
    for (name, table) in &report.tables {
        let columns: Vec<_> = table.columns.iter().map(|column| column.replace('_', " ")).collect();
        rows(&mut page, name, &columns, table.rows.iter().map(|row| row.iter().map(cell).collect()));
    }
    plots(&mut page, report);
    let figures = report.figures.iter().map(|(name, value)| (name.as_str(), number(*value)));
    facts(&mut page, "Figures", figures);
    facts(&mut page, "Parameters", report.parameters.iter().map(|(name, value)| (name.as_str(), cell(value).0)));
    page.push_str("</body>\n</html>\n");
    page
}

fn verdicts(page: &mut String, report: &Report) {
    let verdict = |(name, verdict): (&String, &crate::Verdict)| {
        let (class, word) = if verdict.ok { ("ok", "ok") } else { ("bad", "FAILED") };
        let counts = verdict.counts.iter().map(|(name, n)| format!("{n} {}", name.replace('_', " ")));
        let words: Vec<_> = counts.chain(verdict.examples.iter().cloned()).collect();
        let checked = (format!("{} checked", verdict.checked), "n");
        vec![text(name), (word.to_owned(), class), checked, text(&words.join("; "))]
    };
    rows(page, "Verdicts", &[], report.verdicts.iter().map(verdict));
}

fn plots(page: &mut String, report: &Report) {
    let panels = report.series.iter().flat_map(|series| series.panels().into_iter().map(move |panel| (series, panel)));
    let mut plots = String::new();
    for (series, (panel, lines)) in panels {
        let svg = chart::svg(panel, &series.axis, &series.at, &lines);
        // Writing to a text can't fail.
        writeln!(plots, "<figure><figcaption>{}</figcaption>\n{svg}</figure>", escape(panel)).unwrap_or(());
    }
    if !plots.is_empty() {
        page.push_str("<h2>Over time</h2>\n<div class=\"plots\">\n");
        page.push_str(&plots);
        page.push_str("</div>\n");
    }
}

/// Names and values in columns; nothing if there are none.
fn facts<'a>(page: &mut String, title: &str, facts: impl Iterator<Item = (&'a str, String)>) {
    let fact = |(name, value): (&str, String)| {
        let (name, value) = (escape(name), escape(&value));
        format!("<div><span>{name}</span><span class=\"n\">{value}</span></div>\n")
    };
    let facts: String = facts.map(fact).collect();
    if !facts.is_empty() {
        page.push_str(&format!("<h2>{}</h2>\n<div class=\"facts\">\n{facts}</div>\n", escape(title)));
    }
}

/// A table, each cell with its class; nothing if it has no rows.
fn rows(page: &mut String, title: &str, columns: &[String], rows: impl Iterator<Item = Vec<(String, &'static str)>>) {
    let (mut body, mut classes) = (String::new(), Vec::new());
    for row in rows {
        if classes.is_empty() {
            classes = row.iter().map(|(_, class)| *class).collect();
        }
        body.push_str("<tr>");
        for (text, class) in row {
            body.push_str(&format!("<td class=\"{class}\">{}</td>", escape(&text)));
        }
        body.push_str("</tr>\n");
    }
    if body.is_empty() {
        return;
    }
    let mut head = String::new();
    for (column, class) in columns.iter().zip(classes) {
        head.push_str(&format!("<th class=\"{class}\">{}</th>", escape(column)));
    }
    let title = escape(title);
    page.push_str(&format!("<h2>{title}</h2>\n<div class=\"scroll\"><table>\n<tr>{head}</tr>\n{body}</table></div>\n"));
}

fn text(text: &str) -> (String, &'static str) {
    (text.to_owned(), "")
}

pub(crate) fn cell(value: &Value) -> (String, &'static str) {
    match value {
        Value::Null => ("-".to_owned(), "n"),
        Value::Bool(true) => ("yes".to_owned(), ""),
        Value::Bool(false) => ("no".to_owned(), ""),
        Value::Number(n) => (n.as_f64().map_or_else(|| n.to_string(), number), "n"),
        Value::String(words) => (words.clone(), ""),
        other => (other.to_string(), ""),
    }
}

/// Text as it may stand between tags and in attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// A time for people, UTC; of ms since the epoch.
fn utc(ms: i64) -> String {
    let since = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string().replace('T', " ").replace('Z', " UTC")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Series, Table, Verdict};

    fn report() -> Report {
        let mut report = Report::new("<script>alert(1)</script>");
        report.commit = "a&b".into();
        report.parameters.insert("mqtt".into(), "\"><img src=x>".into());
        report.figures.insert("made_readings_per_s".into(), 1_234.5);
        let verdict = Verdict { ok: false, examples: vec!["<b>".into()], ..Verdict::default() };
        report.verdicts.insert("fail-if p99_ms>50".into(), verdict);
        let row = vec![1.5.into(), Value::Null, true.into(), "</td>".into()];
        report.tables.insert("Steps".into(), Table { columns: vec!["rate_per_s".into()], rows: vec![row] });
        let mut series = Series::new("time_s", vec![1.0, 2.0]);
        series.line("<Rates>", "/s", "made", vec![Some(1.0), Some(2.0)]);
        report.series.push(series);
        report
    }

    #[test]
    fn no_text_of_a_report_becomes_markup() {
        let page = html(&report());
        for markup in ["<script", "<img", "<b>", "</td></td>", "<Rates>", "a&b"] {
            assert!(!page.contains(markup), "{markup}");
        }
        assert!(page.contains("&lt;script&gt;") && page.contains("fail-if p99_ms&gt;50") && page.contains("<svg"));
    }

    #[test]
    fn a_page_loads_nothing_and_its_tags_are_closed() {
        let page = html(&report());
        for outside in ["http://", "https://", "url(", " src=\"", " href=\"", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
        for tag in ["table", "tr", "td", "th", "div", "figure", "figcaption", "svg", "h1", "h2", "p", "style", "text"] {
            let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn a_report_without_plots_and_tables_has_no_empty_ones() {
        let page = html(&Report::new("empty"));
        assert!(!page.contains("<svg") && !page.contains("Over time") && !page.contains("Verdicts"));
    }
}
