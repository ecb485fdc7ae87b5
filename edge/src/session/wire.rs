//! The bytes of one connection: a non-blocking socket, plain or TLS, and a buffer in each direction.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream, ToSocketAddrs},
    os::fd::{AsRawFd, RawFd},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use native_tls::{TlsConnector, TlsStream};
use service::Address;

/// Bytes that a block of the reading buffer holds. Records in hand share its memory: while they are, it stays.
const BLOCK: usize = 64 * 1024;

/// A connected socket.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref(),
        }
    }
}

/// A connection that is there, until an error says that it is gone.
pub(super) struct Wire {
    stream: Stream,
    inbox: BytesMut,
    outbox: BytesMut,
}

impl Wire {
    /// Connects, with TLS if a connector is given. Blocks up to `limit` in each of its steps.
    pub(super) fn open(broker: &Address, tls: Option<&TlsConnector>, limit: Duration) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        // An IPv6 address without its brackets, as resolvers and certificates have it.
        let host = broker.host().trim_start_matches('[').trim_end_matches(']');
        for address in (host, broker.port()).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, limit) {
                Ok(socket) => return Self::shake_hands(socket, host, tls, limit),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn shake_hands(socket: TcpStream, host: &str, tls: Option<&TlsConnector>, limit: Duration) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        let stream = match tls {
            None => Stream::Plain(socket),
            Some(tls) => {
                socket.set_read_timeout(Some(limit))?;
                socket.set_write_timeout(Some(limit))?;
                let stream = tls.connect(host, socket).map_err(|error| io::Error::other(format!("TLS: {error}")))?;
                Stream::Tls(Box::new(stream))
            }
        };
        stream.socket().set_nonblocking(true)?;
        Ok(Self { stream, inbox: BytesMut::new(), outbox: BytesMut::new() })
    }

    /// For a poll.
    pub(super) fn fd(&self) -> RawFd {
        self.stream.socket().as_raw_fd()
    }

    /// Reads what is there, at most about `limit` bytes; returns how many came.
    pub(super) fn read(&mut self, limit: usize) -> io::Result<usize> {
        let mut came = 0;
        while came < limit {
            if self.inbox.capacity() - self.inbox.len() < BLOCK / 8 {
                self.inbox.reserve(BLOCK);
            }
            let full = self.inbox.len();
            let room = self.inbox.capacity() - full;
            self.inbox.resize(full + room, 0);
            let read = match &mut self.stream {
                Stream::Plain(socket) => socket.read(&mut self.inbox[full..]),
                Stream::Tls(stream) => stream.read(&mut self.inbox[full..]),
            };
            self.inbox.truncate(full + read.as_ref().copied().unwrap_or(0));
            match read {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the broker closed the connection")),
                Ok(bytes) => {
                    came += bytes;
                    if bytes < room && matches!(self.stream, Stream::Plain(_)) {
                        // A short read: nothing more is there.
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(came)
    }

    /// What came and was not decoded.
    pub(super) fn inbox(&mut self) -> &mut BytesMut {
        &mut self.inbox
    }

    /// What is to be written.
    pub(super) fn outbox(&mut self) -> &mut BytesMut {
        &mut self.outbox
    }

    /// Bytes that were not written yet.
    pub(super) fn unwritten(&self) -> usize {
        self.outbox.len()
    }

    /// Writes as much as the socket takes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while !self.outbox.is_empty() {
            let written = match &mut self.stream {
                Stream::Plain(socket) => socket.write(&self.outbox),
                Stream::Tls(stream) => stream.write(&self.outbox),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => self.outbox.advance(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Nothing more will be sent.
    pub(super) fn close(&mut self) {
        if let Stream::Tls(stream) = &mut self.stream {
            stream.shutdown().ok();
        }
        self.stream.socket().shutdown(Shutdown::Write).ok();
    }
}
