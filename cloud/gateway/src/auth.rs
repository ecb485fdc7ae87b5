//! The check of browsers' origins.

use axum::http::{HeaderMap, header};

/// Whether a page of this origin may connect. Programs send no origin; a browser's has to be our own host or
/// one that a flag names: another site in the same browser must not read along.
pub(crate) fn origin_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Ok(origin) = origin.to_str() else { return false };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let own = origin.split_once("://").map(|(_, host)| host);
    (own.is_some() && own == host) || allowed.iter().any(|known| known == origin)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_foreign_page_is_refused() {
        let headers = |origin: &'static str| {
            HeaderMap::from_iter([
                (header::HOST, HeaderValue::from_static("fleet.example:8080")),
                (header::ORIGIN, HeaderValue::from_static(origin)),
            ])
        };
        assert!(origin_allowed(&HeaderMap::new(), &[]));
        assert!(origin_allowed(&headers("http://fleet.example:8080"), &[]));
        assert!(!origin_allowed(&headers("http://evil.example"), &[]));
        assert!(!origin_allowed(&headers("null"), &[]));
        assert!(origin_allowed(&headers("https://desk.example"), &["https://desk.example".into()]));
    }
}
