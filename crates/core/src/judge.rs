//! The judge: a pinned model that scores sampled answers, blind to the arm.
//!
//! | module | what it holds |
//! |---|---|
//! | here | the judge as a policy freezes it, its identity, and which sessions it sees |
//! | [`record`] | what it has shown in one release: scores, failures, spending, anchors, labels |
//! | [`sample`] | one answer on its way to the judge, in memory only |
//!
//! A score is a value of a session at a fixed age, and travels as [`crate::tally::Feedback`] that names its judge. What
//! is not sampled owes no score; what is sampled and has none is missing, and never bet on.

pub mod record;
pub mod sample;

pub use record::{Corrected, Happened, Item, JudgeRecord, JudgeRecords, Standing};
pub use sample::{PairSample, Sample};

use crate::id::UnitKey;
use crate::time::SpanMs;
use crate::traffic::pin::Arm;
use crate::traffic::weight::{Salt, WeightBp};
use crate::version::Version;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The form of prompt and parser together: raised with every change of either, so that another form is another judge.
pub const FORM: u32 = 1;
/// Anchors that one judge has at most.
pub const ANCHORS_MAX: usize = 200;

/// A judge as a policy freezes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judge {
    /// Its name: the metric is `judge.NAME`.
    pub name: String,
    /// Who scores: provider, model snapshot and parameters. Prompt and tools are none.
    pub version: Version,
    /// What a good answer is.
    pub rubric: String,
    /// In what it scores.
    pub scale: Scale,
    /// The form of prompt and parser, [`FORM`] when it was read.
    pub form: u32,
    /// So many turns of a session are scored, the first ones.
    pub turns: u32,
    /// What a day (of UTC) may cost, in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_per_day: Option<f64>,
    /// How often it may be asked on a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls_per_day: Option<u64>,
    /// The share of the scored answers that wait for a human label.
    #[serde(default, skip_serializing_if = "WeightBp::is_zero")]
    pub labels: WeightBp,
    /// Answers with human labels, by which the judge itself is watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchors: Option<Anchors>,
}

/// In what a judge scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Pass or fail.
    Binary,
    /// 1, the worst, to 5, the best.
    Five,
    /// Which of two answers to the same request is better, or neither; only the pairs of a shadow are scored so.
    Pairs,
}

/// Answers with human labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Anchors {
    /// How often they are scored anew.
    pub every: SpanMs,
    /// The share of them that the judge must score as the labels say.
    pub agree: f64,
    /// By how much that share may fall below that of the release's first run.
    pub margin: f64,
    /// Each.
    pub set: Arc<[Anchor]>,
}

/// One answer with its label: written by people, and no customer's text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Anchor {
    /// What was asked.
    pub question: String,
    /// What was answered.
    pub answer: String,
    /// Where a judge compares pairs: what was answered otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<String>,
    /// The label, as a goodness in 0..=1; of a pair the goodness of `answer` against `other`.
    pub label: f64,
}

/// Which sessions are scored; fixed before the start, blind to content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampling {
    /// Share of control's sessions.
    pub control: WeightBp,
    /// Share of the canary's.
    pub canary: WeightBp,
}

/// The identity of a judge: model, parameters, rubric, scale and form. 16 bytes of BLAKE3, shown as `j_` and 12 digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JudgeId(pub [u8; 16]);

impl Judge {
    /// Who it is; what it costs, how much it sees and its anchors are no part of that.
    #[must_use]
    pub fn id(&self) -> JudgeId {
        let mut hasher = blake3::Hasher::new_derive_key("coalmine judge 1");
        let scale = match self.scale {
            Scale::Binary => "binary",
            Scale::Five => "1-5",
            Scale::Pairs => "pairs",
        };
        hasher.update(&self.version.id().0).update(&self.form.to_le_bytes());
        for text in [&self.rubric, scale] {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        let mut id = [0; 16];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        JudgeId(id)
    }
}

impl Scale {
    /// The goodness in 0..=1 of a score on this scale; `None` where there is no such score. Binary: 0 or 1; of pairs 0
    /// where the other is better, 1 where neither is, 2 where the one is.
    #[must_use]
    pub fn goodness(self, score: u8) -> Option<f64> {
        match (self, score) {
            (Self::Binary, 0 | 1) => Some(f64::from(score)),
            (Self::Five, 1..=5) => Some(f64::from(score - 1) / 4.0),
            (Self::Pairs, 0..=2) => Some(f64::from(score) / 2.0),
            (Self::Binary | Self::Five | Self::Pairs, _) => None,
        }
    }

    /// Whether two scores mean the same: on five steps, one step apart still does.
    #[must_use]
    pub fn agrees(self, one: f64, other: f64) -> bool {
        let step = match self {
            Self::Binary => 0.5,
            Self::Five => 0.26,
            Self::Pairs => 0.25,
        };
        (one - other).abs() < step
    }

