//! A small certificate authority: what TLS is tried with. Never one for production: its key lies beside it.
//!
//! Made with OpenSSL, which the workspace has anyway and which is to stay its only cryptography (`deny.toml`).

use std::fs;
use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage};
use openssl::x509::extension::{SubjectAlternativeName, SubjectKeyIdentifier};
use openssl::x509::{X509, X509Builder, X509Name};

use crate::error::{Doing, Error};
use crate::record;

/// Seconds of a day.
const DAY: i64 = 86_400;
/// Days that an authority is good for.
const AUTHORITY_DAYS: i64 = 3_650;

/// A certificate and its key, as PEM files; the key is PKCS#8 and readable by this user only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A server on 127.0.0.1, which is the only address that it names.
    Server,
    /// A client, whose name is the certificate's common name.
    Client,
}

/// When a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// From yesterday on, for a year.
    Now,
    /// It ended yesterday.
    Over,
}

/// An authority that lives in a folder: `ca.crt`, `ca.key`, and what it has issued.
pub struct Authority {
    dir: PathBuf,
    certificate: X509,
    key: PKey<Private>,
}

impl Authority {
    /// The authority of this folder; founded if there is none.
    ///
    /// # Errors
    ///
    /// When files can't be read, understood or written.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, Error> {
        let dir = dir.into();
        fs::create_dir_all(&dir).doing("create", &dir)?;
        let (certificate, key) = (dir.join("ca.crt"), dir.join("ca.key"));
        if certificate.is_file() && key.is_file() {
            let (certificate_pem, key_pem) =
                (fs::read(&certificate).doing("read", &certificate)?, fs::read(&key).doing("read", &key)?);
            let certificate = X509::from_pem(&certificate_pem).map_err(|error| refused(&error))?;
            let key = PKey::private_key_from_pem(&key_pem).map_err(|error| refused(&error))?;
            return Ok(Self { dir, certificate, key });
        }
        let (made, its_key) = found().map_err(|error| refused(&error))?;
        write(&certificate, &made.to_pem(), &key, &its_key)?;
        Ok(Self { dir, certificate: made, key: its_key })
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The authority's own certificate, which those who trust it need.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// Where the certificate of this name is, whether issued or not.
    #[must_use]
    pub fn pair(&self, name: &str) -> Pair {
        Pair { certificate: self.dir.join(format!("{name}.crt")), key: self.dir.join(format!("{name}.key")) }
    }

    /// The certificate of this name; issued if there is none.
    ///
    /// # Errors
    ///
    /// When files can't be written.
    pub fn ensure(&self, name: &str, usage: Use) -> Result<Pair, Error> {
        let pair = self.pair(name);
        if pair.certificate.is_file() && pair.key.is_file() {
            return Ok(pair);
        }
        self.issue(name, usage, Validity::Now)
    }

    /// Issues a certificate, in the place of an earlier one of the same name.
    ///
    /// # Errors
    ///
    /// When files can't be written.
    pub fn issue(&self, name: &str, usage: Use, validity: Validity) -> Result<Pair, Error> {
        let (certificate, key) = self.sign(name, usage, validity).map_err(|error| refused(&error))?;
        let pair = self.pair(name);
        write(&pair.certificate, &certificate.to_pem(), &pair.key, &key)?;
        Ok(pair)
    }

    fn sign(&self, name: &str, usage: Use, validity: Validity) -> Result<(X509, PKey<Private>), ErrorStack> {
        let key = new_key()?;
        let mut builder = match validity {
            Validity::Now => begin(name, &key, -1, 365)?,
            Validity::Over => begin(name, &key, -30, -1)?,
        };
        builder.set_issuer_name(self.certificate.subject_name())?;
        builder.append_extension(BasicConstraints::new().critical().build()?)?;
        builder.append_extension(KeyUsage::new().critical().digital_signature().build()?)?;
        let mut purpose = ExtendedKeyUsage::new();
        let purpose = match usage {
            Use::Server => purpose.server_auth(),
            Use::Client => purpose.client_auth(),
        };
        builder.append_extension(purpose.build()?)?;
        let context = builder.x509v3_context(Some(&self.certificate), None);
        let issuer = AuthorityKeyIdentifier::new().keyid(true).build(&context)?;
        let names = match usage {
            Use::Server => SubjectAlternativeName::new().ip("127.0.0.1").build(&context)?,
            Use::Client => SubjectAlternativeName::new().dns(name).build(&context)?,
        };
        builder.append_extension(issuer)?;
        builder.append_extension(names)?;
        builder.sign(&self.key, MessageDigest::sha256())?;
        Ok((builder.build(), key))
    }
}

/// A certificate that signs itself.
fn found() -> Result<(X509, PKey<Private>), ErrorStack> {
    let key = new_key()?;
    let name = "Motorcade test authority";
    let mut builder = begin(name, &key, -1, AUTHORITY_DAYS)?;
    builder.set_issuer_name(common_name(name)?.as_ref())?;
    builder.append_extension(BasicConstraints::new().critical().ca().pathlen(0).build()?)?;
    builder.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build()?)?;
    let context = builder.x509v3_context(None, None);
    let identifier = SubjectKeyIdentifier::new().build(&context)?;
    builder.append_extension(identifier)?;
    builder.sign(&key, MessageDigest::sha256())?;
    Ok((builder.build(), key))
}

/// P-256: small, and quick to make by the thousand.
fn new_key() -> Result<PKey<Private>, ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    PKey::from_ec_key(EcKey::generate(&group)?)
}

/// What every certificate holds; it is good from one day to another, counted from today.
fn begin(name: &str, key: &PKey<Private>, from: i64, to: i64) -> Result<X509Builder, ErrorStack> {
    let mut builder = X509::builder()?;
    // Version 3.
    builder.set_version(2)?;
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
    builder.set_serial_number(serial.to_asn1_integer()?.as_ref())?;
    builder.set_subject_name(common_name(name)?.as_ref())?;
    builder.set_pubkey(key)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX / 2);
    builder.set_not_before(Asn1Time::from_unix(now + from * DAY)?.as_ref())?;
    builder.set_not_after(Asn1Time::from_unix(now + to * DAY)?.as_ref())?;
    Ok(builder)
}

fn common_name(name: &str) -> Result<X509Name, ErrorStack> {
    let mut builder = X509Name::builder()?;
    builder.append_entry_by_nid(Nid::COMMONNAME, name)?;
    Ok(builder.build())
}

fn write(
    certificate: &Path,
    pem: &Result<Vec<u8>, ErrorStack>,
    key_file: &Path,
    key: &PKey<Private>,
) -> Result<(), Error> {
    let pem = pem.as_ref().map_err(refused)?;
    let key = key.private_key_to_pem_pkcs8().map_err(|error| refused(&error))?;
    record::write_whole(key_file, &key).doing("write", key_file)?;
    record::write_whole(certificate, pem).doing("write", certificate)
}

fn refused(error: &ErrorStack) -> Error {
    Error::Tool { doing: "make a certificate", output: error.to_string() }
}
