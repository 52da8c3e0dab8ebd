//! The map, transition by transition.

use super::*;
use crate::analysis::{ArmCounts, Readiness, SentinelFinding, SentinelVerdict, Standing, Verdict};
use crate::metric::Metric;
use crate::release::effect::{Effect, Notice};
use crate::release::example::{self as ex, MONDAY, by, look, reason, running, seen};
use crate::release::policy::{NoDataThen, OnUndecided, Role};
use crate::release::report::{Decision, Waiting};
use crate::release::state::{Condition, DRIFTS_MAX, PauseCause, RollbackCause};
use crate::sentinel::{Criticality, OfflineGate, Sentinels};
use crate::time::SpanMs;

const LATER: UnixMs = UnixMs(MONDAY.0 + 2 * 3_600_000);
const TOO_LATE: UnixMs = UnixMs(MONDAY.0 + 73 * 3_600_000);

fn step(release: &Release, event: &Event, now: UnixMs) -> Step {
    decide(release, event, now).unwrap()
}

fn rollback() -> Event {
    by(Command::Rollback { reason: reason() })
}

#[test]
fn the_main_path_leads_from_draft_to_promoted() {
    let started = step(&ex::release(), &by(Command::Start), MONDAY);
    assert_eq!(started.decision, Decision::Start);
    assert_eq!(started.next.state, State::Running { stage: 0, entered_at: MONDAY });
    assert_eq!(started.next.started_at, Some(MONDAY));

    let asked = step(&started.next, &look(seen(0, Verdict::Inconclusive)), LATER);
    assert_eq!(asked.decision, Decision::AskApproval { stage: 1 });
    let notice = Notice::ApprovalWanted { release: asked.next.id.clone(), of: "oncall".to_owned() };
    assert_eq!(asked.effects, [Effect::Notify(notice)]);

    let approved = step(&asked.next, &by(Command::Approve), LATER);
    assert_eq!(approved.next.state, State::Running { stage: 1, entered_at: LATER });

    let baked = LATER + SpanMs::hours(1);
    let advanced = step(&approved.next, &look(seen(1, Verdict::Inconclusive)), baked);
    assert_eq!(advanced.decision, Decision::Advance { stage: 2 });

    let ready = baked + SpanMs::hours(1);
    let held = step(&advanced.next, &look(seen(2, Verdict::Inconclusive)), ready);
    assert_eq!(held.decision, Decision::Hold);
    let promoting = step(&held.next, &look(seen(2, Verdict::Healthy)), ready);
    assert_eq!(promoting.next.state, State::Promoting { since: ready });
    let route = promoting.next.route.clone();
    let set = Effect::SetStable { route: route.clone(), version: ex::CANARY };
    assert_eq!(promoting.effects, [set, Effect::Publish { route }]);

    let promoted = step(&promoting.next, &Event::Served, ready);
    let keep_until = ready + SpanMs::hours(48);
    assert_eq!(promoted.next.state, State::Promoted { at: ready, keep_until, hold_back: ex::weight(0) });
    assert_eq!(promoted.effects, [Effect::Notify(Notice::Promoted { release: promoted.next.id.clone() })]);
}

#[test]
fn each_cause_rolls_back_wherever_a_stage_is_served() {
    let silent = ex::but(seen(0, Verdict::Healthy), &Metric::ToolCallValid, Verdict::NoData);
    let causes = [ex::guilty(0), ex::over_limit(0), ex::tripped(0), silent];
    let paused = step(&running(0), &by(Command::Pause), MONDAY).next;
    let asked = step(&running(0), &look(seen(0, Verdict::Inconclusive)), LATER).next;
    for cause in causes {
        for serving in [&running(0), &paused, &asked] {
            let rolled = step(serving, &look(cause.clone()), LATER);
            let Decision::Rollback { why } = rolled.decision.clone() else {
                panic!("{:?} in {:?}", rolled.decision, serving.state)
            };
            assert_eq!(rolled.next.revoked_at, Some(LATER));
            let publish = Effect::Publish { route: serving.route.clone() };
            let notice = Notice::RolledBack { release: serving.id.clone(), why };
            assert_eq!(rolled.effects, [publish, Effect::Notify(notice)]);
        }
    }
}

#[test]
fn rollback_outranks_everything_that_holds() {
    let mut release = running(0);
    release.policy.freeze = vec![ex::weekend()];
    let mut analysis = ex::guilty(0);
    analysis.quality.holds = vec!["sample-ratio mismatch".to_owned()];
    analysis.harmed.point = 99.0;
    analysis.posted.canary = 0;
    assert!(matches!(step(&release, &look(analysis), MONDAY).decision, Decision::Rollback { .. }));
    let late = step(&running(2), &look(ex::guilty(2)), TOO_LATE);
    assert!(matches!(late.decision, Decision::Rollback { why: RollbackCause::Guardrail { .. } }));
}

