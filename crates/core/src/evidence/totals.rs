//! Running totals of a release that are in no bucket; kept with it, as one JSON document.

use crate::analysis::{ArmCosts, ArmCounts};
use crate::evidence::TwoArms;
use crate::evidence::heavy::Heavy;
use crate::evidence::names::Names;
use crate::evidence::openings::Openings;
use crate::evidence::runs::Runs;
use crate::evidence::summary::{Following, LogHistogram, Summary};
use crate::id::UnitKey;
use crate::judge::JudgeRecords;
use crate::metric::{Metric, Number, Per};
use crate::origin::Slice;
use crate::sentinel::Records;
use crate::shadow::record::Record as ShadowRecord;
use crate::tally::{Turn, TurnPart};
use crate::time::UnixMs;
use crate::traffic::pin::{Arm, Membership, Stratum};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Sessions that a warm-up tells apart at most, per arm.
const UNITS: usize = 10_000;

/// What a ledger counts beside its sessions. Control serialises it into `ReleaseEvidence::totals`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// The time before the yardstick; emptied when it is frozen, but for its counts.
    pub warm_up: WarmUp,
    /// Sessions exposed since, by stratum.
    pub exposed: BTreeMap<Stratum, ArmCounts>,
    /// Of those, with the first number posted: what the sample ratio is counted on.
    pub split: BTreeMap<Stratum, ArmCounts>,
    /// Of the control of `split`, in the matched part; empty where nothing is compared with that.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub matched: BTreeMap<Stratum, u64>,
    /// The times of the matched control's requests, where something is compared with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matched_times: Option<Times>,
    /// Of those, with the session number posted.
    pub posted: BTreeMap<Stratum, ArmCounts>,
    /// The control's requests.
    pub control: ArmTotals,
    /// The canary's requests.
    pub canary: ArmTotals,
    /// Requests of the unit that has sent most.
    pub heaviest_requests: u64,
    /// Counts of units whose session is closed.
    pub heavy: Heavy,
    /// Under which names both arms answer.
    #[serde(default)]
    pub names: Names,
    /// How answers begin, in both arms.
    #[serde(default)]
    pub openings: Openings,
    /// The canary's failures in a row.
    pub runs: Runs,
    /// Turns that came after the numbers that they belong to were posted.
    pub late_turns: u64,
    /// Scores that came so.
    pub late_feedback: u64,
    /// Scores that are no number within 0 and 1.
    pub unusable_feedback: u64,
    /// Turns and scores that contradict what is known of their session.
    pub contradictions: u64,
    /// The first exposure bucket that is not yet posted, per number.
    pub posted_to: BTreeMap<Number, u64>,
    /// The same, of metrics with an age of their own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub own_posted_to: BTreeMap<Metric, u64>,
    /// When feedback last arrived, by name, in either arm.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub heard: BTreeMap<String, UnixMs>,
    /// What rounds of sentinels have shown.
    #[serde(default)]
    pub sentinels: Records,
    /// What the judges have shown.
    #[serde(default, skip_serializing_if = "JudgeRecords::is_empty")]
    pub judges: JudgeRecords,
    /// What pairs of answers have shown before anybody was exposed.
    #[serde(default, skip_serializing_if = "ShadowRecord::is_empty")]
    pub shadow: ShadowRecord,
    /// Sessions per class that wait for a bucket with both arms; of those that are not kept apart by origin.
    pub carried: Waiting,
    /// The same, of those that are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub carried_apart: BTreeMap<Slice, Waiting>,
}

/// Sessions per class that wait for a bucket with both arms.
pub type Waiting = BTreeMap<Number, BTreeMap<Stratum, BTreeMap<Metric, TwoArms>>>;

/// What is seen before the yardstick is frozen; none of it is evidence.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct WarmUp {
    /// The control's traffic.
    pub summary: Summary,
    /// The amounts of its sessions.
    pub following: Following,
    /// Sessions seen, by arm.
    pub control: BTreeSet<UnitKey>,
    /// The canary's.
    pub canary: BTreeSet<UnitKey>,
    /// How many there were in the end.
    pub sessions: ArmCounts,
    /// When the first session was exposed.
    pub first_exposed_at: Option<UnixMs>,
    /// When the last one seen was.
    pub last_exposed_at: UnixMs,
}

/// The requests of one arm, its turns after the ages included.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ArmTotals {
    /// Requests.
    pub requests: u64,
    /// That failed by the version's fault.
    pub failed: u64,
    /// That the client gave up.
    pub cancelled: u64,
    /// That stable answered for the canary.
    pub rescued: u64,
    /// Turns that gateways threw away.
    pub dropped: u64,
    /// US dollars, where known.
    pub cost_usd: f64,
    /// Requests whose cost is unknown.
    pub cost_unknown: u64,
    /// Tasks that feedback says were done, in parts.
    #[serde(default, skip_serializing_if = "is_none")]
    pub tasks_done: f64,
    /// Milliseconds to the first content.
    pub ttft_ms: LogHistogram,
    /// Milliseconds to the end.
    pub latency_ms: LogHistogram,
}

