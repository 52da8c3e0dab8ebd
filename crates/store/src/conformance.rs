//! One suite for every store: a law is an async function that is given an empty store. A store's
//! tests run them all with [`crate::for_every_law`]; a law left out of that list is never run, so
//! the suite's own test compares the list with the functions.

pub mod captures;
pub mod evidence;
pub mod incidents;
pub mod judges;
pub mod keys;
pub mod releases;
pub mod routes;
pub mod sample;

/// Makes a test of every law: `for_every_law!(store().await)`, where the expression opens a new,
/// empty store and may hold on to what it needs in a tuple `(store, guard)`.
#[macro_export]
macro_rules! for_every_law {
    ($empty:expr) => {
        $crate::for_every_law! { $empty;
            routes::a_seed_is_taken_once
            routes::routes_are_listed_by_name
            routes::stable_is_set_and_read
            routes::a_stable_version_must_be_known
            routes::a_table_generation_is_never_handed_out_twice
            routes::versions_come_back_whole
            routes::a_document_is_replaced
            routes::tenants_do_not_see_each_other
            routes::it_answers_a_ping
            releases::a_release_comes_back_in_every_state
            releases::a_second_unfinished_release_is_refused
            releases::a_release_needs_its_route_and_versions
            releases::a_name_is_taken_once
            releases::releases_are_listed_newest_first
            releases::a_conflict_names_the_other_actor
            releases::of_two_at_once_one_commits
            releases::a_step_repeated_is_one_step
            releases::a_hold_keeps_the_generation
            releases::a_release_cannot_come_back_beside_another
            releases::the_journal_is_in_order
            releases::a_step_of_nothing_is_refused
            releases::the_outbox_is_in_order_and_retried
            releases::a_refused_step_leaves_no_trace
            evidence::evidence_comes_back
            evidence::a_session_is_replaced_and_forgotten
            evidence::rows_of_an_earlier_lap_go
            evidence::a_mirrored_session_is_replaced_and_forgotten
            evidence::a_sealed_bucket_never_changes
            evidence::a_batch_repeated_counts_once
            evidence::a_batch_left_behind_is_refused_whole
            evidence::marks_are_kept_per_gateway_and_epoch
            evidence::evidence_of_an_unknown_release_is_kept
            judges::a_judge_stays_pinned
            judges::what_a_judge_has_shown_comes_back
            judges::a_score_is_kept_under_its_judge
            incidents::a_cause_opens_one_incident
            incidents::a_subject_has_one_open_incident
            incidents::incidents_come_back_whole
            incidents::a_journal_of_an_incident_only_grows
            incidents::incidents_are_their_tenants_own
            keys::a_key_comes_back_and_its_name_is_taken_once
            keys::of_two_changes_of_a_key_one_is_kept
            keys::a_day_of_spending_is_replaced_with_its_mark
            keys::keys_and_spending_are_their_tenants_own
            keys::spending_of_long_ago_is_forgotten
            captures::a_capture_comes_back_sealed_and_once
            captures::the_newest_of_each_arm_stay
            captures::captures_are_deleted_by_id_release_and_age
            captures::a_route_without_a_release_has_captures_of_its_own
            captures::a_use_is_noted_once_and_forgotten_in_time
            captures::captures_are_their_tenants_own
        }
    };
    ($empty:expr; $($file:ident :: $law:ident)*) => {
        $(
            #[tokio::test]
            async fn $law() {
                let (store, _guard) = $empty;
                $crate::conformance::$file::$law(&store).await;
            }
        )*
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_law_is_in_the_list() {
        let list = include_str!("conformance.rs");
        let files = [
            ("routes", include_str!("conformance/routes.rs")),
            ("releases", include_str!("conformance/releases.rs")),
            ("evidence", include_str!("conformance/evidence.rs")),
            ("judges", include_str!("conformance/judges.rs")),
            ("incidents", include_str!("conformance/incidents.rs")),
            ("keys", include_str!("conformance/keys.rs")),
            ("captures", include_str!("conformance/captures.rs")),
        ];
        for (file, text) in files {
            for line in text.lines().filter_map(|line| line.strip_prefix("pub async fn ")) {
                let law = line.split('(').next().unwrap();
                assert!(list.contains(&format!("{file}::{law}\n")), "{file}::{law} is run by no store");
            }
        }
    }
}