#[test]
fn a_rollback_restores_the_old_stable_while_it_is_kept() {
    let mut promoted = running(2);
    promoted.promoted_at = Some(LATER);
    promoted.state = State::Promoted { at: LATER, keep_until: LATER + SpanMs::hours(48), hold_back: ex::weight(0) };
    let restored = step(&promoted, &rollback(), LATER + SpanMs::hours(47));
    let route = promoted.route.clone();
    let set = Effect::SetStable { route: route.clone(), version: ex::STABLE };
    assert_eq!(restored.effects[..2], [set, Effect::Publish { route }]);
    let refused = decide(&promoted, &rollback(), LATER + SpanMs::hours(48)).unwrap_err();
    assert_eq!(refused, Refused::KeepOver { keep: "2d".to_owned() });
}

#[test]
fn a_second_rollback_is_refused_as_decided() {
    let rolling = step(&running(0), &rollback(), LATER).next;
    let refused = decide(&rolling, &rollback(), LATER).unwrap_err();
    assert_eq!(refused.to_string(), "this release is rolling_back already: asked for by alice (because)");
    let over = step(&rolling, &Event::Served, LATER).next;
    assert_eq!(over.state.word(), "rolled_back");
    assert!(matches!(decide(&over, &rollback(), LATER), Err(Refused::RollbackDecided { .. })));
}

#[test]
fn a_pause_does_not_count_as_bake() {
    let paused = step(&running(0), &by(Command::Pause), MONDAY + SpanMs::minutes(30)).next;
    let resumed = step(&paused, &by(Command::Resume), MONDAY + SpanMs::minutes(90)).next;
    assert_eq!(resumed.state, State::Running { stage: 0, entered_at: MONDAY + SpanMs::hours(1) });
}

/// What was held back and goes on again splits as before: nobody is drawn anew.
#[test]
fn s7_a_pause_and_a_resume_keep_who_is_where() {
    let before = running(0);
    let paused = step(&before, &by(Command::Pause), LATER).next;
    let resumed = step(&paused, &by(Command::Resume), LATER).next;
    assert_eq!((paused.salt, resumed.salt), (before.salt, before.salt));
    assert_eq!((paused.id, resumed.id), (before.id.clone(), before.id), "and pins are of the same release");
}

#[test]
fn legal_names_exactly_the_commands_that_are_accepted() {
    let say = |reason| {
        [
            Command::Start,
            Command::Pause,
            Command::Resume,
            Command::Approve,
            Command::Advance { reason },
            Command::Promote { reason: String::new() },
            Command::Drift { reason: String::new() },
            Command::Rollback { reason: String::new() },
        ]
    };
    let paused = step(&running(0), &by(Command::Pause), MONDAY).next;
    let asked = step(&running(0), &look(seen(0, Verdict::Inconclusive)), LATER).next;
    let promoting = step(&running(2), &look(seen(2, Verdict::Healthy)), LATER).next;
    let promoted = step(&promoting, &Event::Served, LATER).next;
    let rolling = step(&running(0), &rollback(), LATER).next;
    let over = step(&rolling, &Event::Served, LATER).next;
    let preflight = Release { state: State::Preflight, ..ex::release() };
    let all = [ex::release(), preflight, running(0), running(2), paused, asked, promoting, promoted, rolling, over];
    for release in all {
        for now in [LATER, LATER + SpanMs::hours(49)] {
            for command in say(reason()) {
                let accepted = decide(&release, &by(command.clone()), now).is_ok();
                let named = legal(&release, now).contains(&command.verb());
                assert_eq!(accepted, named, "{} when {}", command.verb(), release.state.word());
            }
        }
    }
}

