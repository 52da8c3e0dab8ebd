//! A release and its one state.

use crate::id::{Actor, Generation, ReleaseId, RouteName, TenantId};
use crate::metric::Metric;
use crate::price::PriceSnapshot;
use crate::release::plan::Plan;
use crate::release::policy::Policy;
use crate::release::words;
use crate::time::UnixMs;
use crate::traffic::pin::Stratum;
use crate::traffic::weight::{Salt, WeightBp};
use crate::version::VersionId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One attempt to move a route from stable to canary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Its name.
    pub id: ReleaseId,
    /// Whose.
    pub tenant: TenantId,
    /// Which route.
    pub route: RouteName,
    /// The version in service when it was created; a rollback restores it.
    pub stable: VersionId,
    /// The version on trial.
    pub canary: VersionId,
    /// The stages.
    pub plan: Plan,
    /// The criteria, frozen.
    pub policy: Policy,
    /// BLAKE3 of the policy and the plan in their stored form, in hex.
    pub policy_hash: String,
    /// Splits its units.
    pub salt: Salt,
    /// Which attempt of this canary on this route it is, from 0: the k-th has alpha · 2^−k
    /// (`statistics.md`, section 9, rule 3).
    pub attempt: u32,
    /// log of the promotion evidence that earlier tries of the same canary gathered, per metric: this
    /// one's is multiplied on (`statistics.md`, section 9, rule 3).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub carried: BTreeMap<Metric, f64>,
    /// What its versions cost, as it was then; `None` in releases of an older make, and where nobody knows prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<Arc<PriceSnapshot>>,
    /// When it was created.
    pub created_at: UnixMs,
    /// When exposure began.
    pub started_at: Option<UnixMs>,
    /// When promotion was decided; a rollback then also restores the old stable.
    #[serde(default)]
    pub promoted_at: Option<UnixMs>,
    /// When rollback was decided: the drain of live canary sessions counts from here.
    #[serde(default)]
    pub revoked_at: Option<UnixMs>,
    /// When what answers behind a version changed: evidence for promotion from before the last of them is given up
    /// (`statistics.md`, section 9, rule 3). Oldest first, at most [`DRIFTS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drifts: Vec<Drift>,
    /// What is wrong and has been told: each is told (or acted on) at its onset, not at every look.
    #[serde(default)]
    pub open: BTreeSet<Condition>,
    /// Where it stands.
    pub state: State,
    /// The number of its last committed step; a commit names the one it saw.
    pub generation: Generation,
}

/// More drifts than this leave nothing to compare: such a release is promoted by no evidence.
pub const DRIFTS_MAX: usize = 64;

/// Another model answers under the same name: evidence from before says nothing of what answers now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// When it was noted; sessions exposed earlier prove nothing for a promotion.
    pub at: UnixMs,
    /// Who noted it.
    pub by: Actor,
    /// What changed, in words.
    pub what: String,
}

/// Something wrong that lasts over many looks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "condition")]
pub enum Condition {
    /// The evidence as a whole is stale or void.
    Quality,
    /// A metric has no usable numbers.
    Silent {
        /// Which.
        metric: Metric,
    },
    /// A signal is proven worse.
    Signal {
        /// Which.
        metric: Metric,
    },
    /// The budget of harmed sessions is used up.
    HarmBudget,
    /// The budget of extra cost is used up.
    CostBudget,
    /// `max_duration` is over and nothing is decided.
    Undecided,
    /// Critical sentinels fail on both arms, or cannot be asked.
    Sentinels,
    /// Stable itself is proven above an absolute limit.
    StableSick {
        /// Of which metric.
        metric: Metric,
    },
}

