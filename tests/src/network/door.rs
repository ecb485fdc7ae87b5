//! Who comes in: a listener that is there, deaf or gone.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{Condition, Door, Shared, carry, locked};

/// Connections that wait to be let in.
const BACKLOG: u32 = 1_024;
/// A server that does not answer a SYN for so long is away.
const CONNECT: Duration = Duration::from_secs(5);

pub(super) fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Beside the socket that holds the port, and connections of before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bind(address)?.listen(BACKLOG)
}

/// Lets clients in while the door is open.
pub(super) async fn keep(listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    let mut condition = shared.condition.subscribe();
    let mut listener = Some(listener);
    loop {
        let Condition { door, .. } = *condition.borrow_and_update();
        listener = match (door, listener) {
            (Door::Shut, _) => None,
            (_, Some(listener)) => Some(listener),
            (_, None) => match listen(address) {
                Ok(listener) => Some(listener),
                Err(error) => {
                    tracing::warn!(%error, %address, "a link can't listen again yet");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    None
                }
            },
        };
        let accept = async {
            match &listener {
                Some(listener) if door == Door::Open => listener.accept().await,
                _ if door == Door::Open => Err(io::ErrorKind::NotConnected.into()),
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accept => if let Ok((client, _)) = accepted {
                let number = shared.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(admit(client, number, Arc::clone(&shared)));
            },
            changed = condition.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

async fn admit(client: TcpStream, number: u64, shared: Arc<Shared>) {
    let server = *locked(&shared.server);
    let reached = async { TcpStream::connect(server?).await.ok() };
    match tokio::time::timeout(CONNECT, reached).await.ok().flatten() {
        Some(server) => carry::connection(client, server, number, &shared).await,
        // As if nobody listened.
        None => {
            client.set_zero_linger().ok();
        }
    }
}
