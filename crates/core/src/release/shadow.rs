//! The shadow: requests are mirrored and nobody is exposed, until what the pairs show rolls back or lets it on.

use crate::analysis::{Analysis, PairedFinding, ShadowFinding};
use crate::id::Actor;
use crate::release::causes;
use crate::release::forward::DOUBT;
use crate::release::moves;
use crate::release::policy::Role;
use crate::release::preflight;
use crate::release::report::{Report, Step, Waiting};
use crate::release::state::Release;
use crate::release::words;
use crate::time::UnixMs;

/// A person opens the first stage without waiting for what the shadow shows.
pub(super) fn advance_by_hand(release: &Release, actor: &Actor, reason: &str, now: UnixMs) -> Step {
    let stage = moves::stage_of(release, 0);
    let headline = format!("advanced by {actor} without waiting for the shadow: {stage}{}", words::given(reason));
    moves::begin(release, headline, now)
}

/// A look at what is in its shadow since `since`.
pub(super) fn look(release: &Release, analysis: &Analysis, since: UnixMs, now: UnixMs) -> Step {
    if let Some(why) = causes::sentinel(analysis).or_else(|| causes::shadow(analysis)) {
        return moves::roll_back(release, why, now);
    }
    let missing = missing(release, analysis, since, now);
    let warnings = warnings(analysis);
    if missing.is_empty() {
        let sessions = analysis.shadow.as_ref().map_or(0, |shadow| shadow.sessions);
        let stage = moves::stage_of(release, 0);
        let headline = format!("{sessions} mirrored sessions, nothing is against it: {stage}");
        let mut step = moves::begin(release, headline, now);
        step.report.warnings.extend(warnings);
        return step;
    }
    let first = missing.first().map_or_else(String::new, |waiting| waiting.describe(now));
    let more = missing.len().saturating_sub(1);
    let and_more = if more == 0 { String::new() } else { format!(", and {more} more") };
    let headline = format!("in its shadow, nobody is exposed; waits for {first}{and_more}");
    moves::hold(release, Report { headline, waiting_for: missing, warnings })
}

/// What the first stage still needs: time, sessions, sentinels, no freeze, and no pairs that speak against it.
fn missing(release: &Release, analysis: &Analysis, since: UnixMs, now: UnixMs) -> Vec<Waiting> {
    let mut missing = Vec::new();
    if let Some(shadow) = &release.policy.shadow {
        let until = since + shadow.length;
        if now < until {
            missing.push(Waiting::Bake { until });
        }
        let (have, need) = (analysis.shadow.as_ref().map_or(0, |seen| seen.sessions), shadow.min_sessions.max(1));
        if have < need {
            missing.push(Waiting::Mirrored { have, need });
        }
    }
    missing.extend(analysis.shadow.iter().flat_map(|seen| &seen.findings).filter_map(objection));
    missing.extend(analysis.shadow.iter().filter_map(unlike));
    missing.extend(preflight::unpassed(release, analysis));
    missing.extend(release.policy.frozen_until(now).map(|until| Waiting::Freeze { until }));
    missing.extend(preflight::unready(analysis));
    missing
}

/// A signal that is proven worse holds; evidence against a guardrail that may yet roll it back is waited for, and so is
/// a judge that has not said enough.
fn objection(finding: &PairedFinding) -> Option<Waiting> {
    let against = match finding.role {
        Role::Guardrail => finding.standing >= DOUBT.ln(),
        Role::Signal => finding.rollback.reached(),
        Role::DryRun => false,
    };
    let waits = |why| Waiting::Guardrail { metric: finding.metric.to_string(), why };
    let lacks = || finding.lacks.clone().filter(|_| finding.role != Role::DryRun).map(waits);
    let said = against.then(|| {
        let evidence = words::e_value(finding.standing);
        waits(format!("{}; evidence against it stands at {evidence}", finding.reason))
    });
    said.or_else(lacks)
}

/// A declared bar that is not cleared is waited for; it never rolls back.
fn unlike(seen: &ShadowFinding) -> Option<Waiting> {
    let why = seen.similarity.as_ref()?.lacks.clone()?;
    Some(Waiting::Guardrail { metric: "similarity".to_owned(), why })
}

fn warnings(analysis: &Analysis) -> Vec<String> {
    let mut warnings = preflight::warnings(analysis);
    let Some(shadow) = &analysis.shadow else { return warnings };
    for finding in shadow.findings.iter().filter(|finding| finding.role == Role::DryRun && finding.rollback.reached()) {
        warnings.push(format!("{} would count against it (dry run): {}", finding.metric, finding.reason));
    }
    warnings.extend(lost(shadow));
    warnings
}

