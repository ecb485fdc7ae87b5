//! The alerter: scores and commands in, alert lifecycle out.