#[test]
fn a_drift_is_noted_where_something_is_still_to_be_proven_and_holds_what_does_not_know_of_it() {
    let event = Event::Drift { what: "gpt-5-0805 became gpt-5-1001".to_owned() };
    let noted = step(&running(2), &event, LATER);
    let next = &noted.next;
    assert_eq!((&next.state, noted.decision.clone(), next.drifts.len()), (&running(2).state, Decision::Tell, 1));
    assert_eq!((next.drifts[0].at, &next.drifts[0].by), (LATER, &Actor::coalmine()));
    let before = look(seen(2, Verdict::Healthy));
    let held = step(next, &before, LATER);
    assert_eq!(held.decision, Decision::Hold, "proven before the drift: {}", held.report.headline);
    let Event::Look { analysis } = before else { unreachable!() };
    let since = look(Analysis { drifts: 1, ..*analysis });
    assert_eq!(step(next, &since, LATER).decision, Decision::Promote);
    // What is proven against the canary needs no account of it.
    assert!(matches!(step(next, &look(ex::guilty(2)), LATER).decision, Decision::Rollback { .. }));

    let promoting = step(&running(2), &look(seen(2, Verdict::Healthy)), LATER).next;
    assert_eq!(step(&promoting, &event, LATER).decision, Decision::Hold, "decided already");
    assert!(decide(&promoting, &by(Command::Drift { reason: reason() }), LATER).is_err());
}

#[test]
fn what_changes_again_and_again_is_promoted_by_no_evidence() {
    let event = by(Command::Drift { reason: reason() });
    let mut release = running(2);
    while let Ok(noted) = decide(&release, &event, LATER) {
        release = noted.next;
        assert!(release.drifts.len() <= DRIFTS_MAX);
    }
    assert_eq!(decide(&release, &event, LATER), Err(Refused::TooManyDrifts));
    let all = Analysis { drifts: DRIFTS_MAX, ..seen(2, Verdict::Healthy) };
    let held = step(&release, &look(all), LATER);
    assert!(held.report.headline.contains("changed 64 times"), "{}", held.report.headline);
}

#[test]
fn a_refusal_names_what_is_legal() {
    let refused = decide(&running(0), &by(Command::Resume), LATER).unwrap_err();
    let text = "cannot resume a release that is running; legal now: pause, advance, promote, drift, rollback";
    assert_eq!(refused.to_string(), text);
    let last = decide(&running(2), &by(Command::Advance { reason: reason() }), LATER).unwrap_err();
    let text = "cannot advance beyond the last stage, stage 3 of 3 (all 50 %); promote instead, or roll back";
    assert_eq!(last.to_string(), text);
}

#[test]
fn a_budget_pauses_once_and_a_resume_goes_beyond_it() {
    let paused = step(&running(0), &look(ex::over_budget(0)), MONDAY);
    assert!(
        matches!(&paused.next.state, State::Paused { by: PauseCause::Budget { what }, .. } if what.contains("at least 51"))
    );
    let resumed = step(&paused.next, &by(Command::Resume), LATER).next;
    let again = step(&resumed, &look(ex::over_budget(0)), LATER);
    assert_eq!(again.decision, Decision::Hold);
    let recovered = step(&resumed, &look(seen(0, Verdict::Inconclusive)), LATER);
    assert_eq!(recovered.decision, Decision::Tell, "the end of the condition is written down");
    assert!(matches!(step(&recovered.next, &look(ex::over_budget(0)), LATER).decision, Decision::Pause));
}

#[test]
fn a_budget_that_runs_out_in_a_pause_pauses_after_the_resume() {
    let paused = step(&running(0), &by(Command::Pause), MONDAY).next;
    let looked = step(&paused, &look(ex::over_budget(0)), MONDAY);
    assert_eq!(looked.decision, Decision::Hold);
    let resumed = step(&looked.next, &by(Command::Resume), MONDAY).next;
    assert!(matches!(step(&resumed, &look(ex::over_budget(0)), MONDAY).decision, Decision::Pause));
}

#[test]
fn the_end_of_time_does_what_the_policy_says() {
    let ended = |on_undecided, analysis| {
        let mut release = running(2);
        release.policy.on_undecided = on_undecided;
        step(&release, &look(analysis), TOO_LATE)
    };
    let undecided = || seen(2, Verdict::Inconclusive);
    let told = Effect::Notify(Notice::Undecided { release: running(2).id });

    let held = ended(OnUndecided::Hold, undecided());
    assert_eq!((held.decision, held.effects), (Decision::Tell, vec![told.clone()]));
    let again = step(&held.next, &look(undecided()), TOO_LATE);
    assert_eq!((again.decision, again.effects), (Decision::Hold, Vec::new()));
    let proven = step(&held.next, &look(seen(2, Verdict::Healthy)), TOO_LATE);
    assert_eq!(proven.decision, Decision::Hold, "it stays where it is");

    let rolled = ended(OnUndecided::Rollback, undecided());
    assert_eq!(rolled.decision, Decision::Rollback { why: RollbackCause::Undecided });

    let asked = ended(OnUndecided::Ask, undecided());
    assert!(matches!(asked.next.state, State::Paused { by: PauseCause::Undecided, .. }));
    assert_eq!(asked.effects, [told]);
    let resumed = step(&asked.next, &by(Command::Resume), TOO_LATE).next;
    assert_eq!(step(&resumed, &look(undecided()), TOO_LATE).decision, Decision::Hold);
    assert_eq!(
        step(&resumed, &look(seen(2, Verdict::Healthy)), TOO_LATE + SpanMs::hours(1)).decision,
        Decision::Promote
    );

    assert_eq!(ended(OnUndecided::Promote, undecided()).decision, Decision::Promote);
    let silent = ex::but(undecided(), &Metric::ErrorRate, Verdict::NoData);
    for unfit in [silent, ex::mismatch(2), ex::heavy_unit(2)] {
        assert_eq!(ended(OnUndecided::Promote, unfit).decision, Decision::Tell);
    }
}