/// Where a release stands. Everything that a state needs is inside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum State {
    /// Written, not started.
    Draft,
    /// Checks before any exposure.
    Preflight,
    /// Copies of requests are put to the canary; nobody is exposed.
    Shadow {
        /// Since when.
        since: UnixMs,
    },
    /// At a stage of the plan.
    Running {
        /// Index of the stage.
        stage: usize,
        /// When it was entered.
        entered_at: UnixMs,
    },
    /// Exposure stands still; nothing advances.
    Paused {
        /// Who or what.
        by: PauseCause,
        /// What resume goes back to.
        resume_to: Resume,
    },
    /// The evidence for this stage is there; a person's word is not.
    AwaitingApproval {
        /// The stage that waits to be opened.
        stage: usize,
        /// Since when.
        since: UnixMs,
        /// When the stage that still serves was entered.
        entered_at: UnixMs,
    },
    /// Decided for the canary; gateways are being told.
    Promoting {
        /// Since when.
        since: UnixMs,
    },
    /// The canary is the stable of the route.
    Promoted {
        /// Since when.
        at: UnixMs,
        /// Until when the old stable can be restored.
        keep_until: UnixMs,
        /// Share of the new sessions that stays on the old stable as a control; zero once that is over.
        #[serde(default, skip_serializing_if = "WeightBp::is_zero")]
        hold_back: WeightBp,
    },
    /// Decided against the canary; gateways are being told.
    RollingBack {
        /// Why.
        why: RollbackCause,
        /// Since when.
        since: UnixMs,
    },
    /// Everything is back on the old stable.
    RolledBack {
        /// Why.
        why: RollbackCause,
        /// Since when.
        at: UnixMs,
    },
}

/// What a resume goes back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The stage.
    pub stage: usize,
    /// When it was entered; a pause does not count as bake.
    pub entered_at: UnixMs,
    /// When the pause began.
    pub paused_at: UnixMs,
}

/// Who or what paused a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "cause")]
pub enum PauseCause {
    /// A person.
    Operator {
        /// Who.
        actor: Actor,
    },
    /// A budget is used up.
    Budget {
        /// In words: which, how much, of what.
        what: String,
    },
    /// `max_duration` is over and the policy says `ask`.
    Undecided,
}

/// Every cause of a rollback. Each has a share of alpha or the label *not covered*:
/// see [`RollbackCause::cover`], which has no wildcard arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "cause")]
pub enum RollbackCause {
    /// A guardrail is proven worse than its rollback margin.
    Guardrail {
        /// Which metrics crossed by themselves, the guiltiest first.
        metrics: Vec<String>,
        /// log of the evidence of the guiltiest, weighted.
        #[serde(with = "crate::float")]
        log_evidence: f64,
        /// log of the line.
        #[serde(with = "crate::float")]
        log_line: f64,
        /// The finding of the guiltiest, as a sentence with numbers.
        found: String,
    },
    /// An absolute limit is proven exceeded.
    Limit {
        /// Which metric.
        metric: String,
        /// log of its evidence.
        #[serde(with = "crate::float")]
        log_evidence: f64,
        /// log of the line.
        #[serde(with = "crate::float")]
        log_line: f64,
        /// The limit and the canary's estimate, in words.
        found: String,
    },
    /// A critical sentinel failed on the canary alone.
    Sentinel {
        /// Which.
        name: String,
        /// The tries of both arms and what was not met, in words.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        found: String,
    },
    /// In its shadow, before anybody was exposed, the canary was proven worse than its rollback margin.
    Shadow {
        /// Which metrics crossed by themselves, the guiltiest first.
        metrics: Vec<String>,
        /// log of the evidence of the guiltiest, weighted.
        #[serde(with = "crate::float")]
        log_evidence: f64,
        /// log of the line.
        #[serde(with = "crate::float")]
        log_line: f64,
        /// The finding of the guiltiest, as a sentence with numbers.
        found: String,
    },
    /// A tripwire.
    Tripwire {
        /// In words.
        what: String,
    },
    /// A metric fell silent and its policy says `rollback`.
    NoData {
        /// Which metric.
        metric: String,
    },
    /// `max_duration` is over and the policy says `rollback`.
    Undecided,
    /// A person.
    Operator {
        /// Who.
        actor: Actor,
        /// Their words.
        reason: String,
    },
}

