//! Notice: what a request says of the turns before it. Results of tools, a question asked again and a client's own retry
//! tell of the earlier answers of its session, and become late scores of it, as if the application had sent them. Only of
//! sessions inside a release: nobody counts the others.

use crate::gateway::Gateway;
use crate::headers::Headers;
use crate::tally::Flight;
use coalmine_core::metric::noticed;
use coalmine_core::tally::Feedback;
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::pin::Membership;
use coalmine_wire::openai::{ChatRequest, Detect, Past};
use http::HeaderName;

/// How often an SDK has sent this request before (`openai` and `anthropic` for Python and Node, and what stands on them).
const RETRY_COUNT: HeaderName = HeaderName::from_static("x-stainless-retry-count");

/// Whose answers the detectors read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    /// Only those of sessions inside a release.
    InReleases,
    /// This one too: it is one of a pair.
    Paired,
}

/// Notes it, and says what the answer is to be held against.
pub(crate) fn notice(
    gateway: &Gateway,
    flight: &Flight,
    chat: &ChatRequest<'_>,
    headers: Headers<'_>,
    now: UnixMs,
    watched: Watched,
) -> Detect {
    let counted = flight.member.is_some() && flight.unit.is_some();
    if !counted && watched == Watched::InReleases {
        return Detect::Off;
    }
    let past = Past::read(chat);
    if !counted {
        return Detect::On { earlier: past.calls, asked_in: past.asked_in };
    }
    for result in &past.results {
        match flight.unit.and_then(|unit| gateway.callers.find(unit, result.call)) {
            Some(caller) => {
                let value = f64::from(u8::from(!result.failed));
                score(gateway, flight, Some(caller), noticed::TOOL_USE, value, result.call, now);
            }
            None => gateway.metrics.tool_results_unmatched.add(1),
        }
    }
    let own = || flight.member.clone();
    if past.asked_again {
        score(gateway, flight, own(), noticed::REASK, 0.0, flight.turn_number(), now);
    }
    let retries = headers.get(RETRY_COUNT).and_then(|count| count.to_str().ok()?.parse::<u32>().ok());
    if retries.is_some_and(|retries| retries > 0) {
        score(gateway, flight, own(), noticed::CLIENT_RETRY, 0.0, flight.turn_number(), now);
    }
    Detect::On { earlier: past.calls, asked_in: past.asked_in }
}

/// A score of the session, in the part that `member` says. `which` tells it from others of this name: what is told again
/// counts once. Where too many wait it is lost, like any other.
fn score(
    gateway: &Gateway,
    flight: &Flight,
    member: Option<Membership>,
    name: &str,
    value: f64,
    which: u64,
    now: UnixMs,
) {
    let Some(unit) = flight.unit else { return };
    let mut hasher = blake3::Hasher::new_keyed(&gateway.keys.request_id);
    hasher.update(b"noticed");
    hasher.update(&unit.0.to_le_bytes());
    hasher.update(&which.to_le_bytes());
    hasher.update(name.as_bytes());
    let mut low = [0; 8];
    low.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    let _ = gateway.tally.keep_feedback(Feedback {
        judge: None,
        route: flight.route.as_ref().clone(),
        unit,
        member,
        name: name.to_owned(),
        value,
        idempotency: u64::from_le_bytes(low),
        received_at: now,
    });
}
