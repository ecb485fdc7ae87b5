//! The executable `motorcade`: every cloud role and every tool.

use std::process::ExitCode;

use motorcade::{Arguments, pin_arithmetic, start};

fn main() -> ExitCode {
    if let Err(code) = pin_arithmetic() {
        return code;
    }
    service::run("motorcade", |arguments: Arguments, process| start(arguments.command, process))
}
