//! Who we are and whom we trust in TLS, out of files that flags name.

use std::path::Path;

use native_tls::{Certificate, Identity, Protocol, TlsConnector};

use crate::Error;

/// Reads a file that a flag names.
///
/// # Errors
/// [`Error::Usage`] with the flag and the path.
pub fn read_file(flag: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| refused(flag, path, error))
}

/// Checks flags of which one needs another: its name, whether it is given, what it needs, whether that is there.
///
/// # Errors
/// [`Error::Usage`] for the first that lacks what it needs.
pub fn check_needs<const N: usize>(flags: [(&'static str, bool, &str, bool); N]) -> Result<(), Error> {
    match flags.into_iter().find(|(_, given, _, there)| *given && !there) {
        Some((flag, _, needs, _)) => Err(Error::Usage { flag, detail: format!("needs {needs}") }),
        None => Ok(()),
    }
}

/// A file and the name of its flag.
pub type Given<'a> = (&'static str, &'a Path);

/// How TLS is spoken, 1.2 or later, where the flag `on` asks for it. `authorities`: a PEM file with those that may vouch
/// for the other side; without it the system's may. `own`: PEM files with our certificate and its key (PKCS#8). All are
/// read now.
///
/// # Errors
/// [`Error::Usage`] for a file that can't be used.
pub fn connector(
    on: &'static str,
    authorities: Option<Given<'_>>,
    own: Option<[Given<'_>; 2]>,
) -> Result<TlsConnector, Error> {
    let mut builder = TlsConnector::builder();
    builder.min_protocol_version(Some(Protocol::Tlsv12));
    if let Some((flag, path)) = authorities {
        let stack = Certificate::stack_from_pem(&read_file(flag, path)?);
        let stack = stack.map_err(|error| refused(flag, path, error))?;
        if stack.is_empty() {
            return Err(refused(flag, path, "no certificate in it"));
        }
        builder.disable_built_in_roots(true);
        for authority in stack {
            builder.add_root_certificate(authority);
        }
    }
    if let Some([certificate, key]) = own {
        let (certificate_pem, key_pem) = (read_file(certificate.0, certificate.1)?, read_file(key.0, key.1)?);
        // By itself first: what is wrong from here on is the key's.
        match Certificate::stack_from_pem(&certificate_pem) {
            Ok(chain) if chain.is_empty() => return Err(refused(certificate.0, certificate.1, "no certificate in it")),
            Ok(_) => {}
            Err(error) => return Err(refused(certificate.0, certificate.1, error)),
        }
        let identity = Identity::from_pkcs8(&certificate_pem, &key_pem);
        builder.identity(identity.map_err(|error| refused(key.0, key.1, error))?);
    }
    let pair = own.map_or_else(String::new, |[certificate, key]| format!("--{} with --{}: ", certificate.0, key.0));
    builder.build().map_err(|error| Error::Usage { flag: on, detail: format!("{pair}{error}") })
}

fn refused(flag: &'static str, path: &Path, why: impl std::fmt::Display) -> Error {
    Error::Usage { flag, detail: format!("{}: {why}", path.display()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused_flag<T>(result: Result<T, Error>) -> Option<&'static str> {
        match result {
            Ok(_) => None,
            Err(Error::Usage { flag, .. }) => Some(flag),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_file_that_can_not_be_used_is_refused_by_its_flag() {
        let (here, nowhere) = (Path::new("Cargo.toml"), Path::new("/nowhere"));
        let refused = |authorities, own| refused_flag(connector("tls", authorities, own));
        assert_eq!(refused(None, None), None);
        for path in [here, nowhere] {
            assert_eq!(refused(Some(("ca", path)), None), Some("ca"));
            assert_eq!(refused(None, Some([("cert", path), ("key", here)])), Some("cert"));
        }
        assert_eq!(refused(None, Some([("cert", here), ("key", nowhere)])), Some("key"));
    }

    #[test]
    fn a_flag_without_the_one_it_needs_is_refused() {
        let needs = |given, there| refused_flag(check_needs([("a", given, "--b", there)]));
        assert_eq!([needs(false, false), needs(true, true), needs(true, false)], [None, None, Some("a")]);
    }
}
