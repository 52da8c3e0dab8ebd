//! Routes and releases as people and programs see them.

use super::evidence::{CountsView, FindingView, IntervalView, QualityView};
use super::incident::{IncidentView, SteadyView};
use super::journal::JournalView;
use super::judge::JudgeView;
use super::plan::{GuardrailView, PlanView};
use super::sentinel::SentinelView;
use super::shadow::ShadowView;
use super::upstream::UpstreamView;
use super::version::{ChangeView, VersionView};
use coalmine_control::prices::{FrozenPrice, FrozenPrices, Now};
use coalmine_core::analysis::alpha::Share;
use coalmine_core::analysis::{ArmCosts, Costs};
use coalmine_core::release::report::{Report, Waiting};
use coalmine_core::release::state::{Drift, PauseCause, RollbackCause, State};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteView {
    /// Its name.
    pub route: String,
    /// The version in service.
    pub stable: VersionView,
    /// The same in the form that `NewRelease.canary` takes.
    #[schema(value_type = Object)]
    pub stable_version: coalmine_core::version::Version,
    /// The release that is not over, if there is one.
    pub release: Option<String>,
    /// The generation of its table.
    pub generation: u64,
    /// How its requests fared.
    #[serde(default)]
    pub traffic: TrafficView,
    /// Its own sentinels, as stable answers them.
    #[serde(default)]
    pub sentinels: Vec<SteadyView>,
}

/// How the requests of a route fared on the gateway of this process, since it began.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct TrafficView {
    /// Requests by why they got their version (`slot`, `pinned`, `ineligible`, …); those that are 0 are left out.
    pub assigned: BTreeMap<String, u64>,
    /// Failures of a canary that stable answered in its place.
    pub rescued: u64,
    /// Failures that it did not, for the budget was empty.
    pub rescue_refused: u64,
    /// Refusals of a canary that could not be put to stable.
    pub unproven: u64,
}

/// A release in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseSummary {
    /// Its name.
    pub id: String,
    /// Its route.
    pub route: String,
    /// Where it stands.
    pub state: StateView,
    /// Canary version.
    pub canary: String,
    /// When it was created, in milliseconds since 1970.
    pub created_at_ms: u64,
}

/// Where a release stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StateView {
    /// `draft`, `preflight`, `running`, `paused`, `awaiting_approval`, `promoting`, `promoted`,
    /// `rolling_back`, `rolled_back`.
    pub is: String,
    /// Index of the stage that is served, from 0.
    pub stage: Option<usize>,
    /// Since when, in milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Why it was paused or rolled back, as a sentence.
    pub why: Option<String>,
    /// The same in one word: `guardrail`, `limit`, `tripwire`, `operator`, …
    pub cause: Option<String>,
    /// How the cause stands to `false_rollback_rate`: `guardrails`, `limits`, `sentinels`, `not_covered`.
    pub cover: Option<String>,
    /// After a promotion: until when the old stable can be restored.
    pub keep_until_ms: Option<u64>,
    /// After a promotion: the share of the new sessions that stays on the old stable as a control, in
    /// basis points; `null` where nobody is held back.
    pub hold_back_bp: Option<u16>,
}

/// Why it moved, or what it waits for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub struct ReportView {
    /// The first reason.
    pub headline: String,
    /// Everything that is still missing, as sentences.
    pub waiting_for: Vec<String>,
    /// What is odd.
    pub warnings: Vec<String>,
}

