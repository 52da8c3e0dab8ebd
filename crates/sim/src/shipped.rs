//! The scenarios that are shipped; the tests hold their golden output.

/// Scenarios that show the same kind of thing.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// What they show.
    pub title: &'static str,
    /// Name and text of each, in the order in which they are listed.
    pub scenarios: &'static [(&'static str, &'static str)],
}

/// All groups, in the order in which they are listed.
pub const GROUPS: [Group; 8] = [
    Group { title: "Sound worlds: the promises hold", scenarios: &SOUND },
    Group { title: "Judged answers: a judge that errs, is away, is another, is spent", scenarios: &JUDGES },
    Group { title: "A shadow before the first stage", scenarios: &SHADOWS },
    Group { title: "What detectors see: a canary worse in each", scenarios: &DETECTORS },
    Group { title: "Coalmine itself breaks", scenarios: &OUTAGES },
    Group { title: "Worlds that break an assumption: what that costs", scenarios: &BROKEN },
    Group {
        title: "Worlds that go wrong without a rule: the shipped verdict, and beside it one without",
        scenarios: &RULES,
    },
    Group {
        title: "The full loop at 1 000 sessions a minute: single turns, and beside them sessions of four turns",
        scenarios: &LOOP,
    },
];

const SOUND: [(&str, &str); 20] = [
    ("healthy", include_str!("../scenarios/healthy.txt")),
    ("refusal_doubled", include_str!("../scenarios/refusal_doubled.txt")),
    ("late_onset", include_str!("../scenarios/late_onset.txt")),
    ("aa", include_str!("../scenarios/aa.txt")),
    ("both_arms_bad", include_str!("../scenarios/both_arms_bad.txt")),
    ("stable_sick", include_str!("../scenarios/stable_sick.txt")),
    ("ramp", include_str!("../scenarios/ramp.txt")),
    ("ramp_bad", include_str!("../scenarios/ramp_bad.txt")),
    ("drifting_load", include_str!("../scenarios/drifting_load.txt")),
    ("session_clusters", include_str!("../scenarios/session_clusters.txt")),
    ("cold_caches", include_str!("../scenarios/cold_caches.txt")),
    ("slow_hides", include_str!("../scenarios/slow_hides.txt")),
    ("judge_outage", include_str!("../scenarios/judge_outage.txt")),
    ("judge_outage_bad", include_str!("../scenarios/judge_outage_bad.txt")),
    ("sick_customer", include_str!("../scenarios/sick_customer.txt")),
    ("provider_swapped", include_str!("../scenarios/provider_swapped.txt")),
    ("held_back", include_str!("../scenarios/held_back.txt")),
    ("sentinel_wrong", include_str!("../scenarios/sentinel_wrong.txt")),
    ("sentinel_flaky", include_str!("../scenarios/sentinel_flaky.txt")),
    ("sentinel_outage", include_str!("../scenarios/sentinel_outage.txt")),
];

const JUDGES: [(&str, &str); 5] = [
    ("judge_good", include_str!("../scenarios/judge_good.txt")),
    ("judge_worse", include_str!("../scenarios/judge_worse.txt")),
    ("judge_down", include_str!("../scenarios/judge_down.txt")),
    ("judge_drifts", include_str!("../scenarios/judge_drifts.txt")),
    ("judge_spent", include_str!("../scenarios/judge_spent.txt")),
];

const SHADOWS: [(&str, &str); 4] = [
    ("shadow_good", include_str!("../scenarios/shadow_good.txt")),
    ("shadow_worse", include_str!("../scenarios/shadow_worse.txt")),
    ("shadow_pairs", include_str!("../scenarios/shadow_pairs.txt")),
    ("shadow_spent", include_str!("../scenarios/shadow_spent.txt")),
];