#[test]
fn a_promotion_without_proof_does_not_jump_over_an_approval() {
    let mut release = running(0);
    release.policy.on_undecided = OnUndecided::Promote;
    let held = step(&release, &look(seen(0, Verdict::Inconclusive)), TOO_LATE);
    assert!(held.report.waiting_for.contains(&Waiting::Approval { of: "oncall".to_owned() }));
    assert!(matches!(held.next.state, State::Running { stage: 0, .. }));
}

#[test]
fn lost_data_is_told_once_per_onset() {
    let silent = || look(ex::but(seen(0, Verdict::Inconclusive), &Metric::ErrorRate, Verdict::NoData));
    let first = step(&running(0), &silent(), MONDAY);
    assert!(matches!(&first.effects[..], [Effect::Notify(Notice::LostData { .. })]));
    assert_eq!(first.next.generation, running(0).generation.next());
    let second = step(&first.next, &silent(), MONDAY);
    assert_eq!((second.decision.clone(), second.effects.len()), (Decision::Hold, 0));
    assert_eq!(second.next, first.next);
    let back = step(&second.next, &look(seen(0, Verdict::Inconclusive)), MONDAY);
    assert_eq!((back.decision, back.effects.len(), back.next.open.len()), (Decision::Tell, 0, 0));
    assert_eq!(step(&back.next, &silent(), MONDAY).effects.len(), 1, "a second onset is told again");
}

#[test]
fn s9_silence_and_unusable_numbers_never_advance() {
    for verdict in [Verdict::NoData, Verdict::Error, Verdict::Regressed] {
        for then in [NoDataThen::Hold, NoDataThen::Warn] {
            let mut release = running(1);
            release.policy.guardrails[0].no_data.then = then;
            let held = step(&release, &look(ex::but(seen(1, Verdict::Healthy), &Metric::ErrorRate, verdict)), LATER);
            assert!(matches!(held.next.state, State::Running { stage: 1, .. }), "{verdict:?} {then:?}");
            assert!(!held.report.waiting_for.is_empty());
        }
    }
}

#[test]
fn a_stage_is_not_passed_on_numbers_from_before_it() {
    let bake = running(1).plan.stages[1].bake;
    let silent_for = |silent| {
        let mut analysis = seen(1, Verdict::Inconclusive);
        analysis.findings[0].silent = silent;
        step(&running(1), &look(analysis), LATER)
    };
    assert_eq!(silent_for(bake).decision, Decision::Advance { stage: 2 });
    let held = silent_for(bake + SpanMs(1));
    assert!(matches!(&held.report.waiting_for[..], [Waiting::Guardrail { metric, .. }] if metric == "error_rate"));
}

#[test]
fn a_finding_that_is_not_there_holds() {
    let mut analysis = seen(2, Verdict::Healthy);
    analysis.findings.remove(0);
    let held = step(&running(2), &look(analysis), LATER);
    assert_eq!(held.decision, Decision::Hold);
    assert!(matches!(&held.report.waiting_for[..], [Waiting::Guardrail { metric, .. }] if metric == "error_rate"));
}

#[test]
fn a_signal_holds_and_goes_on_after_recovery() {
    let worse = ex::but(seen(1, Verdict::Healthy), &Metric::RefusalRate, Verdict::Regressed);
    let held = step(&running(1), &look(worse), LATER);
    assert!(matches!(&held.effects[..], [Effect::Notify(Notice::Held { .. })]));
    assert!(held.next.open.contains(&Condition::Signal { metric: Metric::RefusalRate }));
    let on = step(&held.next, &look(seen(1, Verdict::Inconclusive)), LATER);
    assert_eq!(on.decision, Decision::Advance { stage: 2 });
    assert!(on.next.open.is_empty());
}