    /// As written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Five => "1-5",
            Self::Pairs => "pairs",
        }
    }
}

impl Sampling {
    /// Every session of both arms.
    pub const ALL: Self = Self { control: WeightBp::FULL, canary: WeightBp::FULL };

    /// The share of an arm; stable outside of the comparison has none.
    #[must_use]
    pub const fn of(self, arm: Arm) -> WeightBp {
        match arm {
            Arm::Stable => WeightBp::ZERO,
            Arm::Control => self.control,
            Arm::Canary => self.canary,
        }
    }

    /// Whether a session is scored: by a hash of its unit under the release's salt, another one for each judge, so that
    /// raising a share keeps whoever was in it.
    #[must_use]
    pub fn includes(self, salt: &Salt, judge: &str, unit: UnitKey, arm: Arm) -> bool {
        is_drawn(self.of(arm), salt, judge, unit)
    }
}

/// Whether a judge that sees so much sees this session.
#[must_use]
pub fn is_drawn(share: WeightBp, salt: &Salt, judge: &str, unit: UnitKey) -> bool {
    !share.is_zero() && place(salt, judge, unit) < u64::from(share.bp())
}

/// The place of a unit under a name, 0..=9999.
fn place(salt: &Salt, name: &str, unit: UnitKey) -> u64 {
    let mut hasher = blake3::Hasher::new_keyed(&salt.0);
    hasher.update(b"judge").update(name.as_bytes()).update(&unit.0.to_le_bytes());
    let mut low = [0; 8];
    low.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    let scaled = (u128::from(u64::from_le_bytes(low)) * 10_000) >> 64;
    u64::try_from(scaled).unwrap_or(9_999)
}

/// Whether a scored answer waits for a human label: as blind as [`Sampling::includes`], and independent of it.
#[must_use]
pub fn wants_label(salt: &Salt, judge: &Judge, unit: UnitKey) -> bool {
    place(salt, &format!("label of {}", judge.name), unit) < u64::from(judge.labels.bp())
}

impl JudgeId {
    fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 32 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for JudgeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("j_")?;
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for JudgeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JudgeId({self})")
    }
}

impl Serialize for JudgeId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }
}

impl<'de> Deserialize<'de> for JudgeId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text).ok_or_else(|| serde::de::Error::custom("a judge's id is 32 hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::example::judge;

    #[test]
    fn another_model_rubric_scale_or_form_is_another_judge_and_a_budget_is_not() {
        let one = judge("helpful");
        let id = one.id();
        let mut others = [one.clone(), one.clone(), one.clone(), one.clone()];
        others[0].version.model.push('x');
        others[1].rubric.push('x');
        others[2].scale = Scale::Five;
        others[3].form += 1;
        assert!(others.iter().all(|other| other.id() != id));
        let same = Judge { usd_per_day: Some(1.0), turns: 9, anchors: None, name: "else".to_owned(), ..one };
        assert_eq!(same.id(), id);
        let stored = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<JudgeId>(&stored).unwrap(), id);
        assert!(serde_json::from_str::<JudgeId>("\"ab\"").is_err());
    }

    #[test]
    fn a_larger_share_keeps_whoever_was_in_the_smaller() {
        let salt = Salt([7; 32]);
        let share = |bp| Sampling { control: WeightBp::ZERO, canary: WeightBp::new(bp).unwrap() };
        let within = |bp| (0..2_000).filter(move |u| share(bp).includes(&salt, "a", UnitKey(*u), Arm::Canary));
        let (small, large): (Vec<u128>, Vec<u128>) = (within(1_000).collect(), within(4_000).collect());
        assert!(small.iter().all(|unit| large.contains(unit)));
        assert!((120..=280).contains(&small.len()), "{}", small.len());
        assert!(!(0..2_000).any(|u| share(10_000).includes(&salt, "a", UnitKey(u), Arm::Control)));
        let other: Vec<u128> =
            (0..2_000).filter(|u| share(1_000).includes(&salt, "b", UnitKey(*u), Arm::Canary)).collect();
        assert_ne!(small, other, "each judge has sessions of its own");
    }

    #[test]
    fn scores_are_goodness_and_five_steps_may_be_one_apart() {
        assert_eq!(Scale::Five.goodness(1), Some(0.0));
        assert_eq!(Scale::Five.goodness(5), Some(1.0));
        assert_eq!(Scale::Binary.goodness(2), None);
        assert!(Scale::Five.agrees(0.5, 0.75) && !Scale::Five.agrees(0.5, 1.0));
        assert!(!Scale::Binary.agrees(0.0, 1.0));
    }
}
