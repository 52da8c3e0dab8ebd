//! Captured answers: whose are kept, and what is known of one beside its text. The text itself is only ever in an
//! [`crate::judge::Sample`], in memory; what is stored of it is sealed.

use crate::id::{Actor, ReleaseId, RouteName, UnitKey};
use crate::time::{SpanMs, UnixMs};
use crate::traffic::pin::Arm;
use crate::traffic::weight::WeightBp;
use crate::version::VersionId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// What is captured of one route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaptureRule {
    /// The share of sessions; of a release's the same in both arms.
    pub sample: WeightBp,
    /// After so long it is deleted.
    pub keep: SpanMs,
    /// Of an answer, and of the conversation before it, so many bytes are kept.
    pub text_max_bytes: usize,
    /// Of each arm of the route, so many answers are kept, the newest.
    pub rows_max: u64,
}

/// Whether the answers of a session are captured: by a keyed hash of its unit, whatever its arm and whatever is said.
#[must_use]
pub fn is_drawn(share: WeightBp, route: &RouteName, unit: UnitKey) -> bool {
    if share.is_zero() {
        return false;
    }
    let mut hasher = blake3::Hasher::new_derive_key("coalmine capture draw 1");
    hasher.update(&unit.0.to_le_bytes()).update(route.as_str().as_bytes());
    let mut low = [0; 8];
    low.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    (u128::from(u64::from_le_bytes(low)) * 10_000) >> 64 < u128::from(share.bp())
}

/// Whose answers: those of a release's two arms, or those that a route gave while no release exposed anybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CaptureScope {
    /// Of this release.
    Release {
        /// Its id.
        release: ReleaseId,
    },
    /// Of this route without a release.
    Steady {
        /// Its name.
        route: RouteName,
    },
}

impl From<ReleaseId> for CaptureScope {
    fn from(release: ReleaseId) -> Self {
        Self::Release { release }
    }
}

impl From<RouteName> for CaptureScope {
    fn from(route: RouteName) -> Self {
        Self::Steady { route }
    }
}

impl fmt::Display for CaptureScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release { release } => release.fmt(f),
            Self::Steady { route } => write!(f, "route {route}"),
        }
    }
}

/// An answer of a route without a release, on its way to be captured. It lives in memory only: it has no stored form, and
/// shows nothing of its texts.
#[derive(Clone, PartialEq)]
pub struct SteadySample {
    /// The route.
    pub route: Arc<RouteName>,
    /// Who answered.
    pub version: VersionId,
    /// The session.
    pub unit: UnitKey,
    /// Tells turns of a session apart.
    pub turn: u64,
    /// What the client was told as the request's id.
    pub request_id: Option<String>,
    /// When the request began.
    pub started_at: UnixMs,
    /// What was said before the answer, as of a [`crate::judge::Sample`].
    pub conversation: String,
    /// The answer.
    pub answer: String,
}

impl SteadySample {
    /// The bytes of its texts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.answer.len() + self.conversation.len()
    }
}

impl fmt::Debug for SteadySample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SteadySample").field("unit", &self.unit).field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

/// One captured answer, shown as `cap_` and 32 hex digits. The same answer has the same one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaptureId(pub u128);

impl CaptureId {
    /// The id of a session's turn in a release, or on a route without one.
    #[must_use]
    pub fn of(scope: &CaptureScope, unit: UnitKey, turn: u64) -> Self {
        let (kind, name) = match scope {
            CaptureScope::Release { release } => ("coalmine capture id 1", release.as_str()),
            CaptureScope::Steady { route } => ("coalmine steady capture id 1", route.as_str()),
        };
        let mut hasher = blake3::Hasher::new_derive_key(kind);
        hasher.update(&unit.0.to_le_bytes()).update(&turn.to_le_bytes()).update(name.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(u128::from_le_bytes(bytes))
    }

    /// Reads one as shown.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("cap_").filter(|digits| digits.len() == 32)?;
        let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
        is_hex.then(|| u128::from_str_radix(digits, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for CaptureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cap_{:032x}", self.0)
    }
}

impl fmt::Debug for CaptureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CaptureId({self})")
    }
}

