//! What the kernel says about this process and about connections, and the one limit that a worker moves.

use std::net::SocketAddr;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files that a worker holds beside the sockets of its vehicles: epoll, ledger, orders, the shell's own.
const OTHER_FILES: u64 = 100;

/// How many files a process of this user may have open at most; it may begin with fewer.
pub(super) fn most_open_files() -> std::io::Result<u64> {
    Ok(getrlimit(Resource::RLIMIT_NOFILE)?.1)
}

/// Lets this process open as many files as its user may have: many begin with 1,024.
pub(super) fn raise_open_files() -> std::io::Result<()> {
    let most = most_open_files()?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// Why `vehicles` on `workers` can't have their sockets where a process may hold `most` files; none: they can.
pub(super) fn too_few_files(vehicles: u32, workers: u32, most: u64) -> Option<String> {
    let needed = u64::from(vehicles.div_ceil(workers)) + OTHER_FILES;
    if needed <= most {
        return None;
    }
    let advice = match most.checked_sub(OTHER_FILES).filter(|room| *room > 0) {
        Some(room) => format!("at least {} workers, or a higher limit", u64::from(vehicles).div_ceil(room)),
        None => "a higher limit".to_owned(),
    };
    Some(format!(
        "each of {workers} needs {needed} open files, and the hard limit (ulimit -Hn) is {most}: it takes {advice}"
    ))
}

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
    fn vehicles_that_the_limit_of_open_files_can_not_hold_are_refused_with_what_would() {
        assert_eq!(too_few_files(16_000, 1, 16_100), None);
        let told = too_few_files(16_000, 1, 4_096).unwrap();
        assert!(told.contains("16100") && told.contains("4096") && told.contains("at least 5 workers"), "{told}");
        assert_eq!(too_few_files(16_000, 5, 4_096), None, "what it says is enough");
        assert!(too_few_files(1, 1, 100).is_some_and(|told| told.ends_with("it takes a higher limit")));
    }

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
