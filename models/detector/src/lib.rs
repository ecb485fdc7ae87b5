//! The anomaly detector: features, scaler, network, threshold, artefact.