/// The kinds of cause, without what was found. Each must say how it stands to the promise, and
/// [`crate::analysis::alpha::shares`] must say its share: one that does not does not compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// A guardrail proven worse than its rollback margin.
    Guardrail,
    /// An absolute limit proven exceeded.
    Limit,
    /// A critical sentinel that fails on the canary alone.
    Sentinel,
    /// A guardrail proven worse in the shadow.
    Shadow,
    /// A tripwire.
    Tripwire,
    /// A guardrail that fell silent.
    NoData,
    /// `max_duration` is over.
    Undecided,
    /// A person.
    Operator,
}

/// How a cause stands to the promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cover {
    /// Inside the bound, from the guardrails' share of alpha.
    Guardrails,
    /// Inside the bound, from the limits' share.
    Limits,
    /// Inside the bound, from the sentinels' share.
    Sentinels,
    /// Inside the bound, from the shadow's share.
    Shadow,
    /// Outside the bound.
    NotCovered,
}

impl Cover {
    /// One word, as in the API and the CLI.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Guardrails => "guardrails",
            Self::Limits => "limits",
            Self::Sentinels => "sentinels",
            Self::Shadow => "shadow",
            Self::NotCovered => "not_covered",
        }
    }
}

impl CauseKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Guardrail,
        Self::Limit,
        Self::Sentinel,
        Self::Shadow,
        Self::Tripwire,
        Self::NoData,
        Self::Undecided,
        Self::Operator,
    ];

    /// One word, as in the API and the CLI.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Guardrail => "guardrail",
            Self::Limit => "limit",
            Self::Sentinel => "sentinel",
            Self::Shadow => "shadow",
            Self::Tripwire => "tripwire",
            Self::NoData => "no_data",
            Self::Undecided => "undecided",
            Self::Operator => "operator",
        }
    }

    /// How it stands to the promise.
    #[must_use]
    pub const fn cover(self) -> Cover {
        match self {
            Self::Guardrail => Cover::Guardrails,
            Self::Limit => Cover::Limits,
            Self::Sentinel => Cover::Sentinels,
            Self::Shadow => Cover::Shadow,
            Self::Tripwire | Self::NoData | Self::Undecided | Self::Operator => Cover::NotCovered,
        }
    }
}

impl RollbackCause {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> CauseKind {
        match self {
            Self::Guardrail { .. } => CauseKind::Guardrail,
            Self::Limit { .. } => CauseKind::Limit,
            Self::Sentinel { .. } => CauseKind::Sentinel,
            Self::Shadow { .. } => CauseKind::Shadow,
            Self::Tripwire { .. } => CauseKind::Tripwire,
            Self::NoData { .. } => CauseKind::NoData,
            Self::Undecided => CauseKind::Undecided,
            Self::Operator { .. } => CauseKind::Operator,
        }
    }

    /// Its share of alpha, or that it has none.
    #[must_use]
    pub const fn cover(&self) -> Cover {
        self.kind().cover()
    }

    /// For people: what, with number and bound.
    #[must_use]
    pub fn describe(&self) -> String {
        let because = |found: &str| if found.is_empty() { String::new() } else { format!(" ({found})") };
        match self {
            Self::Guardrail { metrics, log_evidence, log_line, found } => {
                let who = if metrics.is_empty() { "the guardrails together".to_owned() } else { metrics.join(", ") };
                let (evidence, line) = (words::e_value(*log_evidence), words::e_value(*log_line));
                format!("{who} proven worse than stable: evidence {evidence}, line {line}{}", because(found))
            }
            Self::Limit { metric, log_evidence, log_line, found } => {
                let (evidence, line) = (words::e_value(*log_evidence), words::e_value(*log_line));
                format!("{metric} proven above its limit: evidence {evidence}, line {line}{}", because(found))
            }
            Self::Sentinel { name, found } => format!("sentinel {name} failed on the canary alone{}", because(found)),
            Self::Shadow { metrics, log_evidence, log_line, found } => {
                let (evidence, line) = (words::e_value(*log_evidence), words::e_value(*log_line));
                let who = metrics.join(", ");
                format!(
                    "{who} proven worse than stable in the shadow, by copies that answered nobody: evidence {evidence}, line {line}{}",
                    because(found)
                )
            }
            Self::Tripwire { what } => format!("tripwire: {what}"),
            Self::NoData { metric } => format!("{metric} fell silent, and its policy says rollback"),
            Self::Undecided => {
                "max_duration is over, and the policy says rollback; not a verdict on the version".to_owned()
            }
            Self::Operator { actor, reason } => format!("asked for by {actor}{}", words::given(reason)),
        }
    }
}

