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

/// Bytes that a block of the reading buffer holds.
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
    /// How the reading ended, until it is told.
    ended: Option<io::Error>,
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
        Ok(Self { stream, inbox: BytesMut::new(), outbox: BytesMut::new(), ended: None })
    }

    /// For a poll.
    pub(super) fn fd(&self) -> RawFd {
        self.stream.socket().as_raw_fd()
    }

    /// Reads what is there, at most `limit` bytes; returns how many came. That the connection has ended is told
    /// when nothing came: the broker's last word stands before it, a refusal or why it closes.
    pub(super) fn read(&mut self, limit: usize) -> io::Result<usize> {
        if let Some(error) = self.ended.take() {
            return Err(error);
        }
        let (came, ended) = match &mut self.stream {
            Stream::Plain(socket) => read_from(socket, &mut self.inbox, limit, true),
            Stream::Tls(stream) => read_from(stream, &mut self.inbox, limit, false),
        };
        match ended {
            Err(error) if came == 0 => Err(error),
            ended => {
                self.ended = ended.err();
                Ok(came)
            }
        }
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

/// Reads until nothing more is there, or `limit` bytes came; how many came, and how it ended. `short_is_last`:
/// after a read that did not fill the buffer nothing more is there.
fn read_from(
    source: &mut impl Read,
    inbox: &mut BytesMut,
    limit: usize,
    short_is_last: bool,
) -> (usize, io::Result<()>) {
    let mut came = 0;
    while came < limit {
        if inbox.capacity() - inbox.len() < BLOCK / 8 {
            inbox.reserve(BLOCK);
        }
        let full = inbox.len();
        let room = (inbox.capacity() - full).min(limit - came);
        inbox.resize(full + room, 0);
        let read = source.read(&mut inbox[full..]);
        inbox.truncate(full + read.as_ref().copied().unwrap_or(0));
        match read {
            Ok(0) => {
                let closed = io::Error::new(io::ErrorKind::UnexpectedEof, "the broker closed the connection");
                return (came, Err(closed));
            }
            Ok(bytes) => {
                came += bytes;
                if bytes < room && short_is_last {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (came, Err(error)),
        }
    }
    (came, Ok(()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Gives its bytes, and then fails.
    struct LastWord(&'static [u8]);

    impl Read for LastWord {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::ErrorKind::ConnectionReset.into()),
                read => Ok(read),
            }
        }
    }

    #[test]
    fn what_came_before_the_end_is_kept_beside_it() {
        for (bytes, (came, ended, inbox), kind) in [
            (&b"bye"[..], read_after(&mut &b"bye"[..], false), io::ErrorKind::UnexpectedEof),
            (b"bye", read_after(&mut LastWord(b"bye"), false), io::ErrorKind::ConnectionReset),
            (b"", read_after(&mut &b""[..], false), io::ErrorKind::UnexpectedEof),
        ] {
            assert_eq!((came, &inbox[..], ended.unwrap_err().kind()), (bytes.len(), bytes, kind));
        }
        let (came, ended, _) = read_after(&mut &b"bye"[..], true);
        assert!(came == 3 && ended.is_ok(), "of a plain socket the next read meets the end");
    }

    fn read_after(source: &mut impl Read, short_is_last: bool) -> (usize, io::Result<()>, BytesMut) {
        let mut inbox = BytesMut::new();
        let (came, ended) = read_from(source, &mut inbox, 1 << 20, short_is_last);
        (came, ended, inbox)
    }

    #[test]
    fn no_more_is_read_than_there_is_room_for() {
        for limit in [1, BLOCK - 1, BLOCK, 3 * BLOCK + 1] {
            let mut inbox = BytesMut::from(&b"before"[..]);
            let (came, ended) = read_from(&mut io::repeat(b'x'), &mut inbox, limit, false);
            assert!(ended.is_ok() && came == limit && inbox.len() == 6 + limit, "{came} of {limit}: {}", inbox.len());
        }
    }

    #[test]
    fn an_end_is_told_once_nothing_comes_any_more() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let broker = listener.local_addr().unwrap().to_string().parse().unwrap();
        let mut wire = Wire::open(&broker, None, Duration::from_secs(10)).unwrap();
        listener.accept().unwrap().0.write_all(b"bye").unwrap();
        wire.stream.socket().set_nonblocking(false).unwrap();
        assert_eq!(wire.read(1 << 20).unwrap(), 3);
        assert_eq!(&wire.inbox()[..], b"bye");
        let error = wire.read(1 << 20).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        wire.ended = Some(error);
        assert!(wire.read(1 << 20).is_err(), "an end that was met beside the last word");
    }
}
