//! The trainer: replays recorded history, fits the detector, publishes what passes its calibration.
