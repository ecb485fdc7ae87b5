//! The scorer: the detector in real time, and its verification against a replay.
