//! The process shell of every executable: flags, logs, signals, admin listener, tally, exit codes.
