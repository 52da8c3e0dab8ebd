//! What people read in typical situations.

use super::*;
use crate::analysis::{Interval, Verdict};
use crate::metric::Metric;
use crate::release::decide::decide;
use crate::release::effect::Notice;
use crate::release::event::Command;
use crate::release::example::{self as ex, MONDAY, by, look, reason, running, seen};
use crate::release::policy::OnUndecided;
use crate::release::state::State;
use crate::time::SpanMs;

const LATER: UnixMs = UnixMs(MONDAY.0 + 2 * 3_600_000);

/// A step as a page: headline, what is missing, warnings, who is told.
fn page(release: &Release, event: &Event, now: UnixMs) -> String {
    let step = decide(release, event, now).unwrap();
    let mut lines = vec![step.report.headline.clone()];
    lines.extend(step.report.waiting_for.iter().map(|w| format!("  waits for {}", w.describe(now))));
    lines.extend(step.report.warnings.iter().map(|w| format!("  warning: {w}")));
    let told = step.effects.iter().filter_map(|effect| match effect {
        Effect::Notify(notice) => Some(told(notice)),
        Effect::Publish { .. } | Effect::SetStable { .. } => None,
    });
    lines.extend(told.map(|text| format!("  told: {text}")));
    lines.join("\n")
}

fn told(notice: &Notice) -> String {
    match notice {
        Notice::Started { .. } => "started".to_owned(),
        Notice::Advanced { stage, .. } => format!("advanced to {stage}"),
        Notice::ApprovalWanted { of, .. } => format!("approval wanted of {of}"),
        Notice::Paused { why, .. } => format!("paused, {why}"),
        Notice::Held { why, .. } => format!("held, {why}"),
        Notice::Promoted { .. } => "promoted".to_owned(),
        Notice::RolledBack { why, .. } => format!("rolled back, {}", why.describe()),
        Notice::Undecided { .. } => "undecided".to_owned(),
        Notice::StableSick { what, .. } => format!("stable is sick, {what}"),
        Notice::Drift { what, .. } => format!("drift, {what}"),
        Notice::LostData { what, .. } => format!("lost data, {what}"),
        Notice::IncidentOpened { what, .. } => format!("incident opened, {what}"),
        Notice::IncidentClosed { what, .. } => format!("incident closed, {what}"),
    }
}

fn pages(pages: &[(&str, String)]) -> String {
    let pages: Vec<String> = pages.iter().map(|(title, page)| format!("# {title}\n{page}")).collect();
    pages.join("\n\n")
}

#[test]
fn moving_forward() {
    let undecided = |stage| look(seen(stage, Verdict::Inconclusive));
    let mut young = seen(0, Verdict::Inconclusive);
    young.posted.canary = 3;
    let mixed = ex::but(seen(2, Verdict::Healthy), &Metric::ToolCallValid, Verdict::Inconclusive);
    let asked = decide(&running(0), &undecided(0), LATER).unwrap().next;
    let promoting = decide(&running(2), &look(seen(2, Verdict::Healthy)), LATER).unwrap().next;
    let mut frozen = running(1);
    frozen.policy.freeze = vec![ex::weekend()];
    let by_hand = by(Command::Advance { reason: "the fix is small".to_owned() });
    let text = pages(&[
        ("start", page(&ex::release(), &by(Command::Start), MONDAY)),
        ("a young stage", page(&running(0), &look(young), MONDAY + SpanMs::minutes(5))),
        ("the next stage asks a person", page(&running(0), &undecided(0), LATER)),
        ("nobody has answered yet", page(&asked, &undecided(0), LATER)),
        ("approved", page(&asked, &by(Command::Approve), LATER)),
        ("advanced by itself", page(&running(1), &undecided(1), LATER)),
        ("advanced by hand in a freeze", page(&frozen, &by_hand, LATER)),
        ("held by a freeze", page(&frozen, &undecided(1), LATER)),
        ("the last stage, one guardrail unproven", page(&running(2), &look(mixed), LATER)),
        ("promotion", page(&running(2), &look(seen(2, Verdict::Healthy)), LATER)),
        ("promotion is served", page(&promoting, &Event::Served, LATER)),
    ]);
    insta::assert_snapshot!(text);
}