/// A release as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseView {
    /// Its name.
    pub id: String,
    /// Its route.
    pub route: String,
    /// Where it stands.
    pub state: StateView,
    /// The number of its last committed step.
    pub generation: u64,
    /// The version in service when it began.
    pub stable: VersionView,
    /// The version on trial.
    pub canary: VersionView,
    /// In what they differ.
    pub diff: Vec<ChangeView>,
    /// The stages.
    pub plan: PlanView,
    /// Which attempt of this canary on this route, from 0.
    pub attempt: u32,
    /// When it was created.
    pub created_at_ms: u64,
    /// When exposure began.
    pub started_at_ms: Option<u64>,
    /// The clock of the server when this was read.
    pub now_ms: u64,
    /// Why the last look moved or did not.
    pub report: ReportView,
    /// When what answers behind a version changed; evidence for promotion is from after the last.
    #[serde(default)]
    pub drifts: Vec<DriftView>,
    /// The guardrails at the last look.
    pub findings: Vec<FindingView>,
    /// What each sentinel says, in the order of the suite.
    #[serde(default)]
    pub sentinels: Vec<SentinelView>,
    /// How each judge stands, in the order of the policy.
    #[serde(default)]
    pub judges: Vec<JudgeView>,
    /// What its shadow has shown; `null` without one, and before the first look.
    #[serde(default)]
    pub shadow: Option<ShadowView>,
    /// Sessions exposed so far.
    pub exposed: CountsView,
    /// Sessions of this stage with their number posted.
    pub posted: CountsView,
    /// Sessions harmed so far.
    pub harmed: Option<IntervalView>,
    /// Excess cost so far, US dollars.
    pub extra_cost_usd: Option<IntervalView>,
    /// The state of the evidence.
    pub quality: Option<QualityView>,
    /// What both arms have cost; `null` while no cost is known.
    #[serde(default)]
    pub costs: Option<CostsView>,
    /// What its versions cost in it, from its beginning to its end; `null` where it keeps no prices.
    #[serde(default)]
    pub prices: Option<PricesView>,
    /// Live sessions still held to the canary.
    pub live_canary_sessions: u64,
    /// Whether every live gateway serves the last table.
    pub served: bool,
    /// The gateways.
    pub gateways: Vec<GatewayView>,
    /// What is wrong with Coalmine itself (store away, loop stopped), empty when well.
    pub troubles: Vec<String>,
}

/// What both arms have cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CostsView {
    /// The control.
    pub control: ArmCostsView,
    /// The canary.
    pub canary: ArmCostsView,
}

/// What the requests of one arm have cost, in US dollars.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ArmCostsView {
    /// In all, where known.
    pub usd: f64,
    /// Requests whose cost is unknown; below they are taken to cost what the others do.
    pub unknown: u64,
    /// Tasks that feedback `task_done` says were done.
    pub tasks_done: f64,
    /// For one request.
    pub per_request: Option<f64>,
    /// For one session.
    pub per_session: Option<f64>,
    /// For one task done.
    pub per_task: Option<f64>,
}

impl From<Costs> for CostsView {
    fn from(costs: Costs) -> Self {
        Self { control: costs.control.into(), canary: costs.canary.into() }
    }
}

impl From<ArmCosts> for ArmCostsView {
    fn from(of: ArmCosts) -> Self {
        let ArmCosts { usd, unknown, tasks_done, per_request, per_session, per_task } = of;
        Self { usd, unknown, tasks_done, per_request, per_session, per_task }
    }
}

/// The prices that a release goes by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PricesView {
    /// When they were taken, in milliseconds since 1970.
    pub taken_at_ms: u64,
    /// By model.
    pub models: Vec<PriceView>,
}

/// The price of one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PriceView {
    /// The model as a version asks for it.
    pub model: String,
    /// US dollars for a million tokens, in words; `null`: there was no price, so its cost is unknown.
    pub price: Option<String>,
    /// The day on which it stood where it is from; `null` where nobody said.
    pub as_of: Option<String>,
    /// Whether the price list says something else now, which changes nothing for this release.
    pub changed: bool,
    /// What the list says now; `null` where it says nothing.
    pub now: Option<String>,
}

impl From<&FrozenPrices> for PricesView {
    fn from(prices: &FrozenPrices) -> Self {
        Self { taken_at_ms: prices.taken_at.0, models: prices.models.iter().map(Into::into).collect() }
    }
}

