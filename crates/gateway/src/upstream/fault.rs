//! What went wrong at an address last, in one word of a bounded list: for people, and no part of any choice.

use crate::upstream::pool::Trouble;
use coalmine_core::time::UnixMs;
use http::StatusCode;
use std::error::Error;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// What an address did, or did not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It answered with this status.
    Answered(u16),
    /// Nobody listens there.
    Refused,
    /// Its name means nothing.
    NoName,
    /// Neither yes nor no to a connection.
    NoConnectionInTime,
    /// There is somebody, and no TLS with him.
    Tls,
    /// No connection, for another reason.
    NoConnection,
    /// The connection broke before an answer's head.
    Broken,
    /// What came is no HTTP.
    Malformed,
    /// No answer's head in time.
    Silent,
    /// An answer that ended before its end.
    CutShort,
    /// A sibling that was asked later had answered before it.
    Outrun,
}

/// The newest fault of an address, and when; in one word.
#[derive(Debug, Default)]
pub(crate) struct Newest(AtomicU64);

/// Above this number stand those that are no status.
const STATUSES: u16 = 1_000;
/// Bits for the number; what is above is the time.
const NUMBER_BITS: u32 = 16;

impl Fault {
    /// Those without a status.
    const SILENT: [Self; 10] = [
        Self::Refused,
        Self::NoName,
        Self::NoConnectionInTime,
        Self::Tls,
        Self::NoConnection,
        Self::Broken,
        Self::Malformed,
        Self::Silent,
        Self::CutShort,
        Self::Outrun,
    ];

    /// Of an answer to a turn, where whoever looks after the address would want to know: it fails, is asked too often, or does not
    /// take the key. What a client asks for in vain is none of it.
    pub(crate) const fn of_answer(status: StatusCode) -> Option<Self> {
        match status.as_u16() {
            status @ (401 | 403 | 408 | 429 | 500..) => Some(Self::Answered(status)),
            _ => None,
        }
    }

    /// Of a connection that could not be had.
    pub(crate) fn of_connecting(error: &(dyn Error + 'static)) -> Self {
        let mut looked_at = Some(error);
        while let Some(error) = looked_at {
            // the connector has no other sign for it
            if error.to_string().starts_with("dns error") {
                return Self::NoName;
            }
            let io = error.downcast_ref::<io::Error>();
            match io.map(io::Error::kind) {
                Some(io::ErrorKind::ConnectionRefused) => return Self::Refused,
                Some(io::ErrorKind::TimedOut) => return Self::NoConnectionInTime,
                // over TCP alone nothing is read before there is a connection
                Some(io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => return Self::Tls,
                Some(_) | None => {}
            }
            // what an I/O error holds is itself no source of it
            looked_at = match io.and_then(io::Error::get_ref) {
                Some(held) => Some(held),
                None => error.source(),
            };
        }
        Self::NoConnection
    }

    /// Of an answer that did not come.
    pub(crate) const fn of_trouble(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Connect => Self::NoConnection,
            Trouble::Broken => Self::Broken,
            Trouble::Malformed => Self::Malformed,
            Trouble::FirstByte => Self::Silent,
        }
    }

    fn number(self) -> u16 {
        if let Self::Answered(status) = self {
            return status;
        }
        let numbers = (STATUSES..).zip(Self::SILENT);
        numbers.into_iter().find(|(_, one)| *one == self).map_or(0, |(number, _)| number)
    }

    fn of_number(number: u16) -> Option<Self> {
        match number.checked_sub(STATUSES) {
            None => Some(Self::Answered(number)),
            Some(at) => Self::SILENT.get(usize::from(at)).copied(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answered(status) => return write!(f, "answered {status}"),
            Self::Refused => "connection refused",
            Self::NoName => "its name is not found",
            Self::NoConnectionInTime => "no connection in time",
            Self::Tls => "no TLS with it",
            Self::NoConnection => "no connection",
            Self::Broken => "connection broke",
            Self::Malformed => "what it answers is no HTTP",
            Self::Silent => "no answer in time",
            Self::CutShort => "answer cut short",
            Self::Outrun => "outrun by a sibling",
        })
    }
}

impl Newest {
    /// Takes note.
    pub(crate) fn set(&self, fault: Fault, now: UnixMs) {
        self.0.store(now.0 << NUMBER_BITS | u64::from(fault.number()), Ordering::Relaxed);
    }

    /// What it was.
    pub(crate) fn get(&self) -> Option<(Fault, UnixMs)> {
        let word = self.0.load(Ordering::Relaxed);
        #[expect(clippy::cast_possible_truncation, reason = "the lower bits alone")]
        let fault = Fault::of_number(word as u16)?;
        (word != 0).then_some((fault, UnixMs(word >> NUMBER_BITS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_what_is_read() {
        let newest = Newest::default();
        assert_eq!(newest.get(), None);
        let statuses = [401, 429, 503, 599, 999].map(Fault::Answered);
        for fault in statuses.into_iter().chain(Fault::SILENT) {
            let now = UnixMs(1_795_000_000_000);
            newest.set(fault, now);
            assert_eq!(newest.get(), Some((fault, now)));
        }
        assert_eq!(Fault::Answered(503).to_string(), "answered 503");
    }

    #[test]
    fn what_a_client_asks_for_in_vain_is_no_fault() {
        let of = |status| Fault::of_answer(StatusCode::from_u16(status).unwrap());
        assert_eq!([200, 301, 400, 404, 422].map(of), [None; 5]);
        assert_eq!([401, 429, 500, 529].map(of), [401, 429, 500, 529].map(|status| Some(Fault::Answered(status))));
    }

    #[test]
    fn a_reason_is_found_at_the_root_of_others() {
        let wrapped = |kind: io::ErrorKind| io::Error::other(io::Error::from(kind));
        let of = |kind| Fault::of_connecting(&wrapped(kind));
        assert_eq!(of(io::ErrorKind::ConnectionRefused), Fault::Refused);
        assert_eq!(of(io::ErrorKind::TimedOut), Fault::NoConnectionInTime);
        assert_eq!(of(io::ErrorKind::InvalidData), Fault::Tls);
        assert_eq!(of(io::ErrorKind::AddrInUse), Fault::NoConnection);
        assert_eq!(Fault::of_connecting(&io::Error::other("dns error")), Fault::NoName);
    }
}
