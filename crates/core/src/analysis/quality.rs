//! The state of the evidence itself: split, staleness, drops, one customer who is all of them.

use crate::analysis::gauging::Watch;
use crate::analysis::look::Look;
use crate::analysis::words::{grouped, percent};
use crate::analysis::{ArmCounts, Books, Evidence, Quality};
use crate::evidence::Totals;
use crate::release::plan::Stage;
use crate::release::policy::Role;
use crate::release::state::Release;
use crate::release::words::against_line;
use crate::traffic::pin::Stratum;
use coalmine_stats::srm;

/// The evidence is void at E = 1000 against the weights.
const SPLIT_LINE: f64 = 1_000.0;
/// How near to the weights a mismatch is looked for.
const CONCENTRATION: f64 = 100.0;
/// More than this share of dropped turns holds.
const DROPPED: f64 = 0.01;
/// More than this share of all requests from one unit holds promotion …
const HEAVY: f64 = 0.01;
/// … once there are this many requests, and the unit sends this many times what others do.
const HEAVY_REQUESTS: u64 = 1_000;
const HEAVY_TIMES: f64 = 10.0;
/// Sessions per arm before missing numbers are compared.
const MISSING_FROM: u64 = 100;

/// Everything that holds, and everything that is odd.
pub(super) fn quality(look: &Look<'_>) -> Quality {
    let totals = look.ledger.totals();
    let (split, named) = split(totals, look.release);
    let dropped = totals.control.dropped + totals.canary.dropped;
    let heaviest_unit_share = share(totals.heaviest_requests, totals.requests());
    let mut quality = Quality {
        split: Some(split),
        complete_to: look.reporting.complete_to,
        dropped,
        heaviest_unit_share,
        ..Quality::default()
    };
    quality.holds.extend(stale(look));
    if split.reached() {
        quality.holds.push(format!(
            "the arms do not have the shares that the weights give them, {named} ({}): the evidence is void",
            against_line(split)
        ));
    }
    let lost = share(dropped, totals.requests() + dropped);
    if lost > DROPPED {
        quality.holds.push(format!(
            "{} of {} turns were dropped ({}), {} of the canary's",
            grouped(dropped),
            grouped(totals.requests() + dropped),
            percent(lost),
            grouped(totals.canary.dropped)
        ));
    }
    quality.promotion_holds.extend(heavy(totals, heaviest_unit_share));
    let watches = look.books.map(Books::watches).unwrap_or_default();
    quality.promotion_holds.extend(watches.iter().filter_map(gone_missing));
    quality.warnings = warnings(totals);
    for watch in watches {
        let Some(differs) = differs_from_itself(watch) else { continue };
        match watch.role() {
            Role::Guardrail => quality.holds.push(differs),
            Role::Signal | Role::DryRun => quality.warnings.push(differs),
        }
    }
    quality
}

/// The sample ratio over all strata, and the worst of them in words.
fn split(totals: &Totals, release: &Release) -> (Evidence, String) {
    let mut sum = 0.0;
    let mut worst = (f64::NEG_INFINITY, String::new());
    for (stratum, counts) in &totals.split {
        let matched = totals.matched.get(stratum).copied();
        let Some(log) = log_of(*stratum, *counts, matched, release) else { continue };
        sum += log;
        if log > worst.0 {
            let stage = release.plan.stages.get(usize::from(stratum.0));
            let label = stage.map_or_else(|| "beside those held back".to_owned(), Stage::label);
            let canary = share(counts.canary, counts.canary + counts.control);
            let n = grouped(counts.canary + counts.control);
            worst =
                (log, format!("stage {} ({}) has {} canary of {n} sessions", stratum.0 + 1, label, percent(canary)));
        }
    }
    (Evidence { log: sum, line: SPLIT_LINE.ln() }, worst.1)
}

/// Over three arms where a matched control is cut from the control, and something is left of that.
fn log_of(stratum: Stratum, counts: ArmCounts, matched: Option<u64>, release: &Release) -> Option<f64> {
    let canary = release.weight_of(stratum)?.share();
    let rest = 1.0 - 2.0 * canary;
    let log = match matched {
        Some(matched) if rest > 0.0 => srm::log_e(
            &[counts.control.saturating_sub(matched), matched, counts.canary],
            &[rest, canary, canary],
            CONCENTRATION,
        ),
        Some(_) | None => srm::log_e(&[counts.control, counts.canary], &[1.0 - canary, canary], CONCENTRATION),
    };
    log.ok()
}

fn stale(look: &Look<'_>) -> Option<String> {
    let age = look.now.since(look.reporting.complete_to);
    (age > look.reporting.stale_after).then(|| {
        format!(
            "the gateways' reports are {} s old, at most {} s is borne",
            age.0 / 1_000,
            look.reporting.stale_after.0 / 1_000
        )
    })
}

fn heavy(totals: &Totals, heaviest_share: f64) -> Option<String> {
    let exposed = totals.exposed_in_all();
    let usual = totals.requests() as f64 / (exposed.control + exposed.canary).max(1) as f64;
    let stands_out = totals.heaviest_requests as f64 >= HEAVY_TIMES * usual;
    (totals.requests() >= HEAVY_REQUESTS && heaviest_share > HEAVY && stands_out).then(|| {
        format!(
            "one session id has {} of the release's {} requests ({}): is it a constant?",
            grouped(totals.heaviest_requests),
            grouped(totals.requests()),
            percent(heaviest_share)
        )
    })
}

/// Control against itself. It holds what goes forward, for then a metric speaks of its customers and not of its
/// versions; it never holds a rollback back: no canary makes control's halves differ, and one sick customer must not
/// be able to keep a bad canary in service.
fn differs_from_itself(watch: &Watch) -> Option<String> {
    let check = watch.self_check().filter(|check| check.reached())?;
    Some(format!(
        "two halves of control's own customers differ in {} by more than its margin ({}): look for one that is sick",
        watch.metric(),
        against_line(check)
    ))
}

/// A metric that far fewer canary sessions than control's have.
fn gone_missing(watch: &Watch) -> Option<String> {
    let seen = watch.last()?.seen;
    let all = |known: u64, missing: u64| known + missing;
    let (canary, control) =
        (all(seen.known.canary, seen.missing.canary), all(seen.known.control, seen.missing.control));
    let (of_canary, of_control) = (share(seen.known.canary, canary), share(seen.known.control, control));
    (canary.min(control) >= MISSING_FROM && of_canary < 0.5 * of_control).then(|| {
        format!(
            "{} is known of {} of the canary's sessions and of {} of control's",
            watch.metric(),
            percent(of_canary),
            percent(of_control)
        )
    })
}

fn warnings(totals: &Totals) -> Vec<String> {
    let mut warnings = Vec::new();
    if share(totals.late_turns, totals.requests()) > DROPPED {
        warnings.push(format!("{} turns came after their session's numbers were posted", grouped(totals.late_turns)));
    }
    if totals.late_feedback > 0 {
        warnings.push(format!(
            "{} scores came later than the age at which their sessions are counted",
            grouped(totals.late_feedback)
        ));
    }
    if totals.unusable_feedback > 0 {
        warnings.push(format!("{} scores were no number within 0 and 1", grouped(totals.unusable_feedback)));
    }
    if totals.contradictions > 0 {
        warnings
            .push(format!("{} turns or scores contradict their session's exposure", grouped(totals.contradictions)));
    }
    warnings.extend(totals.openings.told());
    warnings
}

fn share(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}