impl From<&FrozenPrice> for PriceView {
    fn from(of: &FrozenPrice) -> Self {
        let price = of.quote.as_ref().map(|quote| quote.price.to_string());
        let now = match &of.now {
            Now::Same => price.clone(),
            Now::Changed(now) => now.as_ref().map(|quote| quote.price.to_string()),
        };
        Self {
            model: of.model.clone(),
            as_of: of.quote.as_ref().and_then(|quote| quote.date.clone()),
            changed: of.now != Now::Same,
            price,
            now,
        }
    }
}

/// Another model answered under the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriftView {
    /// When it was noted, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who noted it.
    pub by: String,
    /// What changed.
    pub what: String,
}

impl From<&Drift> for DriftView {
    fn from(drift: &Drift) -> Self {
        Self { at_ms: drift.at.0, by: drift.by.to_string(), what: drift.what.clone() }
    }
}

/// One gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GatewayView {
    /// Its name.
    pub id: String,
    /// The generation of this route's table that it serves.
    pub serves: Option<u64>,
    /// Whether it is heard of.
    pub live: bool,
}

/// Everything about the last decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExplainView {
    /// The release.
    pub release: ReleaseView,
    /// The frozen criteria.
    pub guardrails: Vec<GuardrailView>,
    /// The bound on false rollbacks, whole release.
    pub false_rollback_rate: f64,
    /// The bound on false promotions, per guardrail.
    pub false_promotion_rate: f64,
    /// Every cause that can roll it back, with its share of that bound in this attempt.
    pub shares: Vec<ShareView>,
    /// The hash of policy and plan.
    pub policy_hash: String,
    /// Evidence over time.
    pub tracks: Vec<EvidenceTrack>,
    /// The record, oldest first.
    pub journal: Vec<JournalView>,
}

/// One cause of a rollback and its share of the bound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ShareView {
    /// `guardrail`, `limit`, `sentinel`, `shadow`, `tripwire`, `no_data`, `undecided`, `operator`.
    pub cause: String,
    /// Which metric, tripwire or sentinels; empty where there is but one of its kind.
    pub of: String,
    /// `guardrails`, `limits`, `sentinels`, `shadow`, `not_covered`.
    pub cover: String,
    /// At most this chance of rolling a good version back by this cause, over the whole release; `null`:
    /// outside of the bound.
    pub alpha: Option<f64>,
}

/// Evidence of one metric over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvidenceTrack {
    /// The metric's name.
    pub metric: String,
    /// When the line of a rollback is likely to be reached.
    pub rollback_eta: EtaView,
    /// When the line of promotion is.
    pub promote_eta: EtaView,
    /// Oldest first; thinned out when long.
    pub points: Vec<EvidencePoint>,
}

/// When evidence is likely to reach its line, from how it went lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EtaView {
    /// `reached`, `about`, `not_at_this_rate`, `too_early`.
    pub is: String,
    /// When, in milliseconds since 1970; with `about` only.
    pub at_ms: Option<u64>,
}

/// One point.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvidencePoint {
    /// When.
    pub at_ms: u64,
    /// ln evidence for a rollback.
    pub rollback: f64,
    /// Its line.
    pub rollback_line: f64,
    /// ln evidence for promotion.
    pub promote: f64,
    /// Its line.
    pub promote_line: f64,
    /// The badness difference canary − control with its confidence sequence as it was last drawn; `null` before both
    /// arms were seen.
    #[serde(default)]
    pub difference: Option<IntervalView>,
    /// Sessions with a number; `null` where it was not kept.
    #[serde(default)]
    pub n: Option<CountsView>,
}

/// What comes with a command.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CommandBody {
    /// Why; kept in the journal. Asked for by advance, promote and rollback.
    pub reason: String,
    /// The generation that the operator saw; refused when the release has moved on meanwhile.
    pub expected_generation: Option<u64>,
    /// What gives the canary more is done at once: neither warmth nor room of its upstreams is awaited.
    pub now: bool,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CommandOutcome {
    /// Which release.
    pub id: String,
    /// Where it stands now.
    pub state: StateView,
    /// Whether the step is in the store. A rollback drops exposure first, even when it is not.
    pub committed: bool,
    /// Sentences for people: what was done, what is still to come.
    pub message: String,
}

