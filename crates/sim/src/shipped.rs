//! The scenarios that are shipped; the tests hold their golden output.

/// Name and text of each, in the order in which they are listed.
pub const SCENARIOS: [(&str, &str); 9] = [
    ("healthy", include_str!("../scenarios/healthy.txt")),
    ("refusal_doubled", include_str!("../scenarios/refusal_doubled.txt")),
    ("late_onset", include_str!("../scenarios/late_onset.txt")),
    ("both_arms_bad", include_str!("../scenarios/both_arms_bad.txt")),
    ("aa", include_str!("../scenarios/aa.txt")),
    ("reports_lost", include_str!("../scenarios/reports_lost.txt")),
    ("restarted", include_str!("../scenarios/restarted.txt")),
    ("store_down", include_str!("../scenarios/store_down.txt")),
    ("store_down_bad_canary", include_str!("../scenarios/store_down_bad_canary.txt")),
];

#[cfg(test)]
mod tests {
    use super::SCENARIOS;
    use crate::Scenario;

    #[test]
    fn each_is_read_and_says_first_what_it_is() {
        for (name, text) in SCENARIOS {
            assert!(Scenario::parse(text).is_ok(), "{name}");
            assert!(text.starts_with("# "), "{name} begins with a sentence");
        }
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios")).unwrap().count();
        assert_eq!(files, SCENARIOS.len(), "every file of scenarios/ is shipped");
    }
}