#[test]
fn a_silent_signal_holds_only_where_it_is_asked_to() {
    let silent = ex::but(seen(1, Verdict::Healthy), &Metric::RefusalRate, Verdict::NoData);
    let advanced = step(&running(1), &look(silent.clone()), LATER);
    assert_eq!(advanced.decision, Decision::Advance { stage: 2 });
    assert_eq!(advanced.report.warnings.len(), 1);
    let mut release = running(1);
    release.policy.guardrails[2].no_data.then = NoDataThen::Hold;
    assert_eq!(step(&release, &look(silent), LATER).decision, Decision::Tell);
}

#[test]
fn a_guardrail_that_never_applied_is_not_waited_for_where_it_only_warns() {
    let mut release = running(2);
    release.policy.guardrails[1].no_data.then = NoDataThen::Warn;
    let mut analysis = ex::but(seen(2, Verdict::Healthy), &Metric::ToolCallValid, Verdict::NoData);
    let fell_silent = step(&release, &look(analysis.clone()), LATER);
    assert_eq!(fell_silent.decision, Decision::Tell, "it has had sessions, and now has none");
    analysis.findings[1].n = ArmCounts::default();
    let promoted = step(&release, &look(analysis.clone()), LATER);
    assert_eq!((promoted.decision, promoted.report.warnings.len()), (Decision::Promote, 1));
    analysis.findings[1].missing.control = 1;
    assert_eq!(step(&release, &look(analysis.clone()), LATER).decision, Decision::Tell, "numbers were owed");
    release.policy.guardrails[0].no_data.then = NoDataThen::Warn;
    for found in &mut analysis.findings {
        (found.verdict, found.n, found.missing) = (Verdict::NoData, ArmCounts::default(), ArmCounts::default());
    }
    let held = step(&release, &look(analysis), LATER);
    assert_eq!(held.decision, Decision::Hold, "nothing at all was measured");
}

/// Every session has times and amounts: the few with a number are no sample of the others.
#[test]
fn no_stage_is_passed_over_a_time_that_most_sessions_lack() {
    let mut release = running(1);
    release.policy.guardrails[0].metric = Metric::TtftP95;
    let mut analysis = ex::but(seen(1, Verdict::Healthy), &Metric::ErrorRate, Verdict::Inconclusive);
    analysis.findings[0].metric = Metric::TtftP95;
    analysis.findings[0].missing.canary = analysis.findings[0].n.canary;
    assert_eq!(step(&release, &look(analysis.clone()), LATER).decision, Decision::Advance { stage: 2 });
    analysis.findings[0].missing.canary += 1;
    assert_eq!(step(&release, &look(analysis), LATER).decision, Decision::Hold);
}

#[test]
fn no_stage_is_passed_unseen() {
    let mut release = running(1);
    release.plan.stages[1].min_sessions = 0;
    let mut analysis = seen(1, Verdict::Healthy);
    analysis.posted.canary = 0;
    let held = step(&release, &look(analysis), LATER);
    assert_eq!(held.report.waiting_for, [Waiting::Sessions { have: 0, need: 1 }]);
}

#[test]
fn void_evidence_holds_an_advance_and_a_heavy_unit_only_a_promotion() {
    assert_eq!(step(&running(1), &look(ex::mismatch(1)), LATER).decision, Decision::Tell);
    assert_eq!(step(&running(2), &look(ex::mismatch(2)), LATER).decision, Decision::Tell);
    assert_eq!(step(&running(1), &look(ex::heavy_unit(1)), LATER).decision, Decision::Advance { stage: 2 });
    assert_eq!(step(&running(2), &look(ex::heavy_unit(2)), LATER).decision, Decision::Hold);
}

#[test]
fn a_healthy_verdict_without_evidence_at_its_line_does_not_promote() {
    let mut analysis = seen(2, Verdict::Healthy);
    analysis.findings[0].promote.log = 2.9;
    assert_eq!(step(&running(2), &look(analysis), LATER).decision, Decision::Hold);
}

#[test]
fn nothing_is_promoted_for_lack_of_guardrails() {
    let mut release = running(2);
    release.policy.guardrails.retain(|g| g.role == Role::Signal);
    assert_eq!(step(&release, &look(seen(2, Verdict::Healthy)), LATER).decision, Decision::Hold);
}