impl State {
    /// The stage whose exposure is served in this state; `None` when the canary gets no new session
    /// by stage (before the start, and once decided).
    #[must_use]
    pub const fn serving_stage(&self) -> Option<usize> {
        match self {
            Self::Running { stage, .. } => Some(*stage),
            Self::Paused { resume_to, .. } => Some(resume_to.stage),
            Self::AwaitingApproval { stage, .. } => Some(stage.saturating_sub(1)),
            Self::Draft
            | Self::Preflight
            | Self::Shadow { .. }
            | Self::Promoting { .. }
            | Self::Promoted { .. }
            | Self::RollingBack { .. }
            | Self::RolledBack { .. } => None,
        }
    }

    /// When the stage that is served was entered, pauses left out.
    #[must_use]
    pub const fn entered_at(&self) -> Option<UnixMs> {
        match self {
            Self::Running { entered_at, .. } | Self::AwaitingApproval { entered_at, .. } => Some(*entered_at),
            Self::Paused { resume_to, .. } => Some(resume_to.entered_at),
            Self::Draft
            | Self::Preflight
            | Self::Shadow { .. }
            | Self::Promoting { .. }
            | Self::Promoted { .. }
            | Self::RollingBack { .. }
            | Self::RolledBack { .. } => None,
        }
    }

    /// The share of the new sessions that stays on the old stable after a promotion; zero elsewhere.
    #[must_use]
    pub const fn hold_back(&self) -> WeightBp {
        match self {
            Self::Promoted { hold_back, .. } => *hold_back,
            Self::Draft
            | Self::Preflight
            | Self::Shadow { .. }
            | Self::Running { .. }
            | Self::Paused { .. }
            | Self::AwaitingApproval { .. }
            | Self::Promoting { .. }
            | Self::RollingBack { .. }
            | Self::RolledBack { .. } => WeightBp::ZERO,
        }
    }

    /// Whether evidence is gathered and looked at: until it is over, and while sessions are held back.
    #[must_use]
    pub const fn is_watched(&self) -> bool {
        !self.is_over() || !self.hold_back().is_zero()
    }

    /// Whether it is over, but for the keep after a promotion.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        match self {
            Self::Promoted { .. } | Self::RolledBack { .. } => true,
            Self::Draft
            | Self::Preflight
            | Self::Shadow { .. }
            | Self::Running { .. }
            | Self::Paused { .. }
            | Self::AwaitingApproval { .. }
            | Self::Promoting { .. }
            | Self::RollingBack { .. } => false,
        }
    }

    /// One word, as in the API and the CLI.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Preflight => "preflight",
            Self::Shadow { .. } => "shadow",
            Self::Running { .. } => "running",
            Self::Paused { .. } => "paused",
            Self::AwaitingApproval { .. } => "awaiting_approval",
            Self::Promoting { .. } => "promoting",
            Self::Promoted { .. } => "promoted",
            Self::RollingBack { .. } => "rolling_back",
            Self::RolledBack { .. } => "rolled_back",
        }
    }
}

impl Release {
    /// The weight under which the sessions of a stratum were assigned: a stage's, or, one beyond the last
    /// stage, everybody but those held back after the promotion.
    #[must_use]
    pub fn weight_of(&self, stratum: Stratum) -> Option<WeightBp> {
        let index = usize::from(stratum.0);
        if index == self.plan.stages.len() && !self.policy.hold_back.is_zero() {
            return Some(self.policy.hold_back.rest());
        }
        self.plan.stages.get(index).map(|stage| stage.weight)
    }

    /// The stratum of the sessions that are held back, and of those beside them.
    #[must_use]
    pub fn held_back_stratum(&self) -> Stratum {
        Stratum(u16::try_from(self.plan.stages.len()).unwrap_or(u16::MAX))
    }
}
