//! Bearer tokens: read from a file, compared, never printed.

use std::{path::Path, sync::Arc};

use axum::http::{HeaderMap, header};

use crate::Error;

/// The fewest characters of a token; fewer could be guessed.
const MIN_CHARACTERS: usize = 16;

/// A secret that requests have to show.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl Token {
    /// Reads the token from a file; white space around it does not count.
    ///
    /// # Errors
    /// [`Error::Usage`] with the flag that named the file, if it can't be read or holds no token.
    pub fn load(flag: &'static str, file: &Path) -> Result<Self, Error> {
        let usage = |detail: String| Error::Usage { flag, detail: format!("{}: {detail}", file.display()) };
        let text = std::fs::read_to_string(file).map_err(|error| usage(error.to_string()))?;
        let token = text.trim();
        if token.len() < MIN_CHARACTERS {
            return Err(usage(format!("a token has at least {MIN_CHARACTERS} characters")));
        }
        // A header can't carry anything else.
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(usage("a token is one line of printable ASCII without spaces".into()));
        }
        Ok(Self(token.into()))
    }

    /// Whether this is the token. Takes the same time wherever the first difference is; the length may be told.
    pub fn admits(&self, offered: &str) -> bool {
        let (token, offered) = (self.0.as_bytes(), offered.as_bytes());
        let difference = token.iter().zip(offered).fold(0, |difference, (a, b)| difference | (a ^ b));
        std::hint::black_box(difference) == 0 && token.len() == offered.len()
    }

    /// Whether the `Authorization` header shows the token.
    pub fn admits_headers(&self, headers: &HeaderMap) -> bool {
        bearer(headers).is_some_and(|offered| self.admits(offered))
    }
}

/// The token of an `Authorization` header. The scheme's case does not matter (RFC 9110).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_token_is_admitted() {
        let token = Token("0123456789abcdef".into());
        assert!(token.admits("0123456789abcdef"));
        for bad in ["", "0123456789abcdeX", "0123456789abcde", "0123456789abcdef0"] {
            assert!(!token.admits(bad), "{bad:?}");
        }
        let headers = |text| HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(text))]);
        assert!(token.admits_headers(&headers("bearer 0123456789abcdef")));
        assert!(token.admits_headers(&headers("Bearer  0123456789abcdef")));
        assert!(!token.admits_headers(&headers("Basic 0123456789abcdef")));
        assert!(!token.admits_headers(&HeaderMap::new()));
    }

    #[test]
    fn a_file_without_a_usable_token_is_refused_with_its_flag() {
        let file = std::env::temp_dir().join(format!("motorcade-token-{}", std::process::id()));
        for (text, good) in
            [("  0123456789abcdef\n", true), ("short", false), ("0123456789 abcdef", false), ("", false)]
        {
            std::fs::write(&file, text).unwrap();
            let loaded = Token::load("token-file", &file);
            assert_eq!(loaded.is_ok(), good, "{text:?}");
            if let Err(error) = loaded {
                assert!(error.to_string().starts_with("--token-file: "), "{error}");
            }
        }
        std::fs::remove_file(&file).unwrap();
        assert_eq!(Token::load("token-file", &file).err().unwrap().exit_code(), 64);
    }
}