impl Serialize for CaptureId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CaptureId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::read(&text).ok_or_else(|| serde::de::Error::custom("the id of a capture is cap_ and 32 hex digits"))
    }
}

/// What is known of a captured answer without its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureHead {
    /// Its id.
    pub id: CaptureId,
    /// Of which route.
    pub route: RouteName,
    /// In which release; `None` where none exposed anybody, and the arm is stable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseId>,
    /// Of which arm.
    pub arm: Arm,
    /// By which version.
    pub version: VersionId,
    /// When its request began.
    pub at: UnixMs,
    /// From then on it is gone.
    pub expires_at: UnixMs,
    /// By which a label finds it: a hash of its request's id.
    pub item: u64,
    /// The key that it is sealed under, by a hash of it.
    pub key_id: String,
}

impl CaptureHead {
    /// Whose answers it is one of.
    #[must_use]
    pub fn scope(&self) -> CaptureScope {
        self.release.clone().map_or_else(|| self.route.clone().into(), Into::into)
    }
}

/// What people did with captured texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureUse {
    /// Tells one from another.
    pub id: u64,
    /// When.
    pub at: UnixMs,
    /// Who.
    pub actor: Actor,
    /// Of whose answers.
    #[serde(flatten)]
    pub of: CaptureScope,
    /// What.
    pub did: Did,
    /// How many answers it was.
    pub answers: u64,
}

/// What can be done with captured texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Did {
    /// Read answers of both arms side by side.
    ReadPairs,
    /// Read one answer.
    ReadOne,
    /// Read one answer to label it.
    ReadToLabel,
    /// Deleted them.
    Deleted,
}

impl Did {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::ReadPairs, Self::ReadOne, Self::ReadToLabel, Self::Deleted];

    /// In a word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadPairs => "read pairs",
            Self::ReadOne => "read one",
            Self::ReadToLabel => "read to label",
            Self::Deleted => "deleted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_sessions_is_drawn_whatever_their_arm() {
        let route = RouteName::from("support");
        let salt = crate::traffic::weight::Salt([7; 32]);
        let units = (0..20_000_u128).map(|n| UnitKey(n.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)));
        let (tenth, half) = (WeightBp::TENTH, WeightBp::new(5_000).unwrap());
        let (mut drawn, mut of_canary) = (0_u32, 0_u32);
        for unit in units {
            assert!(!is_drawn(WeightBp::ZERO, &route, unit) && is_drawn(WeightBp::FULL, &route, unit));
            if is_drawn(tenth, &route, unit) {
                assert!(is_drawn(half, &route, unit), "raising a share keeps whoever was in it");
                drawn += 1;
                of_canary += u32::from(crate::traffic::weight::Slot::of(&salt, unit).is_below(half));
            }
        }
        assert!((1_800..2_200).contains(&drawn), "{drawn}");
        assert!((drawn * 45 / 100..drawn * 55 / 100).contains(&of_canary), "{of_canary} of {drawn}");
    }

    #[test]
    fn an_id_is_written_and_read_and_tells_turns_apart() {
        let release = CaptureScope::from(ReleaseId::from("support-1"));
        let id = CaptureId::of(&release, UnitKey(1), 1);
        assert_ne!(id, CaptureId::of(&RouteName::from("support-1").into(), UnitKey(1), 1), "a route is no release");
        assert_eq!(CaptureId::read(&id.to_string()), Some(id));
        assert_ne!(id, CaptureId::of(&release, UnitKey(1), 2));
        assert_ne!(id, CaptureId::of(&release, UnitKey(2), 1));
        for text in ["cap_1", "cap_+1111111111111111111111111111111", "xap_00000000000000000000000000000000", ""] {
            assert_eq!(CaptureId::read(text), None, "{text}");
        }
    }
}