fn is_none(tasks: &f64) -> bool {
    tasks.to_bits() == 0
}

/// Times of requests.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Times {
    /// Milliseconds to the first content.
    pub ttft_ms: LogHistogram,
    /// Milliseconds to the end.
    pub latency_ms: LogHistogram,
}

impl ArmTotals {
    /// What one request, or one task done, has cost on average: requests whose cost is unknown are taken to cost what the
    /// others do. `None` where there was none, or no cost is known.
    #[must_use]
    pub fn price(&self, per: Per) -> Option<f64> {
        let all = self.requests as f64;
        match per {
            Per::Request => self.over(all),
            Per::Task => self.over(self.tasks_done),
        }
    }

    /// The cost over so many of something.
    fn over(&self, count: f64) -> Option<f64> {
        let priced = self.requests.saturating_sub(self.cost_unknown) as f64;
        let usd = self.cost_usd * self.requests as f64 / priced;
        (priced > 0.0 && count > 0.0).then(|| usd / count)
    }

    /// What it has cost, for `sessions` sessions.
    #[must_use]
    pub fn costs(&self, sessions: u64) -> ArmCosts {
        ArmCosts {
            usd: self.cost_usd,
            unknown: self.cost_unknown,
            tasks_done: self.tasks_done,
            per_request: self.price(Per::Request),
            per_session: self.over(sessions as f64),
            per_task: self.price(Per::Task),
        }
    }
}

impl Totals {
    /// The requests of an arm; stable's are not counted.
    #[must_use]
    pub fn arm(&self, arm: Arm) -> Option<&ArmTotals> {
        match arm {
            Arm::Stable => None,
            Arm::Control => Some(&self.control),
            Arm::Canary => Some(&self.canary),
        }
    }

    /// The same, to be added to.
    pub fn arm_mut(&mut self, arm: Arm) -> Option<&mut ArmTotals> {
        match arm {
            Arm::Stable => None,
            Arm::Control => Some(&mut self.control),
            Arm::Canary => Some(&mut self.canary),
        }
    }

    /// Sessions exposed in the whole release, the warm-up included.
    #[must_use]
    pub fn exposed_in_all(&self) -> ArmCounts {
        self.exposed.values().fold(self.warm_up.sessions, |sum, counts| ArmCounts {
            control: sum.control + counts.control,
            canary: sum.canary + counts.canary,
        })
    }

    /// What waits in one slice, to be added to.
    pub fn waiting_mut(&mut self, slice: Slice) -> &mut Waiting {
        if slice.is_rest() { &mut self.carried } else { self.carried_apart.entry(slice).or_default() }
    }

    /// What waits of one number and metric, over all slices and stages.
    pub fn waiting(&self, number: Number, metric: &Metric) -> impl Iterator<Item = &TwoArms> {
        let slices = std::iter::once(&self.carried).chain(self.carried_apart.values());
        slices
            .filter_map(move |waiting| waiting.get(&number))
            .flat_map(BTreeMap::values)
            .filter_map(move |metrics| metrics.get(metric))
    }

    /// Requests of both arms.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.control.requests + self.canary.requests
    }
}

impl WarmUp {
    /// Takes one turn of the release.
    pub fn absorb(&mut self, turn: &Turn, unit: UnitKey, member: &Membership) {
        self.first_exposed_at = Some(self.first_exposed_at.map_or(member.exposed_at, |at| at.min(member.exposed_at)));
        self.last_exposed_at = self.last_exposed_at.max(member.exposed_at);
        let units = match member.arm {
            Arm::Stable => return,
            Arm::Control => &mut self.control,
            Arm::Canary => &mut self.canary,
        };
        if units.len() < UNITS && units.insert(unit) {
            count(&mut self.sessions, member.arm);
        }
        if member.arm == Arm::Control {
            match turn.part {
                TurnPart::Whole | TurnPart::Judged => self.summary.add_request(&turn.outcome, turn.origin.as_ref()),
                TurnPart::Tail => {}
            }
            self.following.add(turn);
        }
    }

    /// The control's traffic, its young sessions as they are.
    #[must_use]
    pub fn measured(&self) -> Summary {
        let mut summary = self.summary.clone();
        self.following.sessions().for_each(|session| summary.add_session(session));
        summary
    }

    /// The yardstick is frozen: only the counts are kept.
    pub fn close(&mut self) {
        *self = Self {
            sessions: self.sessions,
            first_exposed_at: self.first_exposed_at,
            last_exposed_at: self.last_exposed_at,
            ..Self::default()
        };
    }
}

/// Adds one to an arm; stable is not counted.
pub fn count(counts: &mut ArmCounts, arm: Arm) {
    match arm {
        Arm::Stable => {}
        Arm::Control => counts.control += 1,
        Arm::Canary => counts.canary += 1,
    }
}
