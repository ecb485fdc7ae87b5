//! What the kernel says about this process and about connections.

use std::net::SocketAddr;

/// Resident memory of this process, bytes; 0 where the kernel does not say.
pub(super) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    kib.unwrap_or(0_u64) * 1_024
}

/// Connections to one of `brokers` that stand, as the kernel counts them: whatever this program believes.
pub(super) fn established(brokers: &[SocketAddr]) -> u64 {
    let count = |path: &str| {
        let table = std::fs::read_to_string(path).unwrap_or_default();
        table.lines().skip(1).filter(|line| is_established_to(line, brokers)).count() as u64
    };
    count("/proc/net/tcp") + count("/proc/net/tcp6")
}

const ESTABLISHED: &str = "01";

/// A line of `/proc/net/tcp`: slot, local and remote address in hexadecimal, state, and more.
fn is_established_to(line: &str, brokers: &[SocketAddr]) -> bool {
    let mut fields = line.split_ascii_whitespace().skip(2);
    let (Some(remote), Some(ESTABLISHED)) = (fields.next(), fields.next()) else { return false };
    let Some((host, port)) = remote.split_once(':') else { return false };
    let port = u16::from_str_radix(port, 16).unwrap_or(0);
    brokers.iter().any(|broker| {
        broker.port() == port
            && match broker {
                // The words of an address stand in the machine's own order.
                SocketAddr::V4(v4) => host == format!("{:08X}", u32::from_ne_bytes(v4.ip().octets())),
                SocketAddr::V6(_) => host.len() == 32,
            }
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_kernel_counts_what_is_connected_and_nothing_else() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let broker = [listener.local_addr().unwrap()];
        assert_eq!(established(&broker), 0);
        let _clients: Vec<_> = (0..3).map(|_| TcpStream::connect(broker[0]).unwrap()).collect();
        assert_eq!(established(&broker), 3, "the listener's own ends do not count");
        assert!(resident_bytes() > 100_000);
    }
}