#[test]
fn standing_still() {
    let silent = ex::but(seen(1, Verdict::Healthy), &Metric::ErrorRate, Verdict::NoData);
    let signal = ex::but(seen(1, Verdict::Healthy), &Metric::RefusalRate, Verdict::Regressed);
    let paused = decide(&running(0), &by(Command::Pause), MONDAY).unwrap().next;
    let spent = Some(Interval { low: 44.0, point: 52.0, high: 61.0 });
    let costly = Analysis { extra_cost_usd: spent, ..ex::over_budget(0) };
    let mut asks = running(0);
    asks.policy.on_undecided = OnUndecided::Ask;
    let undecided = || look(seen(0, Verdict::Inconclusive));
    let too_late = MONDAY + SpanMs::hours(72);
    let mut alone = running(0);
    alone.plan.stages[0].weight = crate::traffic::weight::WeightBp::FULL;
    let drift = Event::Drift { what: "the model that answers for stable was a, and is b".to_owned() };
    let drifted = decide(&running(2), &drift, LATER).unwrap().next;
    let text = pages(&[
        ("paused by hand", page(&running(0), &by(Command::Pause), MONDAY)),
        ("a look in a pause", page(&paused, &undecided(), LATER)),
        ("resumed", page(&paused, &by(Command::Resume), LATER)),
        ("two budgets are used up", page(&running(0), &look(costly), LATER)),
        ("a metric fell silent", page(&running(1), &look(silent), LATER)),
        ("a signal regressed", page(&running(1), &look(signal), LATER)),
        ("the split is broken", page(&running(1), &look(ex::mismatch(1)), LATER)),
        ("one session is most of the traffic", page(&running(2), &look(ex::heavy_unit(2)), LATER)),
        ("undecided, hold", page(&running(0), &undecided(), too_late)),
        ("undecided, ask", page(&asks, &undecided(), too_late)),
        ("a stage without control", page(&alone, &undecided(), MONDAY)),
        ("proven, and yet in doubt", page(&running(2), &look(ex::doubtful(2)), LATER)),
        ("stable itself is above the limit", page(&running(1), &look(ex::stable_sick(1)), LATER)),
        ("another model answers", page(&running(2), &drift, LATER)),
        ("noted by hand", page(&running(0), &by(Command::Drift { reason: "moved to October".to_owned() }), LATER)),
        ("proven before a drift", page(&drifted, &look(seen(2, Verdict::Healthy)), LATER)),
        ("both arms are above the limit", page(&running(2), &look(ex::both_bad(2)), LATER)),
    ]);
    insta::assert_snapshot!(text);
}

#[test]
fn climbing_a_ramp() {
    let ramp = |stage| Release { plan: ex::ramped().plan, ..running(stage) };
    let climbing = |stage, worst, traffic| look(ex::climbing(seen(stage, Verdict::Inconclusive), worst, traffic));
    let (nothing_excluded, two_points) = (climbing(1, 1.0, 100.0), climbing(1, 0.02, 1_000.0));
    let split = look(ex::climbing(ex::mismatch(1), 0.01, 100.0));
    let text = pages(&[
        ("nothing is posted yet", page(&ramp(1), &look(seen(1, Verdict::Inconclusive)), MONDAY)),
        ("nothing is excluded, and traffic is low", page(&ramp(1), &nothing_excluded, MONDAY)),
        ("two points are excluded", page(&ramp(1), &two_points, MONDAY)),
        ("not while the split is broken", page(&ramp(1), &split, MONDAY)),
        ("as high as the evidence allows", page(&ramp(8), &climbing(8, 0.02, 1_000.0), MONDAY)),
        ("promoted from any rung", page(&ramp(4), &look(seen(4, Verdict::Healthy)), LATER)),
        ("a rung by hand", page(&ramp(4), &by(Command::Advance { reason: reason() }), LATER)),
    ]);
    insta::assert_snapshot!(text);
}

#[test]
fn after_the_promotion() {
    let mut promoting = running(2);
    promoting.policy.hold_back = ex::weight(200);
    promoting.promoted_at = Some(LATER);
    promoting.state = State::Promoting { since: LATER };
    let held_back = decide(&promoting, &Event::Served, LATER).unwrap().next;
    let (quiet, over) = (look(seen(3, Verdict::Inconclusive)), LATER + SpanMs::hours(48));
    let ended = decide(&held_back, &quiet, over).unwrap().next;
    let superseded = Event::Superseded { by: ReleaseId::from("support-8") };
    let silent = look(ex::but(seen(3, Verdict::Healthy), &Metric::ToolCallValid, Verdict::NoData));
    let text = pages(&[
        ("served", page(&promoting, &Event::Served, LATER)),
        ("nothing is wrong", page(&held_back, &quiet, LATER + SpanMs::hours(1))),
        ("silence is no cause any more", page(&held_back, &silent, LATER + SpanMs::hours(1))),
        ("a late regression", page(&held_back, &look(ex::guilty(3)), LATER + SpanMs::hours(1))),
        ("a later release began", page(&held_back, &superseded, LATER + SpanMs::hours(1))),
        ("the keep is over", page(&held_back, &quiet, over)),
        ("a look after that", page(&ended, &look(ex::guilty(3)), over)),
        ("by hand", page(&held_back, &by(Command::Rollback { reason: reason() }), LATER + SpanMs::hours(1))),
    ]);
    insta::assert_snapshot!(text);
}

#[test]
fn going_back() {
    let rollback = by(Command::Rollback { reason: reason() });
    let rolling = decide(&running(0), &rollback, LATER).unwrap().next;
    let over = decide(&rolling, &Event::Served, LATER).unwrap().next;
    let silent = ex::but(seen(0, Verdict::Healthy), &Metric::ToolCallValid, Verdict::NoData);
    let mut ends = running(0);
    ends.policy.on_undecided = OnUndecided::Rollback;
    let undecided = look(seen(0, Verdict::Inconclusive));
    let text = pages(&[
        ("a guardrail", page(&running(0), &look(ex::guilty(0)), LATER)),
        ("a limit", page(&running(0), &look(ex::over_limit(0)), LATER)),
        ("a tripwire", page(&running(0), &look(ex::tripped(0)), LATER)),
        ("silence", page(&running(0), &look(silent), LATER)),
        ("the end of time", page(&ends, &undecided, MONDAY + SpanMs::hours(72))),
        ("by hand", page(&running(0), &rollback, LATER)),
        ("it is served", page(&rolling, &Event::Served, LATER)),
        ("a look after the end", page(&over, &undecided, LATER)),
    ]);
    insta::assert_snapshot!(text);
}
