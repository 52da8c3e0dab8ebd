//! The judges of a shadow's pairs: what they will have to read, and what losing pairs they will see.

use crate::analysis::alpha::Alpha;
use crate::forecast::schedule::{HORIZON, span};
use crate::forecast::shape::first_turns;
use crate::forecast::traffic::Traffic;
use crate::forecast::{Asks, PairedOutlook};
use crate::judge::Judge;
use crate::release::policy::{Policy, Role};
use crate::shadow::preferences::Preferring;
use crate::shadow::{By, Criterion, Shadow};
use crate::time::SpanMs;
use coalmine_stats::betting::Side;
use coalmine_stats::limit::Bound;
use coalmine_stats::paired::PREFERENCE;
use coalmine_stats::plan::{bets_alone, units};

/// The share of the pairs that a judge calls a tie, where nobody says.
const TIES: f64 = 0.5;
/// What is looked for: so many times the margin, which is itself the line that must be exceeded.
const TIMES: f64 = 2.0;
/// Questions about one pair: one in each order.
const ORDERS: f64 = 2.0;

/// Until it is as old as it must be, and has counted sessions enough.
pub(super) fn lasts(shadow: &Shadow, policy: &Policy, traffic: &Traffic) -> SpanMs {
    let mirrored_per_hour = traffic.sessions_per_hour * shadow.share.share();
    let counted = span(shadow.min_sessions as f64 / mirrored_per_hour).unwrap_or(HORIZON);
    shadow.length.max(counted + policy.ages.session)
}

/// Each judge of pairs.
pub(super) fn paired(policy: &Policy, traffic: &Traffic, attempt: u32) -> Vec<PairedOutlook> {
    let Some(shadow) = &policy.shadow else { return Vec::new() };
    let lasts = lasts(shadow, policy, traffic);
    let line = Alpha::of(policy, attempt).shadow_line();
    let of = |criterion: Criterion<'_>| match criterion.by {
        By::Outcomes(_) => None,
        By::Preference(preferring) => {
            let judge = policy.judge(&preferring.judge)?;
            Some(outlook(shadow, preferring, judge, traffic, lasts, line - policy.paired_share(&criterion).ln()))
        }
    };
    policy.criteria().filter_map(of).collect()
}

fn outlook(
    shadow: &Shadow,
    preferring: &Preferring,
    judge: &Judge,
    traffic: &Traffic,
    lasts: SpanMs,
    line: f64,
) -> PairedOutlook {
    let per_hour = traffic.sessions_per_hour * shadow.share.share() * preferring.sample.share();
    let hours = lasts.0 as f64 / 3_600_000.0;
    let asked_per_hour = ORDERS * per_hour * first_turns(traffic.turns, judge.turns);
    let found = sessions(preferring, line);
    PairedOutlook {
        judge: preferring.judge.clone(),
        role: preferring.role,
        need_sessions: preferring.need(shadow.min_sessions),
        sessions: per_hour * hours,
        loses: TIMES * preferring.margin,
        ties: TIES,
        found_sessions: found.filter(|_| preferring.role == Role::Guardrail),
        found: found.filter(|_| preferring.role == Role::Guardrail).and_then(|found| span(found / per_hour)),
        asks: Asks {
            per_day: asked_per_hour * hours.min(24.0),
            usd_each: None,
            usd_bound: judge.usd_per_day,
            calls_bound: judge.calls_per_day,
        },
    }
}

/// Judged sessions until a canary that loses so much more of its pairs than it wins is found, typically.
fn sessions(preferring: &Preferring, line: f64) -> Option<f64> {
    let decided = 1.0 - TIES;
    let loss = (TIMES * preferring.margin).min(decided);
    let (won, lost) = ((decided - loss) / 2.0, f64::midpoint(decided, loss));
    let bound = Bound { side: Side::Rollback, ..Bound::at_most(preferring.bound()) };
    let bets = bets_alone(&bound, &PREFERENCE, &[won, TIES, lost]).ok()?;
    let reach = bets.iter().map(|bet| units(bet.growth, (-line).exp(), bet.weight));
    Some(reach.fold(f64::INFINITY, f64::min)).filter(|n| n.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::weight::WeightBp;

    fn preferring(margin: f64) -> Preferring {
        Preferring { judge: "better".to_owned(), role: Role::Guardrail, margin, weight: 0.2, sample: WeightBp::FULL }
    }

    #[test]
    fn a_wider_margin_is_exceeded_by_more_and_found_sooner() {
        let line = 1_000_f64.ln();
        let (narrow, wide) = (sessions(&preferring(0.05), line).unwrap(), sessions(&preferring(0.1), line).unwrap());
        assert!(wide * 2.0 < narrow, "{wide} {narrow}");
        assert!((200.0..2_000.0).contains(&wide), "{wide}");
        assert_eq!(sessions(&preferring(0.5), line), None, "half of the pairs are ties: nobody loses so many");
    }
}
