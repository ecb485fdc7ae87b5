//! The twin writer: the current state of every vehicle in MongoDB.
