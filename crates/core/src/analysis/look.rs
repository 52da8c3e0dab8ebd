//! One look: everything that is known, put into one [`Analysis`].

use crate::analysis::finding::{self, NO_EVIDENCE};
use crate::analysis::judges;
use crate::analysis::quality;
use crate::analysis::sentinels;
use crate::analysis::shadow;
use crate::analysis::{Analysis, ArmCounts, Books, Costs, Evidence, Finding, Interval, LimitFinding, Readiness};
use crate::evidence::Ledger;
use crate::metric::{Kind, Metric};
use crate::release::policy::{Role, Tripwire};
use crate::release::state::Release;
use crate::time::{SpanMs, UnixMs};
use crate::traffic::pin::Stratum;

/// How far the gateways' reports reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reporting {
    /// Every live gateway has reported up to this instant.
    pub complete_to: UnixMs,
    /// Reports older than this hold the release; see [`Reporting::stale_after`].
    pub stale_after: SpanMs,
}

impl Reporting {
    /// The usual bound of staleness: 30 s or one bucket or five reports, whichever is longest
    /// (`every`: the span between two reports, on the clock of the process).
    #[must_use]
    pub fn stale_after(bucket: SpanMs, every: SpanMs) -> SpanMs {
        SpanMs::secs(30).max(bucket).max(SpanMs(every.0.saturating_mul(5)))
    }
}

/// All that a look reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) release: &'a Release,
    pub(super) ledger: &'a Ledger,
    pub(super) books: Option<&'a Books>,
    pub(super) reporting: &'a Reporting,
    pub(super) stage: usize,
    pub(super) now: UnixMs,
}

/// Reads the books. Pure and incremental: nothing is folded again. `books` is `None` until the
/// yardstick is frozen. A release that serves no stage is read at its first.
#[must_use]
pub fn analyse(
    release: &Release,
    ledger: &Ledger,
    books: Option<&Books>,
    reporting: &Reporting,
    now: UnixMs,
) -> Analysis {
    let beyond = usize::from(release.held_back_stratum().0);
    let stage = if release.state.hold_back().is_zero() { release.state.serving_stage().unwrap_or(0) } else { beyond };
    let look = Look { release, ledger, books, reporting, stage, now };
    let findings = finding::findings(&look);
    let line = books.map_or(f64::INFINITY, |books| books.alpha().guardrails_line());
    let rollback = findings
        .iter()
        .filter(|finding| finding.role == Role::Guardrail)
        .map(|finding| finding.rollback.log)
        .fold(NO_EVIDENCE, f64::max);
    Analysis {
        at: now,
        stage,
        rollback: Evidence { log: rollback, line },
        guilty: guilty(&findings),
        limits_exceeded: limits_exceeded(&findings),
        tripped: tripped(&look),
        posted: look.posted(),
        exposed: ledger.totals().exposed_in_all(),
        harmed: harmed(&look),
        extra_cost_usd: extra_cost(&look),
        costs: costs(&look),
        climb: books.and_then(Books::climb),
        drifts: books.map_or(release.drifts.len(), Books::drifts),
        quality: quality::quality(&look),
        sentinels: sentinels::findings(&look),
        judges: judges::findings(&look),
        shadow: shadow::finding(&look),
        readiness: Readiness::default(),
        findings,
    }
}

impl Look<'_> {
    /// Sessions of the stage (of all rungs of its ramp) with their session number posted.
    pub(super) fn posted(&self) -> ArmCounts {
        let mut posted = ArmCounts::default();
        for stage in self.release.plan.rungs(self.stage) {
            let stratum = u16::try_from(stage).map(Stratum).ok();
            let counts = stratum.and_then(|stratum| self.ledger.totals().posted.get(&stratum).copied());
            let counts = counts.unwrap_or_default();
            posted.control += counts.control;
            posted.canary += counts.canary;
        }
        posted
    }
}

fn guilty(findings: &[Finding]) -> Vec<Metric> {
    let mut guilty: Vec<&Finding> =
        findings.iter().filter(|finding| finding.role == Role::Guardrail && finding.rollback.reached()).collect();
    guilty.sort_by(|a, b| b.rollback.log.total_cmp(&a.rollback.log));
    guilty.into_iter().map(|finding| finding.metric.clone()).collect()
}

fn limits_exceeded(findings: &[Finding]) -> Vec<LimitFinding> {
    let exceeded = |finding: &Finding| {
        let evidence = finding.limit.filter(|limit| limit.reached())?;
        // Where stable is as sick, a rollback would not help: the release is held, and that is told.
        if finding.is_sick_in_stable() {
            return None;
        }
        (finding.role == Role::Guardrail).then(|| LimitFinding { metric: finding.metric.clone(), evidence })
    };
    findings.iter().filter_map(exceeded).collect()
}

fn tripped(look: &Look<'_>) -> Option<String> {
    let run = look.ledger.totals().runs.longest()?;
    look.release.policy.tripwires.iter().find_map(|tripwire| match tripwire {
        Tripwire::ConsecutiveFailures(bound) if run.length >= (*bound).max(1) => {
            let control = match run.control_answered + run.control_failed {
                0 => "with no control beside it".to_owned(),
                all => format!("while control answered {} of {all}", run.control_answered),
            };
            let failed = format!("{} canary requests in a row failed by the version's fault", run.length);
            Some(format!("{failed} (tripwire at {bound}), {control}"))
        }
        Tripwire::ConsecutiveFailures(_) => None,
    })
}

/// The worst guardrail's excess of bad canary sessions over control's rate, in sessions.
fn harmed(look: &Look<'_>) -> Interval {
    let watches = look.books.map(Books::watches).unwrap_or_default();
    let counts_sessions = |kind: Kind| match kind {
        Kind::Rate | Kind::Exceedance | Kind::Score => true,
        Kind::Amount | Kind::Ratio => false,
    };
    let numbers = watches
        .iter()
        .filter(|watch| watch.role() == Role::Guardrail && counts_sessions(watch.metric().kind()))
        .flat_map(|watch| &watch.numbers);
    let worst = numbers.max_by(|a, b| a.seen.excess().total_cmp(&b.seen.excess()));
    worst.and_then(|watched| watched.excess(1.0)).unwrap_or_default()
}

/// What the canary's sessions cost beyond control's, in US dollars.
fn extra_cost(look: &Look<'_>) -> Option<Interval> {
    let cap = *look.ledger.yardstick()?.cap.get(&Metric::CostPerSession)?;
    look.books?.cost()?.last()?.excess(cap)
}

/// What both arms have cost, over all that they had.
fn costs(look: &Look<'_>) -> Option<Costs> {
    let totals = look.ledger.totals();
    let sessions = totals.exposed_in_all();
    let costs = Costs { control: totals.control.costs(sessions.control), canary: totals.canary.costs(sessions.canary) };
    (costs.control.per_request.is_some() || costs.canary.per_request.is_some()).then_some(costs)
}