#[test]
fn a_freeze_holds_the_machine_and_not_the_person() {
    let mut release = running(1);
    release.policy.freeze = vec![ex::weekend()];
    let held = step(&release, &look(seen(1, Verdict::Healthy)), LATER);
    assert_eq!(held.report.waiting_for, [Waiting::Freeze { until: MONDAY + SpanMs::hours(8) }]);
    let by_hand = step(&release, &by(Command::Advance { reason: reason() }), LATER);
    assert_eq!(by_hand.report.warnings, ["done by hand inside a freeze window"]);
    let silent = step(&release, &by(Command::Advance { reason: String::new() }), LATER);
    assert!(!silent.report.headline.contains("()"), "{}", silent.report.headline);
    let thawed = step(&release, &look(seen(1, Verdict::Healthy)), MONDAY + SpanMs::hours(8));
    assert_eq!(thawed.decision, Decision::Advance { stage: 2 });
}

#[test]
fn a_look_of_another_stage_does_not_move_this_one() {
    let held = step(&running(1), &look(seen(0, Verdict::Healthy)), LATER);
    assert_eq!(held.decision, Decision::Hold);
    assert!(matches!(step(&running(1), &look(ex::guilty(0)), LATER).decision, Decision::Rollback { .. }));
}

#[test]
fn a_stage_without_control_is_judged_by_limits_and_tripwires() {
    let mut release = running(0);
    release.plan.stages[0].weight = crate::traffic::weight::WeightBp::FULL;
    release.plan.stages[1].gate = crate::release::plan::Gate::Automatic;
    let alone = look(seen(0, Verdict::NoData));
    let mut alone_but_posted = seen(0, Verdict::NoData);
    alone_but_posted.findings.retain(|f| f.metric != Metric::ToolCallValid);
    release.policy.guardrails.retain(|g| g.metric != Metric::ToolCallValid);
    let advanced = step(&release, &look(alone_but_posted.clone()), LATER);
    assert_eq!(advanced.decision, Decision::Advance { stage: 1 });
    assert!(advanced.report.warnings[0].contains("no control"));
    alone_but_posted.findings[0].n.canary = 0;
    assert_eq!(step(&release, &look(alone_but_posted), LATER).decision, Decision::Tell, "never measured");
    release.plan.stages.truncate(1);
    assert!(!matches!(step(&release, &alone, LATER).decision, Decision::Promote));
}

#[test]
fn a_look_after_the_end_changes_nothing() {
    let promoting = step(&running(2), &look(seen(2, Verdict::Healthy)), LATER).next;
    let promoted = step(&promoting, &Event::Served, LATER).next;
    let rolling = step(&running(0), &rollback(), LATER).next;
    let over = step(&rolling, &Event::Served, LATER).next;
    for release in [ex::release(), promoting, promoted, rolling, over] {
        let held = step(&release, &look(ex::guilty(0)), TOO_LATE);
        assert_eq!((held.decision, &held.next), (Decision::Hold, &release));
        assert!(!held.report.headline.is_empty());
    }
}

#[test]
fn a_promotion_is_not_taken_from_under_a_later_release() {
    let command = Command::Rollback { reason: reason() };
    let promoting = step(&running(2), &by(Command::Promote { reason: reason() }), LATER).next;
    let later = Release {
        id: crate::id::ReleaseId::from("support-8"),
        stable: ex::CANARY,
        started_at: Some(LATER + SpanMs::hours(1)),
        ..running(0)
    };
    let permitted = |later: &Release| permit(&promoting, &command, ex::CANARY, [&promoting, later]);
    assert_eq!(permitted(&later), Err(Refused::BuiltUpon { later: later.id.clone() }));
    assert_eq!(permitted(&Release { started_at: None, state: State::Draft, ..later.clone() }), Ok(()));
    assert_eq!(permitted(&step(&later, &rollback(), TOO_LATE).next), Ok(()));
    assert_eq!(permit(&running(0), &command, ex::STABLE, [&later]), Ok(()), "it was never promoted");
}

#[test]
fn a_release_does_not_start_against_a_stable_that_moved() {
    let moved = permit(&ex::release(), &Command::Start, ex::CANARY, []).unwrap_err();
    assert_eq!(moved, Refused::StableMoved { now: ex::CANARY, then: ex::STABLE });
    assert_eq!(permit(&ex::release(), &Command::Start, ex::STABLE, []), Ok(()));
}

fn guarded(state: State) -> Release {
    let mut release = Release { state, ..ex::release() };
    let all = vec![ex::sentinel("refund", Criticality::Critical), ex::sentinel("tone", Criticality::Watched)];
    release.policy.sentinels = Some(ex::suite(all));
    release
}