/// The whole system at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StatusView {
    /// The version of the program.
    pub version: String,
    /// The routes.
    pub routes: Vec<RouteView>,
    /// The releases that are not over, and the last one of every other route.
    pub releases: Vec<ReleaseView>,
    /// What is wrong with Coalmine itself; empty when well.
    pub troubles: Vec<String>,
    /// When this was so.
    #[serde(default)]
    pub now_ms: u64,
    /// The addresses of all providers.
    #[serde(default)]
    pub upstreams: Vec<UpstreamView>,
    /// The incidents that are not closed.
    #[serde(default)]
    pub incidents: Vec<IncidentView>,
}

impl From<Share> for ShareView {
    fn from(share: Share) -> Self {
        let (cause, cover) = (share.cause.word().to_owned(), share.cover.word().to_owned());
        Self { cause, of: share.of, cover, alpha: share.alpha }
    }
}

impl From<&State> for StateView {
    fn from(state: &State) -> Self {
        let mut view = Self {
            is: state.word().to_owned(),
            stage: state.serving_stage(),
            since_ms: None,
            why: None,
            cause: None,
            cover: None,
            keep_until_ms: None,
            hold_back_bp: None,
        };
        match state {
            State::Draft | State::Preflight => {}
            State::Shadow { since } => view.since_ms = Some(since.0),
            State::Running { entered_at, .. } => view.since_ms = Some(entered_at.0),
            State::Paused { by, resume_to } => {
                view.since_ms = Some(resume_to.paused_at.0);
                view.why = Some(pause_sentence(by));
            }
            State::AwaitingApproval { since, .. } | State::Promoting { since } => view.since_ms = Some(since.0),
            State::Promoted { at, keep_until, hold_back } => {
                view.since_ms = Some(at.0);
                view.keep_until_ms = Some(keep_until.0);
                view.hold_back_bp = (!hold_back.is_zero()).then(|| hold_back.bp());
            }
            State::RollingBack { why, since } => view.because(why, since.0),
            State::RolledBack { why, at } => view.because(why, at.0),
        }
        view
    }
}

impl StateView {
    fn because(&mut self, why: &RollbackCause, since_ms: u64) {
        self.since_ms = Some(since_ms);
        self.why = Some(why.describe());
        self.cause = Some(super::journal::cause_word(why).to_owned());
        self.cover = Some(why.cover().word().to_owned());
    }
}

fn pause_sentence(by: &PauseCause) -> String {
    match by {
        PauseCause::Operator { actor } => format!("paused by {actor}"),
        PauseCause::Budget { what } => format!("budget used up: {what}"),
        PauseCause::Undecided => "undecided at max_duration; a person decides".to_owned(),
    }
}

impl From<&Report> for ReportView {
    fn from(report: &Report) -> Self {
        Self {
            headline: report.headline.clone(),
            waiting_for: report.waiting_for.iter().map(waiting_sentence).collect(),
            warnings: report.warnings.clone(),
        }
    }
}

fn waiting_sentence(waiting: &Waiting) -> String {
    match waiting {
        Waiting::Bake { until } => format!("bake time until {}", crate::when::utc(until.0)),
        Waiting::Mirrored { have, need } => format!("mirrored sessions: {have} of {need}"),
        Waiting::Sessions { have, need } => format!("canary sessions: {have} of {need}"),
        Waiting::Guardrail { metric, why } => format!("{metric}: {why}"),
        Waiting::DataQuality { why } => format!("evidence: {why}"),
        Waiting::Approval { of } => format!("approval by {of}"),
        Waiting::Freeze { until } => format!("freeze window until {}", crate::when::utc(until.0)),
        Waiting::Posting { until } => format!("sessions still young: first numbers at {}", crate::when::utc(until.0)),
        Waiting::Sentinel { name, why } => format!("sentinel {name}: {why}"),
        Waiting::Ramp { why } => format!("the ramp's next weight: {why}"),
        Waiting::Upstreams { why } => format!("the canary's upstreams: {why}"),
        Waiting::Gateways => "gateways to serve the last table".to_owned(),
    }
}
