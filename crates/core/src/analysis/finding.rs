//! One guardrail's finding: the verdict, and why, in words with numbers.

use crate::analysis::gauging::{Seen, Watch, Watched};
use crate::analysis::judges;
use crate::analysis::look::Look;
use crate::analysis::words;
use crate::analysis::{ArmCounts, Evidence, Finding, Interval, SliceFinding, Verdict};
use crate::evidence::Yardstick;
use crate::evidence::totals::ArmTotals;
use crate::metric::{Kind, Metric, Number};
use crate::origin::Slice;
use crate::release::policy::{ControlArm, Guardrail};
use crate::time::{SpanMs, UnixMs};

/// log E of something that was never tested.
pub(super) const NO_EVIDENCE: f64 = f64::NEG_INFINITY;
/// How long a warm-up may last before its silence counts.
const WARM_UP: SpanMs = SpanMs::minutes(5);

/// One finding per guardrail, in the order of the policy.
pub(super) fn findings(look: &Look<'_>) -> Vec<Finding> {
    let guardrails = look.release.policy.guardrails.iter();
    match (look.books, look.ledger.yardstick()) {
        (Some(books), Some(yardstick)) => guardrails
            .zip(books.watches())
            .map(|(guardrail, watch)| Reading { look, guardrail, watch, yardstick }.finding())
            .collect(),
        (None, _) | (_, None) => guardrails.map(|guardrail| warming_up(look, guardrail)).collect(),
    }
}

/// A guardrail before there is a yardstick.
fn warming_up(look: &Look<'_>, guardrail: &Guardrail) -> Finding {
    let started_at = look.release.started_at.unwrap_or(look.release.created_at);
    let waited = look.now.since(started_at + WARM_UP + look.release.policy.ages.first);
    let seen = &look.ledger.totals().warm_up.sessions;
    let (verdict, reason) = if waited > guardrail.no_data.grace {
        let grace = guardrail.no_data.grace;
        (
            Verdict::NoData,
            format!(
                "too little of stable was seen to measure by, {} sessions, for longer than the grace of {grace}",
                seen.control
            ),
        )
    } else {
        (
            Verdict::Inconclusive,
            format!(
                "warming up: {} canary and {} control sessions seen, none of them counted",
                seen.canary, seen.control
            ),
        )
    };
    Finding {
        metric: guardrail.metric.clone(),
        role: guardrail.role,
        verdict,
        number: last_number(&guardrail.metric),
        control: None,
        canary: None,
        difference: None,
        n: ArmCounts::default(),
        missing: ArmCounts::default(),
        silent: SpanMs::ZERO,
        rollback: Evidence { log: NO_EVIDENCE, line: f64::INFINITY },
        standing: NO_EVIDENCE,
        promote: Evidence { log: NO_EVIDENCE, line: f64::INFINITY },
        limit: None,
        control_limit: None,
        self_check: None,
        slices: Vec::new(),
        reason,
    }
}

fn last_number(metric: &Metric) -> Number {
    metric.numbers().last().map_or(Number::Session, |(number, _)| *number)
}

/// One guardrail at one look.
struct Reading<'a> {
    look: &'a Look<'a>,
    guardrail: &'a Guardrail,
    watch: &'a Watch,
    yardstick: &'a Yardstick,
}

