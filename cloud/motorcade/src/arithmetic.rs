//! Pins what libtorch computes with, so that the same bits come out on every machine of one CPU class (G8).

use std::process::ExitCode;

/// Set once the process has been started again.
const MARK: &str = "MOTORCADE_ARITHMETIC_PINNED";

/// libtorch reads its settings while it is loaded, before `main`: the process starts itself once again with them.
///
/// AVX2 where the CPU has it, the portable code elsewhere; one thread, because a second one changes the order of
/// sums, and slows small networks down wherever a neighbour keeps a core busy. A setting that the caller made
/// stays. The model card records what was used.
///
/// # Errors
/// The exit code 70, with a line on standard error, if the executable can't be started again.
#[cfg(all(feature = "torch", target_arch = "x86_64"))]
pub fn pin_arithmetic() -> Result<(), ExitCode> {
    use std::{env, io::Write, os::unix::process::CommandExt, process};

    if env::var_os(MARK).is_some() {
        return Ok(());
    }
    let capability = if std::arch::is_x86_feature_detected!("avx2") { "avx2" } else { "default" };
    let result = env::current_exe().map(|program| {
        let mut again = process::Command::new(program);
        again.args(env::args_os().skip(1)).env(MARK, "1");
        for (name, value) in [("ATEN_CPU_CAPABILITY", capability), ("OMP_NUM_THREADS", "1")] {
            if env::var_os(name).is_none() {
                again.env(name, value);
            }
        }
        // Replaces this process; it only returns if that failed.
        again.exec()
    });
    let (Ok(error) | Err(error)) = result;
    writeln!(std::io::stderr().lock(), "motorcade: can't start itself again to pin libtorch's arithmetic: {error}")
        .ok();
    Err(ExitCode::from(70))
}

/// Without libtorch there is nothing to pin.
#[cfg(not(all(feature = "torch", target_arch = "x86_64")))]
pub fn pin_arithmetic() -> Result<(), ExitCode> {
    let _ = MARK;
    Ok(())
}
