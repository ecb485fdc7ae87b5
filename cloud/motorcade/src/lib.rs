//! The executable motorcade: roles and tools.