impl Reading<'_> {
    fn finding(&self) -> Finding {
        let (canary, control) = self.values().unzip();
        let seen = self.watch.last().map(|last| last.seen).unwrap_or_default();
        let verdict = self.verdict();
        Finding {
            metric: self.guardrail.metric.clone(),
            role: self.guardrail.role,
            verdict,
            number: last_number(&self.guardrail.metric),
            control,
            canary,
            difference: self.difference(),
            n: seen.known,
            missing: self.missing(seen.missing),
            silent: self.quiet().map_or(SpanMs::ZERO, |(_, silent)| silent),
            rollback: self.watch.rollback(),
            standing: self.watch.standing(),
            promote: self.watch.promote(),
            limit: self.watch.limit(),
            control_limit: self.watch.control_limit(),
            self_check: self.watch.self_check(),
            slices: self.slices(),
            reason: self.reason(verdict),
        }
    }

    /// With the sessions of buckets that wait for a number in both arms: where all are missing, none ever seals. Only of
    /// times and amounts: a session may well have no tool call and no score.
    fn missing(&self, sealed: ArmCounts) -> ArmCounts {
        let metric = &self.guardrail.metric;
        let of_every_session = match metric.kind() {
            Kind::Exceedance | Kind::Amount | Kind::Ratio => true,
            Kind::Rate | Kind::Score => false,
        };
        let totals = Some(self.look.ledger.totals()).filter(|_| of_every_session);
        let waiting = totals.into_iter().flat_map(|totals| totals.waiting(last_number(metric), metric));
        let unknown = |counts: &[u64]| counts.last().copied().unwrap_or(0);
        waiting.fold(sealed, |sum, arms| ArmCounts {
            control: sum.control + unknown(&arms.control),
            canary: sum.canary + unknown(&arms.canary),
        })
    }

    fn verdict(&self) -> Verdict {
        if self.watch.fault().is_some() {
            return Verdict::Error;
        }
        if self.watch.is_regressed() {
            return Verdict::Regressed;
        }
        if self.held_judge().is_some() || self.silence().is_some() || self.unheard().is_some() {
            return Verdict::NoData;
        }
        if self.leaves_control() && self.has_minimum() && self.watch.promote().reached() {
            return Verdict::Healthy;
        }
        Verdict::Inconclusive
    }

    /// Why no scores are to be had of its judge now, where it has one.
    fn held_judge(&self) -> Option<String> {
        judges::held(self.look, self.look.release.policy.judge(self.guardrail.metric.judge()?)?)
    }

    /// The number that has been silent for longer than the grace, and for how long.
    fn silence(&self) -> Option<(Number, SpanMs)> {
        self.quiet().filter(|(_, silent)| *silent > self.guardrail.no_data.grace)
    }

    /// The number that has been silent for longest beyond its age, and for how long.
    fn quiet(&self) -> Option<(Number, SpanMs)> {
        let policy = &self.look.release.policy;
        let from = self.yardstick.frozen_at.max(self.look.release.started_at.unwrap_or_default());
        let quiet = self.watch.numbers.iter().map(|watched| {
            let last = watched.seen.last.map_or(from, |last| last.max(from));
            let due: UnixMs = last + policy.bucket + policy.age(&self.guardrail.metric, watched.number);
            (watched.number, self.look.now.since(due))
        });
        quiet.max_by_key(|(_, silent)| *silent)
    }

    /// For how long nobody has rated: sessions without a thumbs-down are good only where somebody speaks.
    fn unheard(&self) -> Option<SpanMs> {
        let Metric::ThumbsDown(name) = &self.guardrail.metric else { return None };
        let from = self.yardstick.frozen_at.max(self.look.release.started_at.unwrap_or_default());
        let first = from + self.look.release.policy.age(&self.guardrail.metric, Number::Whole);
        let last = self.look.ledger.totals().heard.get(name).copied();
        let silent = self.look.now.since(last.unwrap_or(first));
        (silent > self.guardrail.no_data.grace).then_some(silent)
    }

    fn leaves_control(&self) -> bool {
        self.look.release.plan.stages.get(self.look.stage).is_none_or(crate::release::plan::Stage::leaves_control)
    }

    fn minimum(&self) -> u64 {
        self.look.release.plan.stages.get(self.look.stage).map_or(0, |stage| stage.min_sessions)
    }

    fn has_minimum(&self) -> bool {
        self.look.posted().canary >= self.minimum()
    }

    /// The difference in badness with its bounds.
    fn difference(&self) -> Option<Interval> {
        let last = self.watch.last()?;
        let (canary, control) = last.seen.means()?;
        let mut band = last.band.around(canary - control, control);
        // What promotion had excluded is given up.
        if self.watch.drifted_at().is_some() {
            band.high = 1.0;
        }
        Some(band)
    }

    /// The canary's and control's values in the metric's own unit: the p95 in milliseconds for a
    /// quantile metric, which is tested as the share beyond a threshold.
    fn values(&self) -> Option<(f64, f64)> {
        let metric = &self.guardrail.metric;
        if metric.kind() == Kind::Exceedance {
            let totals = self.look.ledger.totals();
            let matched = match self.guardrail.control {
                ControlArm::All => None,
                ControlArm::Matched => Some(totals.matched_times.as_ref()?),
            };
            let (canary, control) = if metric.is_of_first_content() {
                (&totals.canary.ttft_ms, matched.map_or(&totals.control.ttft_ms, |times| &times.ttft_ms))
            } else {
                (&totals.canary.latency_ms, matched.map_or(&totals.control.latency_ms, |times| &times.latency_ms))
            };
            let quantile = metric.quantile()?;
            return canary.quantile(quantile).zip(control.quantile(quantile));
        }
        if let Some(per) = metric.per() {
            let totals = self.look.ledger.totals();
            let price = |arm: &ArmTotals| arm.price(per);
            return price(&totals.canary).zip(price(&totals.control));
        }
        let (canary, control) = self.watch.last()?.seen.means()?;
        words::own(metric, canary, self.yardstick).zip(words::own(metric, control, self.yardstick))
    }

    /// Each slice; of a quantile metric the share beyond the threshold, for its times are not kept by slice.
    fn slices(&self) -> Vec<SliceFinding> {
        let Some(last) = self.watch.last() else { return Vec::new() };
        let metric = &self.guardrail.metric;
        let shown = |badness: f64| match metric.kind() {
            Kind::Exceedance => Some(badness),
            Kind::Rate | Kind::Amount | Kind::Score | Kind::Ratio => words::own(metric, badness, self.yardstick),
        };
        let finding = |(slice, seen): (&Slice, &Seen)| {
            let (canary, control) = seen.means().unzip();
            SliceFinding {
                name: slice.name(&self.yardstick.apart),
                control: control.and_then(shown),
                canary: canary.and_then(shown),
                n: seen.known,
            }
        };
        last.slices.iter().map(finding).collect()
    }

    fn reason(&self, verdict: Verdict) -> String {
        let measured = self.measured();
        let conclusion = match verdict {
            Verdict::Error => format!("cannot be judged: {}", self.watch.fault().unwrap_or_default()),
            Verdict::Regressed => self.regressed(),
            Verdict::NoData => self.silent(),
            Verdict::Healthy => {
                format!("proven {}, {}", self.within(), words::evidence(self.watch.promote()))
            }
            Verdict::Inconclusive => self.inconclusive(),
        };
        let limit = self
            .watch
            .limit()
            .filter(|limit| limit.reached())
            .map_or(String::new(), |limit| format!("; proven above its limit, {}", words::evidence(limit)));
        let stable = self
            .watch
            .control_limit()
            .filter(|limit| limit.reached())
            .map_or(String::new(), |limit| format!("; stable itself above that limit, {}", words::evidence(limit)));
        format!("{measured}{conclusion}{limit}{stable}")
    }

    /// `4.1 % against 2 %, worse by 2.1 pp (0.9 to 3.4), n 812 / 15 430: `
    fn measured(&self) -> String {
        let Some(last) = self.watch.last() else { return String::new() };
        let metric = &self.guardrail.metric;
        let Some((canary, control)) = self.values() else {
            return if last.seen.known == ArmCounts::default() {
                String::new()
            } else {
                format!("{}: ", words::n(last.seen.known))
            };
        };
        let mut text = format!("{} against {}", words::value(metric, canary), words::value(metric, control));
        if let (Kind::Exceedance, Some((canary, control)), Some(tau)) =
            (metric.kind(), last.seen.means(), self.yardstick.tau_ms.get(metric))
        {
            text.push_str(&format!(
                ", beyond {} ms {} against {} beyond {} ms",
                crate::release::words::number(tau * self.guardrail.promote.ratio),
                words::percent(canary),
                words::percent(control),
                crate::release::words::number(*tau)
            ));
        }
        if let Some(worse_by) = self.difference().and_then(|d| words::worse_by(metric, d, self.yardstick)) {
            text.push_str(&format!(", {worse_by}"));
        }
        let matched = match self.guardrail.control {
            ControlArm::All => "",
            ControlArm::Matched => " of a matched control",
        };
        format!("{text}, {}{matched}{}: ", words::n(last.seen.known), missing(last))
    }

    fn regressed(&self) -> String {
        let beyond = match words::tolerated(&self.guardrail.metric, self.guardrail.rollback) {
            Some(tolerated) => format!("proven worse than the tolerated {tolerated}"),
            None => "proven worse than control".to_owned(),
        };
        match self.watch.recovery() {
            Some(recovery) => {
                format!("{beyond}; until it is proven {} again, {}", self.within(), words::evidence(recovery))
            }
            None => format!("{beyond}{}, {}", self.on_another_number(), words::evidence(self.watch.rollback())),
        }
    }

    /// ` on the first request (7.1 % against 0.6 %, n 84 / 1 612)`, where another number than the one shown
    /// proved it: beside the shown one alone a proof can look like its contrary.
    fn on_another_number(&self) -> String {
        let Some(loudest) = self.watch.loudest() else { return String::new() };
        if self.watch.last().is_some_and(|shown| shown.number == loudest.number) {
            return String::new();
        }
        let what = match loudest.number {
            Number::First => "the first request",
            Number::Session => "the first requests",
            Number::Whole => "the whole session",
        };
        let metric = &self.guardrail.metric;
        let shown = |badness: f64| match metric.kind() {
            Kind::Exceedance => Some(words::percent(badness)),
            Kind::Rate | Kind::Amount | Kind::Score | Kind::Ratio => {
                words::own(metric, badness, self.yardstick).map(|own| words::value(metric, own))
            }
        };
        let means = loudest.seen.means().and_then(|(canary, control)| shown(canary).zip(shown(control)));
        let numbers = means.map_or(String::new(), |(canary, control)| {
            let beyond = if metric.kind() == Kind::Exceedance { " beyond the threshold" } else { "" };
            format!(" ({canary} against {control}{beyond}, {})", words::n(loudest.seen.known))
        });
        format!(" on {what}{numbers}")
    }

    /// `within +1 pp of control`.
    fn within(&self) -> String {
        match words::tolerated(&self.guardrail.metric, self.guardrail.promote) {
            Some(tolerated) => format!("within {tolerated} of control"),
            None => "better than control".to_owned(),
        }
    }

    fn silent(&self) -> String {
        if let Some(held) = self.held_judge() {
            return format!("insufficient data: {held}");
        }
        let grace = self.guardrail.no_data.grace;
        let Some((number, silent)) = self.silence() else {
            let unheard = self.unheard().map_or(String::new(), |span| rounded(span).to_string());
            return format!("no rating has arrived in either arm for {unheard}, the grace is {grace}");
        };
        format!(
            "no session has posted a known {} number for {} beyond its age, the grace is {grace}",
            number.as_str(),
            rounded(silent)
        )
    }

    fn inconclusive(&self) -> String {
        if !self.leaves_control() {
            return "this stage leaves no control to compare with: only limits, tripwires and sentinels decide"
                .to_owned();
        }
        let Some(last) = self.watch.last().filter(|last| last.seen.known.canary > 0) else {
            let policy = &self.look.release.policy;
            let number = last_number(&self.guardrail.metric);
            return format!(
                "no {} number is posted yet; the first is due {} after exposure",
                number.as_str(),
                policy.age(&self.guardrail.metric, number)
            );
        };
        let (promote, rollback) = (self.watch.promote(), self.watch.rollback());
        if promote.reached() {
            let (posted, minimum) = (self.look.posted().canary, self.minimum());
            return format!(
                "proven {}, but on {posted} of at least {minimum} canary sessions of this stage",
                self.within()
            );
        }
        let _ = last;
        let anew = self.watch.drifted_at().map_or(String::new(), |at| {
            format!(", gathered anew from the sessions after the drift {} ago", rounded(self.look.now.since(at)))
        });
        format!(
            "not yet proven {} ({}{anew}) nor worse ({})",
            self.within(),
            words::evidence(promote),
            words::evidence(rollback)
        )
    }
}

/// `, missing 3 / 40`, where any are.
fn missing(watched: &Watched) -> String {
    let missing = watched.seen.missing;
    if missing == ArmCounts::default() {
        return String::new();
    }
    format!(", missing {} / {}", words::grouped(missing.canary), words::grouped(missing.control))
}

/// To whole seconds below two minutes and to whole minutes beyond.
fn rounded(span: SpanMs) -> SpanMs {
    let step = if span < SpanMs::minutes(2) { 1_000 } else { 60_000 };
    SpanMs(span.0 / step * step)
}
