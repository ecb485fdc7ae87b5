//! The executable `motorcade`: every cloud role and every tool.

use std::process::ExitCode;

use motorcade::{Arguments, check, pin_arithmetic, start};

fn main() -> ExitCode {
    if let Err(code) = pin_arithmetic() {
        return code;
    }
    service::run_checked(
        "motorcade",
        |arguments: &Arguments, _| check(&arguments.command),
        |arguments, process| start(arguments.command, process),
    )
}
