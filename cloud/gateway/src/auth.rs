//! The bearer token and the check of browsers' origins.

use std::path::Path;

use axum::http::{HeaderMap, header};
use service::Error;

/// The token that requests need; none on a loopback listener without a token file.
#[derive(Clone)]
pub(crate) struct Token(Option<std::sync::Arc<str>>);

impl Token {
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, Error> {
        let Some(file) = file else { return Ok(Self(None)) };
        let usage = |detail: String| Error::Usage { flag: "token-file", detail };
        let text = std::fs::read_to_string(file).map_err(|error| usage(format!("{}: {error}", file.display())))?;
        let token = text.trim();
        if token.len() < 16 {
            return Err(usage(format!("{}: a token has at least 16 characters", file.display())));
        }
        Ok(Self(Some(token.into())))
    }

    pub(crate) fn is_needed(&self) -> bool {
        self.0.is_some()
    }

    /// Whether this is the token. Takes the same time wherever the first difference is.
    pub(crate) fn admits(&self, offered: Option<&str>) -> bool {
        let Some(token) = &self.0 else { return true };
        let (token, offered) = (token.as_bytes(), offered.unwrap_or_default().as_bytes());
        let mut difference = token.len() ^ offered.len();
        for (at, byte) in token.iter().enumerate() {
            difference |= usize::from(byte ^ offered.get(at).copied().unwrap_or_default());
        }
        std::hint::black_box(difference) == 0
    }

    pub(crate) fn admits_headers(&self, headers: &HeaderMap) -> bool {
        self.admits(bearer(headers))
    }
}

/// The token of an `Authorization` header.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

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
    fn only_the_token_is_admitted() {
        let token = Token(Some("0123456789abcdef".into()));
        assert!(token.admits(Some("0123456789abcdef")));
        for bad in [None, Some(""), Some("0123456789abcdeX"), Some("0123456789abcde"), Some("0123456789abcdef0")] {
            assert!(!token.admits(bad), "{bad:?}");
        }
        assert!(Token(None).admits(None));
        let headers =
            HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static("bearer 0123456789abcdef"))]);
        assert!(token.admits_headers(&headers));
    }

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
