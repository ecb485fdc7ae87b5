//! What the edge reads in a record of `vehicle-commands`. Pure.

use bytes::Bytes;
use telemetry::{
    Invalid, Reason, UnixMillis,
    event::{CommandHead, MAX_COMMAND_BYTES},
};

use super::open::Command;
use crate::intake::read_event;

/// Reads what the edge has to know of a command, which ends at `latest` at the latest; the rest is between the gateway and
/// the vehicle.
pub(super) fn read(payload: &[u8], latest: UnixMillis) -> Result<Command, Invalid> {
    if payload.len() > MAX_COMMAND_BYTES {
        let detail = format!("{} bytes, more than {MAX_COMMAND_BYTES}", payload.len());
        return Err(Invalid::unparsed(Reason::Oversize, detail));
    }
    let head: CommandHead = read_event(payload)?;
    let deadline = head.deadline().min(latest);
    Ok(Command { id: head.id, vehicle: head.vehicle, payload: Bytes::copy_from_slice(payload), deadline })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#""id":"0199c82c-c000-7000-8000-00000000002a","vehicle":"veh-1","expires_at":1760000060000"#;

    #[test]
    fn a_command_of_any_kind_is_read_and_its_life_is_capped() {
        let payload = format!(r#"{{{HEAD},"command":"of tomorrow"}}"#);
        let command = read(payload.as_bytes(), UnixMillis::MAX).unwrap();
        assert_eq!((command.vehicle.as_str(), command.deadline), ("veh-1", 1_760_000_060_000));
        assert_eq!(command.payload, payload);
        assert_eq!(read(payload.as_bytes(), 77).unwrap().deadline, 77);
    }

    #[test]
    fn what_is_no_command_is_refused_with_a_reason() {
        let long = format!(r#"{{{HEAD},"x":"{}"}}"#, "x".repeat(MAX_COMMAND_BYTES));
        for (payload, reason) in [
            (&b""[..], Reason::Empty),
            (long.as_bytes(), Reason::Oversize),
            (b"{", Reason::Malformed),
            (b"\xff", Reason::NotUtf8),
            (b"[]", Reason::WrongType),
            (br#"{"id":"00000000-0000-4000-8000-00000000002a","vehicle":"a","expires_at":1}"#, Reason::WrongType),
        ] {
            let invalid = read(payload, UnixMillis::MAX).unwrap_err();
            assert_eq!(invalid.reason, reason, "{:?}", String::from_utf8_lossy(payload));
        }
    }
}
