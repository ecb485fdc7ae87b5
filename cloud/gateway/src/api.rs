//! Routes, and what every answer carries.

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State as Extract},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};

use crate::{auth, page, problem::Problem, rest, state::Shared, stream};

const MAX_BODY_BYTES: usize = 16 * 1024;
/// Longest answer to a request, seconds.
const ANSWER_WITHIN: std::time::Duration = std::time::Duration::from_secs(15);

pub(crate) fn routes(state: Shared) -> Router {
    let guarded = Router::new()
        .route("/api/v1/vehicles", get(rest::vehicles))
        .route("/api/v1/vehicles/{vehicle}/twin", get(rest::twin))
        .route("/api/v1/vehicles/{vehicle}/history", get(rest::history))
        .route("/api/v1/vehicles/{vehicle}/scores", get(rest::scores))
        .route("/api/v1/alerts", get(rest::alerts))
        .route("/api/v1/alerts/{id}", get(rest::alert))
        .route("/api/v1/alerts/{id}/{action}", post(rest::command))
        .route("/api/v1/models", get(rest::models))
        .route("/api/v1/pipeline", get(rest::pipeline))
        .route("/api/v1/signals", get(rest::signals))
        .route("/metrics", get(metrics))
        .layer(tower_http::timeout::TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, ANSWER_WITHIN))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .route_layer(middleware::from_fn_with_state(state.clone(), guard));
    Router::new()
        .merge(guarded)
        // The stream checks its token itself: browsers can't send one before the first frame.
        .route("/api/v1/stream", get(stream::upgrade))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .merge(page::routes())
        .fallback(|| async { Problem::not_found("no such route") })
        .layer(middleware::map_response(harden))
        .with_state(state)
}

async fn guard(Extract(state): Extract<Shared>, request: Request, next: Next) -> Response {
    if state.token.as_ref().is_some_and(|token| !token.admits_headers(request.headers())) {
        return Problem::unauthorized().into_response();
    }
    // Reads of another site are stopped by the browser; what changes something is stopped here.
    if !request.method().is_safe() && !auth::origin_allowed(request.headers(), &state.config.allow_origin) {
        return Problem::new(StatusCode::FORBIDDEN, "this origin may not send commands").into_response();
    }
    next.run(request).await
}

async fn metrics(Extract(state): Extract<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], (state.render_metrics)())
}

/// Ready: the log of alerts is read to its end and MongoDB answers.
async fn readyz(Extract(state): Extract<Shared>) -> Response {
    if !state.is_ready() {
        return (StatusCode::SERVICE_UNAVAILABLE, "alerts are being read\n").into_response();
    }
    match tokio::time::timeout(std::time::Duration::from_secs(2), state.store.ping()).await {
        Ok(Ok(())) => "ready\n".into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "MongoDB does not answer\n").into_response(),
    }
}

async fn harden(mut response: Response) -> Response {
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; \
             form-action 'self'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