/// What was not mirrored, once it is more than a tenth.
fn lost(shadow: &ShadowFinding) -> Option<String> {
    let lost = shadow.lost.sum();
    let whole = lost + shadow.pairs + shadow.void;
    (lost * 10 > whole).then(|| {
        let by = shadow.lost;
        let unanswered = match by.unanswered {
            0 => String::new(),
            count => format!(", {count} that no person has answered within a day"),
        };
        format!(
            "{lost} of {whole} requests of mirrored sessions were not compared: {} while too many were under way, {} \
             beyond the day's budget, {} that the canary cannot be asked, {} lost to a full queue{unanswered}",
            by.busy, by.budget, by.unfit, by.queue
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Verdict;
    use crate::release::decide::{decide, legal};
    use crate::release::effect::Effect;
    use crate::release::event::{Command, Event};
    use crate::release::example::{self as ex, MONDAY, by, look, reason};
    use crate::release::report::Decision;
    use crate::release::state::{CauseKind, Cover, State};
    use crate::time::SpanMs;
    use crate::traffic::table::{RouteFacts, build, exposures, versions_needed};
    use crate::version::{Version, VersionId};
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn draft() -> Release {
        let mut release = ex::release();
        release.policy.shadow = Some(ex::shadow());
        release
    }

    fn shadowed() -> Release {
        Release { state: State::Shadow { since: MONDAY }, ..draft() }
    }

    fn step(release: &Release, event: &Event, hours: u64) -> Step {
        decide(release, event, MONDAY + SpanMs::hours(hours)).unwrap()
    }

    fn seen(standing: f64, peak: f64) -> Event {
        look(ex::mirrored(ex::seen(0, Verdict::NoData), standing, peak))
    }

    #[test]
    fn a_shadow_comes_before_the_first_stage_and_exposes_nobody() {
        let begun = step(&draft(), &by(Command::Start), 0);
        assert_eq!((&begun.decision, &begun.next.state), (&Decision::Shadow, &State::Shadow { since: MONDAY }));
        assert_eq!((begun.next.started_at, exposures(&begun.next)), (None, Vec::new()));
        assert_eq!(begun.effects, [Effect::Publish { route: begun.next.route.clone() }]);
        assert_eq!(begun.report.headline, "started by alice: 20 % of the sessions are mirrored for 2h");
        assert_eq!(legal(&begun.next, MONDAY), ["advance", "drift", "rollback"]);

        let young = step(&shadowed(), &seen(-0.4, 0.2), 1);
        assert_eq!(young.decision, Decision::Hold);
        assert_eq!(young.report.headline, "in its shadow, nobody is exposed; waits for 1h more of bake");
        let passed = step(&shadowed(), &seen(-0.4, 0.2), 2);
        assert_eq!((&passed.decision, passed.next.started_at), (&Decision::Start, Some(MONDAY + SpanMs::hours(2))));
        assert!(passed.report.headline.starts_with("60 mirrored sessions, nothing is against it: stage 1 of 3"));
    }

    #[test]
    fn what_is_proven_in_the_shadow_rolls_back_before_anybody_is_exposed() {
        let rolled = step(&shadowed(), &seen(7.4, 7.4), 1);
        let Decision::Rollback { why } = &rolled.decision else { panic!("{:?}", rolled.decision) };
        assert_eq!((why.kind(), why.cover()), (CauseKind::Shadow, Cover::Shadow));
        assert!(
            why.describe()
                .starts_with("error_rate proven worse than stable in the shadow, by copies that answered nobody")
        );
        assert_eq!((rolled.next.started_at, exposures(&rolled.next)), (None, Vec::new()));
    }

    /// Its last sessions are counted when it is over; what they prove rolls back.
    #[test]
    fn what_is_proven_of_the_shadow_after_its_end_rolls_back_too() {
        let running = Release { state: State::Running { stage: 0, entered_at: MONDAY }, ..draft() };
        let entered_at = MONDAY;
        let paused = State::Paused {
            by: crate::release::state::PauseCause::Undecided,
            resume_to: crate::release::state::Resume { stage: 0, entered_at, paused_at: entered_at },
        };
        let found = |peak| look(ex::mirrored(ex::seen(0, Verdict::Inconclusive), -0.4, peak));
        for release in [running.clone(), Release { state: paused, ..running }] {
            let late = step(&release, &found(7.4), 1);
            let Decision::Rollback { why } = &late.decision else { panic!("{:?}", late.decision) };
            assert_eq!(why.kind(), CauseKind::Shadow);
            assert!(!matches!(step(&release, &found(6.9), 1).decision, Decision::Rollback { .. }));
        }
    }

    #[test]
    fn doubt_and_too_few_sessions_hold() {
        let doubtful = step(&shadowed(), &seen(1.4, 2.0), 3);
        assert!(
            matches!(&doubtful.report.waiting_for[..], [Waiting::Guardrail { metric, .. }] if metric == "error_rate")
        );
        let mut few = ex::mirrored(ex::seen(0, Verdict::NoData), -0.4, 0.0);
        few.shadow.as_mut().unwrap().sessions = 49;
        let few = step(&shadowed(), &look(few), 3);
        assert_eq!(few.report.waiting_for, [Waiting::Mirrored { have: 49, need: 50 }]);
        let unseen = step(&shadowed(), &look(ex::seen(0, Verdict::Healthy)), 3);
        assert_eq!(unseen.report.waiting_for, [Waiting::Mirrored { have: 0, need: 50 }], "no pairs are no pass");
    }

    /// A judge that is away keeps the first stage waiting, and rolls nothing back however long it is.
    #[test]
    fn a_judge_that_has_not_said_enough_is_waited_for() {
        let mut silent = ex::mirrored(ex::seen(0, Verdict::NoData), -0.4, 0.0);
        silent.shadow.as_mut().unwrap().findings[0].lacks = Some("judge better does not answer (503)".to_owned());
        for hours in [3, 300] {
            let held = step(&shadowed(), &look(silent.clone()), hours);
            let [Waiting::Guardrail { why, .. }] = &held.report.waiting_for[..] else { panic!("{held:?}") };
            assert_eq!((held.decision, why.as_str()), (Decision::Hold, "judge better does not answer (503)"));
        }
        silent.shadow.as_mut().unwrap().findings[0].role = Role::DryRun;
        assert_eq!(step(&shadowed(), &look(silent), 3).decision, Decision::Start);
    }

    #[test]
    fn a_person_may_open_the_first_stage_or_end_it() {
        let opened = step(&shadowed(), &by(Command::Advance { reason: reason() }), 0);
        assert_eq!(opened.next.state, State::Running { stage: 0, entered_at: MONDAY });
        let ended = step(&shadowed(), &by(Command::Rollback { reason: reason() }), 0);
        assert!(matches!(ended.next.state, State::RollingBack { .. }));
        let refused = decide(&shadowed(), &by(Command::Pause), MONDAY).unwrap_err();
        assert_eq!(refused.to_string(), "cannot pause a release that is shadow; legal now: advance, drift, rollback");
    }

    #[test]
    fn what_is_lost_is_told() {
        let mut lossy = ex::mirrored(ex::seen(0, Verdict::NoData), -0.4, 0.0);
        lossy.shadow.as_mut().unwrap().lost.busy = 20;
        let held = step(&shadowed(), &look(lossy), 1);
        assert!(held.report.warnings[0].starts_with("20 of 112 requests of mirrored sessions were not compared"));
    }

    /// The table names the canary for copies only: no session is ever sent to it.
    #[test]
    fn the_table_mirrors_and_exposes_nobody() {
        let release = shadowed();
        let table = |release: &Release| {
            let releases = [release.clone()];
            let facts = RouteFacts {
                route: &release.route,
                stable: release.stable,
                releases: &releases,
                remember: SpanMs::hours(24),
            };
            let versions: BTreeMap<VersionId, Arc<Version>> = versions_needed(&facts, MONDAY)
                .into_iter()
                .map(|id| (id, Arc::new(ex::judge("any").version)))
                .collect();
            build(&facts, &versions, release.generation, MONDAY).unwrap()
        };
        let served = table(&release);
        assert!(served.release.is_none() && served.versions.contains_key(&release.canary));
        let shadow = served.shadow.unwrap();
        assert_eq!((shadow.canary, &*shadow.id, &shadow.shadow), (release.canary, &release.id, &ex::shadow()));
        let rolled = step(&release, &by(Command::Rollback { reason: reason() }), 0).next;
        assert_eq!((table(&rolled).shadow, table(&rolled).revoked), (None, Vec::new()));
    }
}
