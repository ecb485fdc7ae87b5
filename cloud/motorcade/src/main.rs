//! The executable `motorcade`: every cloud role and every tool.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use motorcade::{Arguments, check, pin_arithmetic, start};

/// Records are taken from Kafka by one thread and freed by another, which glibc's allocator makes dear; librdkafka does so
/// too, and takes its memory from here (the feature `override`).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

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
