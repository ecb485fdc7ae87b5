//! The page: markup, style, scripts, icon and manifest, compiled in. No build step, nothing from other hosts.

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::state::Shared;

const FILES: [(&str, &str, &str); 8] = [
    ("/", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("/app.js", "text/javascript; charset=utf-8", include_str!("page/app.js")),
    ("/views.js", "text/javascript; charset=utf-8", include_str!("page/views.js")),
    ("/stream.js", "text/javascript; charset=utf-8", include_str!("page/stream.js")),
    ("/plot.js", "text/javascript; charset=utf-8", include_str!("page/plot.js")),
    ("/style.css", "text/css; charset=utf-8", include_str!("page/style.css")),
    ("/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("/manifest.webmanifest", "application/manifest+json", include_str!("page/manifest.webmanifest")),
];

pub(crate) fn routes() -> Router<Shared> {
    let mut router = Router::new().route("/favicon.ico", get(|| async { StatusCode::NO_CONTENT }));
    for (path, content_type, text) in FILES {
        router = router.route(path, get(move || async move { file(content_type, text) }));
    }
    router
}

fn file(content_type: &'static str, text: &'static str) -> Response {
    // Small files of a page that is used over weeks: always asked again, so that an update is never half old.
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-cache")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_asks_no_other_host() {
        for (path, _, text) in FILES {
            for (at, _) in text.match_indices("://") {
                let before = &text[at.saturating_sub(8)..at];
                let after = &text[at + 3..(at + 20).min(text.len())];
                // The XML namespace names, it does not load; the rest builds the address of the own host.
                assert!(
                    after.starts_with("www.w3.org")
                        || after.starts_with("${")
                        || before.ends_with("wss:")
                        || after.starts_with('\''),
                    "{path}: {before}://{after}"
                );
            }
        }
    }
}
