//! Sentinels: what each says of a release, and one question put to one version.

use coalmine_control::sentinels::grade::Ruling;
use coalmine_core::analysis::{SentinelFinding, SentinelVerdict, Standing};
use coalmine_core::sentinel::Tries;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One sentinel at the last look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SentinelView {
    /// Its name.
    pub name: String,
    /// `critical`, `qualifying`, `disqualified`, `watched`, `gate`.
    pub standing: String,
    /// `passed`, `failed`, `both_failed`, `unclear`, `unknown`.
    pub verdict: String,
    /// Stable's tries in its newest round.
    pub stable: TriesView,
    /// The canary's.
    pub canary: TriesView,
    /// When that round began, in milliseconds since 1970.
    pub at_ms: Option<u64>,
    /// A sentence with numbers.
    pub reason: String,
}

/// The tries of one arm in one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TriesView {
    /// That passed.
    pub passed: u32,
    /// That did not.
    pub failed: u32,
    /// That say nothing, since a provider was in trouble.
    pub unknown: u32,
}

/// A question to one version of a route, outside of all traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProbeBody {
    /// `stable`, `canary` (of the release that is not over), or `provider/model` in stable's place.
    pub version: String,
    /// A chat completion that is not streamed, as JSON text.
    pub request: String,
    /// The question with its assertions, as `sentinel run` reads it from a suite: a judge, an embeddings endpoint or a
    /// webhook that it names is asked about the answer too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<String>,
}

/// What somebody who was asked about an answer says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RulingView {
    /// The assertion's place in the probe, from 0.
    pub assertion: usize,
    /// `holds`, `holds_not`, or `unknown`, which says nothing of the version.
    pub ruling: String,
    /// Why not; without the answer's words.
    pub why: Option<String>,
}

/// What came back of a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProbeView {
    /// `answered`, `at_fault` (the version's own: its model or key is refused), `trouble` (which says nothing).
    pub outcome: String,
    /// The model that was asked.
    pub model: String,
    /// The body of the answer.
    pub answer: Option<String>,
    /// Why there is none.
    pub why: Option<String>,
    /// To its last byte.
    pub latency_ms: Option<f64>,
    /// By the price table.
    pub cost_usd: Option<f64>,
    /// The tools that the version declares, as JSON text.
    pub tools: Option<String>,
    /// What those who had to be asked say of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rulings: Vec<RulingView>,
}

impl From<(usize, Ruling)> for RulingView {
    fn from((assertion, ruling): (usize, Ruling)) -> Self {
        let (ruling, why) = match ruling {
            Ruling::Holds => ("holds", None),
            Ruling::HoldsNot(why) => ("holds_not", Some(why)),
            Ruling::Unknown(why) => ("unknown", Some(why)),
        };
        Self { assertion, ruling: ruling.to_owned(), why }
    }
}

impl From<&SentinelFinding> for SentinelView {
    fn from(finding: &SentinelFinding) -> Self {
        let standing = match finding.standing {
            Standing::Critical => "critical",
            Standing::Qualifying => "qualifying",
            Standing::Disqualified => "disqualified",
            Standing::Watched => "watched",
            Standing::Gate => "gate",
        };
        let verdict = match finding.verdict {
            SentinelVerdict::Passed => "passed",
            SentinelVerdict::Failed => "failed",
            SentinelVerdict::BothFailed => "both_failed",
            SentinelVerdict::Unclear => "unclear",
            SentinelVerdict::Unknown => "unknown",
        };
        Self {
            name: finding.name.clone(),
            standing: standing.to_owned(),
            verdict: verdict.to_owned(),
            stable: (&finding.stable).into(),
            canary: (&finding.canary).into(),
            at_ms: finding.at.map(|at| at.0),
            reason: finding.reason.clone(),
        }
    }
}

impl From<&Tries> for TriesView {
    fn from(tries: &Tries) -> Self {
        Self { passed: tries.passed, failed: tries.failed, unknown: tries.unknown }
    }
}