const DETECTORS: [(&str, &str); 13] = [
    ("detect_good", include_str!("../scenarios/detect_good.txt")),
    ("detect_language", include_str!("../scenarios/detect_language.txt")),
    ("detect_long", include_str!("../scenarios/detect_long.txt")),
    ("detect_short", include_str!("../scenarios/detect_short.txt")),
    ("detect_opening", include_str!("../scenarios/detect_opening.txt")),
    ("detect_cache", include_str!("../scenarios/detect_cache.txt")),
    ("detect_abandoned", include_str!("../scenarios/detect_abandoned.txt")),
    ("detect_quits", include_str!("../scenarios/detect_quits.txt")),
    ("detect_repetition", include_str!("../scenarios/detect_repetition.txt")),
    ("detect_fenced", include_str!("../scenarios/detect_fenced.txt")),
    ("detect_repeated_call", include_str!("../scenarios/detect_repeated_call.txt")),
    ("detect_reask", include_str!("../scenarios/detect_reask.txt")),
    ("detect_tool_use", include_str!("../scenarios/detect_tool_use.txt")),
];

const OUTAGES: [(&str, &str); 4] = [
    ("reports_lost", include_str!("../scenarios/reports_lost.txt")),
    ("restarted", include_str!("../scenarios/restarted.txt")),
    ("store_down", include_str!("../scenarios/store_down.txt")),
    ("store_down_bad_canary", include_str!("../scenarios/store_down_bad_canary.txt")),
];

const BROKEN: [(&str, &str); 9] = [
    ("broken_canary_provider", include_str!("../scenarios/broken_canary_provider.txt")),
    ("broken_arm_noise", include_str!("../scenarios/broken_arm_noise.txt")),
    ("broken_session_length", include_str!("../scenarios/broken_session_length.txt")),
    ("broken_session_length_hidden", include_str!("../scenarios/broken_session_length_hidden.txt")),
    ("broken_cancels", include_str!("../scenarios/broken_cancels.txt")),
    ("broken_cold_caches", include_str!("../scenarios/broken_cold_caches.txt")),
    ("broken_patience", include_str!("../scenarios/broken_patience.txt")),
    ("broken_constant_id", include_str!("../scenarios/broken_constant_id.txt")),
    ("broken_ratings", include_str!("../scenarios/broken_ratings.txt")),
];

const RULES: [(&str, &str); 8] = [
    ("rule_weights", include_str!("../scenarios/rule_weights.txt")),
    ("rule_cohort", include_str!("../scenarios/rule_cohort.txt")),
    ("rule_start", include_str!("../scenarios/rule_start.txt")),
    ("rule_openers", include_str!("../scenarios/rule_openers.txt")),
    ("rule_sessions", include_str!("../scenarios/rule_sessions.txt")),
    ("rule_control", include_str!("../scenarios/rule_control.txt")),
    ("rule_origins", include_str!("../scenarios/rule_origins.txt")),
    ("rule_buckets", include_str!("../scenarios/rule_buckets.txt")),
];

const LOOP: [(&str, &str); 8] = [
    ("loop_healthy", include_str!("../scenarios/loop_healthy.txt")),
    ("loop_healthy_turns", include_str!("../scenarios/loop_healthy_turns.txt")),
    ("loop_refusal", include_str!("../scenarios/loop_refusal.txt")),
    ("loop_refusal_turns", include_str!("../scenarios/loop_refusal_turns.txt")),
    ("loop_error", include_str!("../scenarios/loop_error.txt")),
    ("loop_error_turns", include_str!("../scenarios/loop_error_turns.txt")),
    ("loop_judge", include_str!("../scenarios/loop_judge.txt")),
    ("loop_judge_turns", include_str!("../scenarios/loop_judge_turns.txt")),
];

/// Every shipped scenario.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    GROUPS.iter().flat_map(|group| group.scenarios.iter().copied())
}

/// The text of one.
#[must_use]
pub fn named(name: &str) -> Option<&'static str> {
    all().find(|(shipped, _)| *shipped == name).map(|(_, text)| text)
}

/// The first sentence of a scenario: what it is.
#[must_use]
pub fn about(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim_start_matches(['#', ' '])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scenario;

    #[test]
    fn each_is_read_and_says_first_what_it_is() {
        for (name, text) in all() {
            assert!(Scenario::parse(text).is_ok(), "{name}");
            assert!(about(text).len() > 10, "{name} begins with a sentence");
        }
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios")).unwrap().count();
        assert_eq!(files, all().count(), "every file of scenarios/ is shipped");
        assert_eq!(named("healthy").map(about), Some("A canary as good as stable."));
        assert_eq!(named("nothing"), None);
    }
}
