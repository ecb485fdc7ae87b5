//! The admin listener: `/healthz`, `/readyz`, `/metrics`.

use std::{net::SocketAddr, path::Path};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Error, Readiness, Token};

#[derive(Clone)]
struct Shared {
    readiness: Readiness,
    metrics: PrometheusHandle,
    token: Option<Token>,
}

/// A bound admin listener.
pub(crate) struct Admin {
    listener: TcpListener,
    shared: Shared,
}

impl Admin {
    /// Binds. Beyond loopback `/metrics` needs a token; the probes tell nothing and stay open.
    pub(crate) async fn bind(
        address: SocketAddr,
        token_file: Option<&Path>,
        metrics: PrometheusHandle,
    ) -> Result<Self, Error> {
        let token = token_file.map(|file| Token::load("admin-token-file", file)).transpose()?;
        if !address.ip().is_loopback() && token.is_none() {
            let detail = format!("{address} is beyond loopback and needs --admin-token-file");
            return Err(Error::Usage { flag: "admin-listen", detail });
        }
        let listener = TcpListener::bind(address).await.map_err(|error| Error::Unavailable {
            flag: "admin-listen",
            address: address.to_string(),
            detail: format!("can't listen: {error}"),
        })?;
        Ok(Self { listener, shared: Shared { readiness: Readiness::default(), metrics, token } })
    }

    pub(crate) fn address(&self) -> Result<SocketAddr, Error> {
        self.listener.local_addr().map_err(|error| anyhow::Error::from(error).into())
    }

    /// What stands behind `/readyz`.
    pub(crate) fn readiness(&self) -> Readiness {
        self.shared.readiness.clone()
    }

    pub(crate) async fn serve(self, stop: CancellationToken) -> std::io::Result<()> {
        let routes = Router::new()
            .route("/healthz", get(|| async { "alive\n" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .with_state(self.shared);
        axum::serve(self.listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await
    }
}

async fn ready(State(shared): State<Shared>) -> (StatusCode, String) {
    match shared.readiness.hindrance() {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(hindrance) => (StatusCode::SERVICE_UNAVAILABLE, format!("{hindrance}\n")),
    }
}

async fn metrics(State(shared): State<Shared>, headers: HeaderMap) -> Result<String, StatusCode> {
    if shared.token.as_ref().is_some_and(|token| !token.admits_headers(&headers)) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    Ok(shared.metrics.render())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn beyond_loopback_a_token_is_needed() {
        let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle();
        let refused = Admin::bind(([0, 0, 0, 0], 0).into(), None, metrics).await.map(|_| ());
        assert_eq!(refused.unwrap_err().exit_code(), 64);
    }
}
