//! Captured answers: what is kept, its texts for those who may read them, and who did.

use coalmine_control::captures::CaptureCounts;
use coalmine_control::captures::pairs::{AnswerPair, Opened};
use coalmine_control::captures::read::{Captured, SideBySide};
use coalmine_core::capture::{CaptureHead, CaptureRule, CaptureScope, CaptureUse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is captured of a release, or of a route without one, without its texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CapturesView {
    /// What its route captures now; absent: nothing.
    pub rule: Option<RuleView>,
    /// What became of sampled answers of all routes since the process began.
    pub counts: CaptureCountsView,
    /// What is kept, the newest first.
    pub captures: Vec<CaptureView>,
}

/// What a route captures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RuleView {
    /// The share of sessions, in hundredths of a percent.
    pub sample_bp: u16,
    /// So long an answer is kept.
    pub keep_ms: u64,
    /// So much of a text is kept.
    pub text_max_bytes: u64,
    /// So many answers of an arm.
    pub rows_max: u64,
}

/// What became of sampled answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CaptureCountsView {
    /// Kept.
    pub kept: u64,
    /// Lost, for too many waited.
    pub full: u64,
    /// Lost, for their release is not known here, or their route captures nothing here.
    pub unplaced: u64,
    /// Lost, for they could not be redacted.
    pub not_redacted: u64,
    /// Lost, for the store did not take them.
    pub not_stored: u64,
    /// Given up for newer ones.
    pub evicted: u64,
    /// Deleted at the end of their time.
    pub expired: u64,
}

/// A captured answer without its text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CaptureView {
    /// `cap_…`.
    pub id: String,
    /// Its route.
    pub route: String,
    /// Its release; absent where it was given while none exposed anybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// `control` or `canary`; without a release `stable`.
    pub arm: String,
    /// Who answered.
    pub version: String,
    /// When its request began, in milliseconds since 1970.
    pub at_ms: u64,
    /// When it is deleted.
    pub expires_at_ms: u64,
    /// The key that it is sealed under, by a hash of it.
    pub key_id: String,
}

/// A line of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LineView {
    /// `user`, `assistant` or `tool`.
    pub who: String,
    /// What was said.
    pub said: String,
}

/// A captured answer with its text, redacted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CaptureTextView {
    /// What it is.
    pub capture: CaptureView,
    /// What was said before.
    pub conversation: Vec<LineView>,
    /// The answer.
    pub answer: String,
    /// Pieces that were taken out of both.
    pub redacted: u64,
}

/// Two answers to like prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AnswerPairView {
    /// `same prompt` (but for case and blanks), `same start` (of one length), or `near`.
    pub likeness: String,
    /// The part of their words that the questions share, 0 to 1.
    pub share: Option<f64>,
    /// Control's answer.
    pub control: CaptureTextView,
    /// The canary's.
    pub canary: CaptureTextView,
}

/// Answers of both arms, side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SideBySideView {
    /// Those to like prompts that were asked for, the surest first.
    pub pairs: Vec<AnswerPairView>,
    /// All of them.
    pub found: u64,
    /// Answers of control that were looked at.
    pub control: u64,
    /// Answers of the canary that were looked at.
    pub canary: u64,
    /// Answers that could not be opened: their key is not here.
    pub unopened: u64,
}

/// What somebody did with captured answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CaptureUseView {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who.
    pub actor: String,
    /// Of which release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Of which route without a release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// `read pairs`, `read one`, `read to label`, `deleted`.
    pub did: String,
    /// How many answers it was.
    pub answers: u64,
}

impl From<CaptureRule> for RuleView {
    fn from(rule: CaptureRule) -> Self {
        Self {
            sample_bp: rule.sample.bp(),
            keep_ms: rule.keep.0,
            text_max_bytes: rule.text_max_bytes as u64,
            rows_max: rule.rows_max,
        }
    }
}

impl From<CaptureCounts> for CaptureCountsView {
    fn from(counts: CaptureCounts) -> Self {
        let CaptureCounts { kept, full, unplaced, not_redacted, not_stored, evicted, expired } = counts;
        Self { kept, full, unplaced, not_redacted, not_stored, evicted, expired }
    }
}

impl From<&CaptureHead> for CaptureView {
    fn from(head: &CaptureHead) -> Self {
        Self {
            id: head.id.to_string(),
            route: head.route.to_string(),
            release: head.release.as_ref().map(ToString::to_string),
            arm: head.arm.as_str().to_owned(),
            version: head.version.to_string(),
            at_ms: head.at.0,
            expires_at_ms: head.expires_at.0,
            key_id: head.key_id.clone(),
        }
    }
}

impl From<Captured> for CapturesView {
    fn from(captured: Captured) -> Self {
        Self {
            rule: captured.rule.map(Into::into),
            counts: captured.counts.into(),
            captures: captured.heads.iter().map(Into::into).collect(),
        }
    }
}

impl From<Opened> for CaptureTextView {
    fn from(opened: Opened) -> Self {
        let Opened { head, text } = opened;
        let line = |line: coalmine_control::captures::text::Line| LineView { who: line.who, said: line.said };
        Self {
            capture: (&head).into(),
            conversation: text.conversation.into_iter().map(line).collect(),
            answer: text.answer,
            redacted: text.redacted,
        }
    }
}

impl From<AnswerPair> for AnswerPairView {
    fn from(pair: AnswerPair) -> Self {
        Self {
            likeness: pair.likeness.as_str().to_owned(),
            share: pair.likeness.share(),
            control: pair.control.into(),
            canary: pair.canary.into(),
        }
    }
}

impl From<SideBySide> for SideBySideView {
    fn from(found: SideBySide) -> Self {
        let SideBySide { pairs, found, control, canary, unopened } = found;
        let pairs = pairs.into_iter().map(Into::into).collect();
        Self { pairs, found: found as u64, control, canary, unopened }
    }
}

impl From<CaptureUse> for CaptureUseView {
    fn from(used: CaptureUse) -> Self {
        let (release, route) = match used.of {
            CaptureScope::Release { release } => (Some(release.0), None),
            CaptureScope::Steady { route } => (None, Some(route.to_string())),
        };
        Self {
            at_ms: used.at.0,
            actor: used.actor.0,
            release,
            route,
            did: used.did.as_str().to_owned(),
            answers: used.answers,
        }
    }
}