fn says(name: &str, standing: Standing, verdict: SentinelVerdict) -> SentinelFinding {
    let (stable, canary) = (ex::tries(3, 0), ex::tries(0, 4));
    let reason = "3/3 passed on stable, 0/4 on canary".to_owned();
    SentinelFinding { name: name.to_owned(), standing, verdict, stable, canary, at: Some(MONDAY), reason }
}

fn with(mut analysis: Analysis, standing: Standing, verdict: SentinelVerdict) -> Event {
    analysis.sentinels =
        vec![says("refund", standing, verdict), says("tone", Standing::Watched, SentinelVerdict::Failed)];
    look(analysis)
}

#[test]
fn sentinels_are_asked_before_anybody_is_exposed() {
    let asking = step(&guarded(State::Draft), &by(Command::Start), MONDAY);
    assert_eq!((&asking.decision, &asking.next.state), (&Decision::Preflight, &State::Preflight));
    assert_eq!((asking.effects, asking.next.started_at), (Vec::new(), None));

    let unasked = step(&guarded(State::Preflight), &look(seen(0, Verdict::NoData)), LATER);
    assert_eq!(unasked.decision, Decision::Hold);
    let holds = [SentinelVerdict::BothFailed, SentinelVerdict::Unclear, SentinelVerdict::Unknown];
    for verdict in holds {
        let held =
            step(&guarded(State::Preflight), &with(seen(0, Verdict::NoData), Standing::Critical, verdict), LATER);
        assert_eq!(held.decision, Decision::Hold, "{verdict:?}");
        assert!(held.report.headline.starts_with("nobody is exposed; waits for sentinel refund"));
    }
    let passed = with(seen(0, Verdict::NoData), Standing::Critical, SentinelVerdict::Passed);
    let begun = step(&guarded(State::Preflight), &passed, LATER);
    assert_eq!(begun.decision, Decision::Start);
    assert_eq!(begun.next.state, State::Running { stage: 0, entered_at: LATER });
    assert_eq!(begun.next.started_at, Some(LATER));
    assert_eq!(begun.report.warnings.len(), 1, "the watched one is told");

    let by_hand = step(&guarded(State::Preflight), &by(Command::Start), LATER);
    assert_eq!((by_hand.decision, by_hand.report.warnings.len()), (Decision::Start, 1));
}

#[test]
fn a_sentinel_that_fails_on_the_canary_alone_rolls_back_everywhere_and_at_once() {
    let failed = with(seen(0, Verdict::Healthy), Standing::Critical, SentinelVerdict::Failed);
    for state in [State::Preflight, State::Running { stage: 0, entered_at: MONDAY }] {
        let rolled = step(&guarded(state), &failed, MONDAY);
        let Decision::Rollback { why } = rolled.decision else { panic!("{:?}", rolled.decision) };
        assert_eq!(why.describe(), "sentinel refund failed on the canary alone (3/3 passed on stable, 0/4 on canary)");
    }
    for standing in [Standing::Qualifying, Standing::Disqualified, Standing::Watched, Standing::Gate] {
        let accused = with(seen(0, Verdict::Healthy), standing, SentinelVerdict::Failed);
        let kept = step(&guarded(State::Preflight), &accused, MONDAY);
        assert!(!matches!(kept.decision, Decision::Rollback { .. }), "{standing:?}");
    }
}

#[test]
fn nothing_advances_or_promotes_before_its_critical_sentinels_have_passed() {
    for stage in [0, 2] {
        let release = guarded(State::Running { stage, entered_at: MONDAY });
        let release = Release { started_at: Some(MONDAY), ..release };
        for verdict in [SentinelVerdict::BothFailed, SentinelVerdict::Unclear, SentinelVerdict::Unknown] {
            let held = step(&release, &with(seen(stage, Verdict::Healthy), Standing::Critical, verdict), LATER);
            assert!(matches!(held.decision, Decision::Hold | Decision::Tell), "{verdict:?}: {:?}", held.decision);
        }
        let held = step(&release, &look(seen(stage, Verdict::Healthy)), LATER);
        assert_eq!(held.decision, Decision::Hold, "a look without them");
        let passed = with(seen(stage, Verdict::Healthy), Standing::Critical, SentinelVerdict::Passed);
        let moved = step(&release, &passed, LATER).decision;
        assert!(matches!(moved, Decision::AskApproval { .. } | Decision::Promote), "{moved:?}");
    }
}

