//! The request id handed to the client: it carries what later feedback needs to be joined without a
//! lookup, and a code by which a forged or an altered one is told apart.

use coalmine_core::id::{ReleaseId, RouteName, UnitKey};
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::pin::{Arm, Membership, Stratum};
use std::sync::Arc;

const PREFIX: &str = "cmr_";
const CODE_BYTES: usize = 12;
/// Format, arm, stratum, exposure, unit, turn.
const FIXED_BYTES: usize = 1 + 1 + 2 + 8 + 16 + 8;
const FORMAT: u8 = 1;
const NO_UNIT: u8 = 0x80;

/// What a request id says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestId {
    pub(crate) route: Arc<RouteName>,
    pub(crate) unit: Option<UnitKey>,
    pub(crate) member: Option<Membership>,
    /// Tells the turns of one session apart.
    pub(crate) turn: u64,
}

impl RequestId {
    /// As sent to the client, authenticated under `key`.
    pub(crate) fn seal(&self, key: &[u8; 32]) -> String {
        let mut bytes = Vec::with_capacity(128);
        let (arm, stratum, exposed_at, release) = match &self.member {
            None => (0, 0, 0, ""),
            Some(m) => (1 + m.arm as u8, m.stratum.0, m.exposed_at.0, m.release.as_str()),
        };
        let no_unit = if self.unit.is_none() { NO_UNIT } else { 0 };
        bytes.extend_from_slice(&[FORMAT, arm | no_unit]);
        bytes.extend_from_slice(&stratum.to_le_bytes());
        bytes.extend_from_slice(&exposed_at.to_le_bytes());
        bytes.extend_from_slice(&self.unit.map_or(0, |unit| unit.0).to_le_bytes());
        bytes.extend_from_slice(&self.turn.to_le_bytes());
        bytes.extend_from_slice(release.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(self.route.as_str().as_bytes());
        let code = blake3::keyed_hash(key, &bytes);
        bytes.extend_from_slice(&code.as_bytes()[..CODE_BYTES]);
        let mut text = Vec::with_capacity(PREFIX.len() + bytes.len().div_ceil(3) * 4);
        text.extend_from_slice(PREFIX.as_bytes());
        encode(&bytes, &mut text);
        // It is of ASCII.
        String::from_utf8(text).unwrap_or_default()
    }

    /// Reads one back; `None` when it was not made under `key`.
    pub(crate) fn open(text: &str, key: &[u8; 32]) -> Option<Self> {
        let bytes = decode(text.strip_prefix(PREFIX)?)?;
        let (said, code) = bytes.split_at_checked(bytes.len().checked_sub(CODE_BYTES)?)?;
        let expected = blake3::keyed_hash(key, said);
        let differs = expected.as_bytes().iter().zip(code).fold(0, |acc, (a, b)| acc | (a ^ b));
        if differs != 0 || code.len() != CODE_BYTES {
            return None;
        }
        let (fixed, names) = said.split_at_checked(FIXED_BYTES)?;
        let (head, rest) = fixed.split_first_chunk::<2>()?;
        let (stratum, rest) = rest.split_first_chunk::<2>()?;
        let (exposed_at, rest) = rest.split_first_chunk::<8>()?;
        let (unit, rest) = rest.split_first_chunk::<16>()?;
        let (turn, _) = rest.split_first_chunk::<8>()?;
        let at = names.iter().position(|byte| *byte == 0)?;
        let release = std::str::from_utf8(&names[..at]).ok()?;
        let route = std::str::from_utf8(&names[at + 1..]).ok()?;
        if head[0] != FORMAT {
            return None;
        }
        let arm = match head[1] & !NO_UNIT {
            1 => Some(Arm::Stable),
            2 => Some(Arm::Control),
            3 => Some(Arm::Canary),
            _ => None,
        };
        let member = arm.map(|arm| Membership {
            release: Arc::new(ReleaseId::from(release)),
            arm,
            stratum: Stratum(u16::from_le_bytes(*stratum)),
            exposed_at: UnixMs(u64::from_le_bytes(*exposed_at)),
        });
        let unit = (head[1] & NO_UNIT == 0).then_some(UnitKey(u128::from_le_bytes(*unit)));
        Some(Self { route: Arc::new(RouteName::from(route)), unit, member, turn: u64::from_le_bytes(*turn) })
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// base64url without padding (RFC 4648, section 5).
fn encode(bytes: &[u8], text: &mut Vec<u8>) {
    let digit = |bits: u32| ALPHABET[bits as usize & 63];
    let group = |bits: u32| [digit(bits >> 18), digit(bits >> 12), digit(bits >> 6), digit(bits)];
    let (groups, rest) = bytes.as_chunks::<3>();
    for [one, two, three] in groups {
        text.extend_from_slice(&group(u32::from_be_bytes([0, *one, *two, *three])));
    }
    match rest {
        [one] => text.extend_from_slice(&group(u32::from_be_bytes([0, *one, 0, 0]))[..2]),
        [one, two] => text.extend_from_slice(&group(u32::from_be_bytes([0, *one, *two, 0]))[..3]),
        _ => {}
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    };
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for four in text.as_bytes().chunks(4) {
        if four.len() == 1 {
            return None;
        }
        let mut bits = 0_u32;
        for (n, byte) in four.iter().enumerate() {
            bits |= u32::from(digit(*byte)?) << (18 - 6 * n);
        }
        bytes.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: [u8; 32] = [7; 32];

    fn sample() -> RequestId {
        let member = Membership {
            release: Arc::new("support-7".into()),
            arm: Arm::Canary,
            stratum: Stratum(2),
            exposed_at: UnixMs(1_234),
        };
        RequestId { route: Arc::new("support".into()), unit: Some(UnitKey(99)), member: Some(member), turn: 5 }
    }

    #[test]
    fn an_altered_or_foreign_id_is_refused() {
        let text = sample().seal(&KEY);
        assert!(RequestId::open(&text, &[8; 32]).is_none());
        for at in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            // the last digit may carry bits that mean nothing
            let opened = RequestId::open(std::str::from_utf8(&altered).unwrap(), &KEY);
            assert!(opened.is_none() || at == text.len() - 1 && opened == Some(sample()), "{at}");
        }
    }

    proptest! {
        #[test]
        fn says_what_was_sealed(unit: Option<u128>, turn: u64, arm in 0..4_usize, stratum: u16, exposed: u64, route in "[^\0]{0,40}", release in "[^\0]{0,40}") {
            let arm = [None, Some(Arm::Stable), Some(Arm::Control), Some(Arm::Canary)][arm];
            let member = arm.map(|arm| Membership {
                release: Arc::new(release.as_str().into()), arm, stratum: Stratum(stratum), exposed_at: UnixMs(exposed),
            });
            let id = RequestId { route: Arc::new(route.as_str().into()), unit: unit.map(UnitKey), member, turn };
            prop_assert_eq!(RequestId::open(&id.seal(&KEY), &KEY), Some(id));
        }

        #[test]
        fn rubbish_is_refused(text in ".{0,200}") {
            prop_assert_eq!(RequestId::open(&text, &KEY), None);
        }
    }
}
