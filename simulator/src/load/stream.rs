//! The socket of a load vehicle, plain or with TLS on it: both are read and written alike.
//!
//! A worker has one context of TLS, with the authorities in it; a vehicle's own certificate is read when it connects and
//! belongs to its connection alone. That is why OpenSSL is called here by its name: `native_tls` has a context for each
//! identity. A connected vehicle takes 35 KB more with TLS (OpenSSL 3.0, measured with 2,000 and 4,000), and two cores
//! that the broker shares shake 290 hands in a second: let `--connect-rate` be less than that.

use std::{
    fs,
    io::{self, Read, Write},
    path::Path,
};

use anyhow::Context;
use mio::net::TcpStream;
use openssl::{
    error::ErrorStack,
    pkey::{PKey, Private},
    ssl::{ErrorCode, SslConnector, SslMethod, SslStream, SslVersion},
    x509::{X509, X509VerifyResult, store::X509StoreBuilder},
};
use telemetry::VehicleId;

use crate::tls::Tls;

/// A socket that connects or is connected.
pub(super) enum Stream {
    Plain(TcpStream),
    /// On the heap: plain ones are to stay as small as they are.
    Secure(Box<Secure>),
}

/// TLS on a socket.
pub(super) struct Secure {
    stream: SslStream<TcpStream>,
    /// Both sides know each other.
    shaken: bool,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Stream").field(self.socket()).finish()
    }
}

impl Stream {
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Secure(secure) => secure.stream.get_ref(),
        }
    }

    /// Goes on with the handshake of TLS, if there is one; whether it is over.
    pub(super) fn shake_hands(&mut self) -> io::Result<bool> {
        let Self::Secure(secure) = self else { return Ok(true) };
        if secure.shaken {
            return Ok(true);
        }
        match secure.stream.connect() {
            Ok(()) => secure.shaken = true,
            Err(error) if matches!(error.code(), ErrorCode::WANT_READ | ErrorCode::WANT_WRITE) => {}
            Err(error) => {
                let verified = secure.stream.ssl().verify_result();
                let why = if verified == X509VerifyResult::OK {
                    error.to_string()
                } else {
                    format!("the broker's certificate: {verified}")
                };
                return Err(io::Error::other(format!("TLS: {why}")));
            }
        }
        Ok(secure.shaken)
    }
}

impl Read for Stream {
    /// Reads until the buffer is full or nothing more is there, so that a short read says the same of both kinds.
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let secure = match self {
            Self::Plain(socket) => return socket.read(to),
            Self::Secure(secure) if secure.shaken => secure,
            Self::Secure(_) => return Err(io::ErrorKind::WouldBlock.into()),
        };
        let mut read = 0;
        while read < to.len() {
            match secure.stream.read(&mut to[read..]) {
                Ok(0) => break,
                Ok(n) => read += n,
                // An end that is one comes again at the next read.
                Err(_) if read > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }
}

impl Write for Stream {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(from),
            Self::Secure(secure) if secure.shaken => secure.stream.write(from),
            Self::Secure(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How the vehicles of a worker speak TLS.
pub(super) struct Security {
    tls: Tls,
    connector: SslConnector,
}

impl Security {
    /// Reads what all vehicles have in common.
    pub(super) fn new(tls: &Tls) -> anyhow::Result<Self> {
        let mut builder = SslConnector::builder(SslMethod::tls_client())?;
        builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        if let Some(path) = &tls.mqtt_ca {
            let mut store = X509StoreBuilder::new()?;
            for authority in X509::stack_from_pem(&fs::read(path)?).with_context(|| path.display().to_string())? {
                store.add_cert(authority)?;
            }
            builder.set_cert_store(store.build());
        }
        if let (false, Some(certificate), Some(key)) = (tls.is_personal(), &tls.mqtt_cert, &tls.mqtt_key) {
            let (chain, key) = identity(Path::new(certificate), Path::new(key))?;
            let (own, others) = chain.split_first().context("no certificate")?;
            builder.set_certificate(own)?;
            builder.set_private_key(&key)?;
            for other in others {
                builder.add_extra_chain_cert(other.clone())?;
            }
        }
        Ok(Self { tls: tls.clone(), connector: builder.build() })
    }

    /// TLS on a socket that connects to this host. What fails is told without names: it is counted by its text.
    pub(super) fn secure(&self, socket: TcpStream, host: &str, vehicle: &VehicleId) -> io::Result<Stream> {
        let refused = |error: ErrorStack| io::Error::other(format!("TLS: {error}"));
        let mut ssl = self.connector.configure().and_then(|session| session.into_ssl(host)).map_err(refused)?;
        if self.tls.is_personal()
            && let Some((certificate, key)) = self.tls.files(vehicle)
        {
            let (chain, key) = identity(&certificate, &key)?;
            let (own, others) = chain.split_first().ok_or_else(|| unusable("it is empty"))?;
            ssl.set_certificate(own).and_then(|()| ssl.set_private_key(&key)).map_err(refused)?;
            for other in others {
                ssl.add_chain_cert(other.clone()).map_err(refused)?;
            }
        }
        let stream = SslStream::new(ssl, socket).map_err(refused)?;
        Ok(Stream::Secure(Box::new(Secure { stream, shaken: false })))
    }
}

fn identity(certificate: &Path, key: &Path) -> io::Result<(Vec<X509>, PKey<Private>)> {
    let read = |path| fs::read(path).map_err(|error| unusable(&error.to_string()));
    let chain = X509::stack_from_pem(&read(certificate)?).map_err(|error| unusable(&error.to_string()))?;
    let key = PKey::private_key_from_pem(&read(key)?).map_err(|error| unusable(&error.to_string()))?;
    Ok((chain, key))
}

fn unusable(why: &str) -> io::Error {
    io::Error::other(format!("a vehicle's certificate or key can't be used: {why}"))
}