#[test]
fn an_outage_of_both_is_told_once_and_holds() {
    let release = Release { started_at: Some(MONDAY), ..guarded(State::Running { stage: 0, entered_at: MONDAY }) };
    let both = with(seen(0, Verdict::Healthy), Standing::Critical, SentinelVerdict::BothFailed);
    let told = step(&release, &both, LATER);
    assert_eq!(told.decision, Decision::Tell);
    assert!(told.next.open.contains(&Condition::Sentinels));
    assert!(matches!(told.effects[..], [Effect::Notify(Notice::Held { .. })]));
    assert_eq!(step(&told.next, &both, LATER).decision, Decision::Hold);
}

#[test]
fn the_offline_gate_is_cleared_before_any_traffic() {
    let mut release = guarded(State::Preflight);
    let sentinels: Vec<_> = (0..10).map(|i| ex::sentinel(&format!("g{i}"), Criticality::Gate)).collect();
    let gate = Some(OfflineGate { suite: "evals/offline.yaml".to_owned(), pass_share: 0.9 });
    release.policy.sentinels = Some(Sentinels { gate, ..ex::suite(sentinels) });
    let after = |passed: usize, failed: usize| {
        let verdict = |i| match i {
            i if i < passed => SentinelVerdict::Passed,
            i if i < passed + failed => SentinelVerdict::Failed,
            _ => SentinelVerdict::Unknown,
        };
        let mut analysis = seen(0, Verdict::NoData);
        analysis.sentinels = (0..10).map(|i| says(&format!("g{i}"), Standing::Gate, verdict(i))).collect();
        step(&release, &look(analysis), LATER).decision
    };
    assert_eq!(after(9, 1), Decision::Start);
    assert_eq!(after(8, 2), Decision::Hold);
    assert_eq!(after(8, 0), Decision::Hold, "what is unknown is not passed");
    assert_eq!(after(10, 0), Decision::Start);
}

/// A look whose upstreams say this to being given more.
fn asked(mut analysis: Analysis, holds: &[&str], notes: &[&str]) -> Event {
    let all = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    analysis.readiness = Readiness { holds: all(holds), notes: all(notes) };
    look(analysis)
}

#[test]
fn upstreams_that_are_not_ready_hold_every_move_that_gives_them_more_and_no_rollback() {
    let cold = ["own is being warmed up"];
    let waits = [Waiting::Upstreams { why: cold[0].to_owned() }];
    for (stage, verdict) in [(0, Verdict::Inconclusive), (1, Verdict::Inconclusive), (2, Verdict::Healthy)] {
        let moved = step(&running(stage), &look(seen(stage, verdict)), LATER);
        assert_ne!(moved.decision, Decision::Hold, "stage {stage}");
        let held = step(&running(stage), &asked(seen(stage, verdict), &cold, &[]), LATER);
        assert_eq!((held.decision, &held.report.waiting_for[..]), (Decision::Hold, &waits[..]), "stage {stage}");
        assert!(held.effects.is_empty(), "no person is called for it");
        let noted = step(&running(stage), &asked(seen(stage, verdict), &[], &["did not get warm"]), LATER);
        assert_eq!(noted.decision, moved.decision, "stage {stage}");
        assert!(noted.report.warnings.contains(&"did not get warm".to_owned()));
    }
    let rolled = step(&running(0), &asked(ex::guilty(0), &cold, &[]), LATER);
    assert!(matches!(rolled.decision, Decision::Rollback { .. }));
}

#[test]
fn a_start_whose_upstreams_are_not_ready_waits_for_them() {
    let waiting = step(&ex::release(), &by(Command::Prepare), MONDAY);
    assert_eq!((&waiting.decision, &waiting.next.state), (&Decision::Preflight, &State::Preflight));
    assert_eq!((&waiting.effects, waiting.next.started_at), (&Vec::new(), None));
    let held = step(&waiting.next, &asked(seen(0, Verdict::NoData), &["cold"], &[]), LATER);
    assert_eq!(held.decision, Decision::Hold);
    assert_eq!(held.report.headline, "nobody is exposed; waits for the canary's upstreams (cold)");
    let begun = step(&waiting.next, &look(seen(0, Verdict::NoData)), LATER);
    assert_eq!((&begun.decision, begun.next.started_at), (&Decision::Start, Some(LATER)));
    assert!(begun.report.headline.starts_with("the canary's upstreams are ready: stage 1"));
    let guarded = step(&guarded(State::Draft), &by(Command::Prepare), MONDAY);
    assert!(guarded.report.headline.contains("asking 2 sentinels"), "{}", guarded.report.headline);
    assert!(decide(&running(0), &by(Command::Prepare), LATER).is_err());
}
