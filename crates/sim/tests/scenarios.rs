//! The shipped core and control in worlds of known truth; what happens is held in golden files.
#![expect(clippy::unwrap_used, reason = "a test")]

use coalmine_sim::{Ended, Scenario, SimOutcome};

async fn play(text: &str) -> SimOutcome {
    let outcome = Scenario::parse(text).unwrap().run(1).await.unwrap();
    assert_eq!(outcome.broken, Vec::<String>::new());
    outcome
}

macro_rules! golden {
    ($($name:ident => $ended:pat),* $(,)?) => {
        $(#[tokio::test]
        async fn $name() {
            let outcome = play(include_str!(concat!("../scenarios/", stringify!($name), ".txt"))).await;
            insta::assert_snapshot!(stringify!($name), outcome);
            assert!(matches!(outcome.ended, $ended), "{:?}", outcome.ended);
        })*
    };
}

golden! {
    healthy => Ended::Promoted,
    refusal_doubled => Ended::RolledBack { .. },
    aa => Ended::Open { .. } | Ended::Promoted,
    late_onset => Ended::RolledBack { .. },
    both_arms_bad => Ended::Promoted,
    store_down => Ended::Promoted,
    store_down_bad_canary => Ended::RolledBack { .. },
    reports_lost => Ended::Promoted,
    drifting_load => Ended::Promoted,
    session_clusters => Ended::Promoted,
    cold_caches => Ended::Promoted,
    slow_hides => Ended::RolledBack { .. },
    judge_outage => Ended::Promoted,
    judge_outage_bad => Ended::RolledBack { .. },
    sick_customer => Ended::Open { .. },
    provider_swapped => Ended::Promoted,
    held_back => Ended::RolledBack { .. },
    sentinel_wrong => Ended::RolledBack { .. },
    sentinel_flaky => Ended::Open { .. },
    sentinel_outage => Ended::Promoted,
    broken_canary_provider => Ended::RolledBack { .. } | Ended::Promoted,
    broken_session_length => Ended::RolledBack { .. },
    broken_session_length_hidden => Ended::Promoted,
    broken_cancels => Ended::Promoted,
    broken_cold_caches => Ended::RolledBack { .. },
    broken_patience => Ended::Promoted,
    broken_constant_id => Ended::Open { .. },
    broken_ratings => Ended::RolledBack { .. },
    judge_worse => Ended::RolledBack { .. },
    judge_down => Ended::RolledBack { .. },
    shadow_worse => Ended::RolledBack { .. },
    shadow_pairs => Ended::RolledBack { .. },
    shadow_spent => Ended::Open { .. },
    detect_opening => Ended::RolledBack { .. },
    detect_language => Ended::RolledBack { .. },
    ramp => Ended::Promoted,
    ramp_bad => Ended::RolledBack { .. },
    stable_sick => Ended::Open { .. },
    rule_weights => Ended::Promoted,
    rule_cohort => Ended::Promoted,
    rule_start => Ended::Promoted,
    rule_openers => Ended::Promoted,
    rule_control => Ended::Promoted,
    rule_origins => Ended::Open { .. },
    rule_buckets => Ended::Promoted | Ended::Open { .. },
}

/// A kill in mid-stage changes nothing of what is decided, nor when: the golden file is the healthy one's.
#[tokio::test]
async fn a_restart_leaves_no_trace() {
    let outcome = play(include_str!("../scenarios/restarted.txt")).await;
    insta::assert_snapshot!("healthy", outcome);
}
