//! The live terminal view: a small table that is drawn over itself, or a line now and then where there is no terminal.

use std::{
    fmt::Write as _,
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use super::stages::Row;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// How often a line is printed where there is no terminal.
const QUIET: Duration = Duration::from_secs(10);

/// Draws on standard output.
#[derive(Debug)]
pub(super) struct View {
    terminal: bool,
    drawn: usize,
    last_line: Option<Instant>,
}

impl Default for View {
    fn default() -> Self {
        let terminal = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { terminal, drawn: 0, last_line: None }
    }
}

impl View {
    fn paint(&self, style: &str, text: &str) -> String {
        if self.terminal { format!("{style}{text}{PLAIN}") } else { text.to_owned() }
    }

    /// A line that stays.
    pub(super) fn say(&mut self, text: &str) {
        self.erase();
        print(&format!("{text}\n"));
    }

    /// A heading that stays.
    pub(super) fn phase(&mut self, text: &str) {
        let line = self.paint(BOLD, &format!("▸ {text}"));
        self.say(&line);
    }

    /// An alert that stays.
    pub(super) fn alert(&mut self, text: &str, firing: bool) {
        let line = self.paint(if firing { RED } else { GREEN }, text);
        self.say(&line);
    }

    /// The table, over the last one.
    pub(super) fn table(&mut self, clock: &str, rows: &[Row]) {
        if !self.terminal {
            if self.last_line.is_none_or(|last| last.elapsed() >= QUIET) {
                self.last_line = Some(Instant::now());
                let parts: Vec<_> = rows.iter().map(|row| format!("{} {:.0}", row.unit, row.total)).collect();
                print(&format!("  {clock}  {}\n", parts.join(" · ")));
            }
            return;
        }
        // One write, over the old lines, and no line wraps: nothing flickers, and as many lines are drawn as counted.
        let mut text = String::from("\x1b[?7l");
        if self.drawn > 0 {
            write!(text, "\r\x1b[{}A", self.drawn).ok();
        }
        writeln!(text, "{DIM}  {clock}{PLAIN}\x1b[K").ok();
        for row in rows {
            let lag = row.lag.map_or(String::new(), |lag| format!("lag {lag:>6.0}"));
            writeln!(
                text,
                "  {:<10}{:<16}{:>10.0}  {:>7.0}/s  {DIM}{lag}{PLAIN}\x1b[K",
                row.stage, row.unit, row.total, row.rate
            )
            .ok();
        }
        text.push_str("\x1b[?7h");
        print(&text);
        self.drawn = rows.len() + 1;
    }

    fn erase(&mut self) {
        if self.drawn > 0 {
            // Up so many lines, and clear to the end of the screen.
            print(&format!("\r\x1b[{}A\x1b[J", self.drawn));
            self.drawn = 0;
        }
    }
}

fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    // A closed pipe ends nobody's demo.
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
}
