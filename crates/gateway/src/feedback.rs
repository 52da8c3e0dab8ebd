//! `POST /v1/feedback`: late scores and ratings, joined by the request id, by the session, or by the customer's last
//! session. One object or an array of them; each is answered for by itself.
//!
//! ```json
//! {"request_id": "cmr_…", "metrics": {"correct": 1, "helpful": 0.8}}
//! {"model": "support-agent", "session_id": "call-7", "name": "solved", "value": true, "id": "rating-3"}
//! {"model": "support-agent", "customer_id": "acme", "name": "escalated", "value": false}
//! ```
//! A score is a number in 0..=1, or a boolean. The same score sent again counts once: a score is told
//! from another by its request (or session), its name and the sender's own `id`. An `arm` that is sent along is held against the
//! one that is known, and never believed. [`otlp`] takes the same as logs.

pub(crate) mod otlp;

use crate::answer::{AnswerBody, Refusal, json};
use crate::customers::Last;
use crate::gateway::Gateway;
use crate::people::Heard;
use crate::phase::admit::{Admitted, Caller};
use crate::phase::identify;
use crate::request_id::RequestId;
use crate::tally::Room;
use coalmine_core::id::{RouteName, UnitKey};
use coalmine_core::metric::is_feedback_name;
use coalmine_core::tally::Feedback;
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::pin::{Arm, Membership};
use coalmine_wire::encoding::Encoding;
use coalmine_wire::json::{Kind, Scanner};
use coalmine_wire::openai::errors::Problem;
use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most scores in one object.
const SCORES_MAX: usize = 64;
/// The longest body of feedback, unpacked: what is read of it takes many times its length in memory.
const BODY_MAX_BYTES: usize = 8 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object of feedback")]
pub(crate) struct Item {
    request_id: Option<String>,
    session_id: Option<String>,
    customer_id: Option<String>,
    #[serde(alias = "route")]
    model: Option<String>,
    #[serde(default)]
    metrics: BTreeMap<String, Score>,
    name: Option<String>,
    value: Option<Score>,
    id: Option<Id>,
    arm: Option<String>,
    /// What a person has answered, on a route that people answer.
    answer: Option<String>,
}

/// Why a score is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// It is wrong, and stays so.
    #[error("{0}")]
    Wrong(String),
    /// There is no room for it now.
    #[error("too much feedback waits; send it again later")]
    Full,
}

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Self::Wrong(why)
    }
}

#[derive(Deserialize, Clone, Copy)]
#[serde(untagged, expecting = "a score is a number in 0..=1 or a boolean")]
pub(crate) enum Score {
    Number(f64),
    Truth(bool),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "an id is a text or a whole number")]
pub(crate) enum Id {
    Text(String),
    Number(u64),
}

#[derive(Serialize)]
struct Report {
    accepted: usize,
    refused: usize,
    results: Vec<Verdict>,
}

#[derive(Serialize)]
struct Verdict {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Whose score it is.
struct Joined {
    route: RouteName,
    unit: UnitKey,
    member: Option<Membership>,
    /// Tells requests of one session apart; 0 for the session as a whole.
    turn: u64,
}

/// Takes feedback.
pub(crate) fn take(gateway: &Gateway, admitted: &Admitted) -> Result<Response<AnswerBody>, Refusal> {
    must_be_short(&admitted.body)?;
    let items = items(&admitted.body, gateway.config.limits.feedback)?;
    let verdicts = items.into_iter().map(|item| {
        let taken = serde_json::from_slice(item).map_err(|error| error.to_string());
        taken.and_then(|item: Item| {
            one(gateway, &admitted.caller, &item, admitted.received_at).map_err(|refused| refused.to_string())
        })
    });
    let results: Vec<Verdict> = verdicts.map(|taken| Verdict { ok: taken.is_ok(), error: taken.err() }).collect();
    let accepted = results.iter().filter(|verdict| verdict.ok).count();
    let refused = results.len() - accepted;
    gateway.metrics.feedback_taken.add(accepted as u64);
    gateway.metrics.feedback_refused.add(refused as u64);
    let status = if accepted > 0 || refused == 0 { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let report = Report { accepted, refused, results };
    Ok(json(status, serde_json::to_vec(&report).unwrap_or_default()))
}

fn must_be_short(body: &[u8]) -> Result<(), Refusal> {
    if body.len() <= BODY_MAX_BYTES {
        return Ok(());
    }
    let message = format!("{} bytes of feedback in one request; {BODY_MAX_BYTES} are taken", body.len());
    Err(Refusal::new(Problem::TooLarge, message))
}

/// The items of a body as they are written, `max` of them at most; none is read before all are counted.
fn items(body: &[u8], max: usize) -> Result<Vec<&[u8]>, Refusal> {
    let unreadable = |_| {
        let told = match Encoding::of(body) {
            Some(encoding) => format!("the request body {encoding}"),
            None => "feedback is a JSON object, or an array of such".to_owned(),
        };
        Refusal::new(Problem::BadRequest, told)
    };
    let mut scanner = Scanner::new(body);
    let mut items = Vec::new();
    if scanner.peek().map_err(unreadable)? != Kind::Array {
        items.push(scanner.skip().map_err(unreadable)?.of(body));
        scanner.end().map_err(unreadable)?;
        return Ok(items);
    }
    let mut count = 0;
    scanner.enter_array().map_err(unreadable)?;
    while scanner.next_item().map_err(unreadable)? {
        let item = scanner.skip().map_err(unreadable)?.of(body);
        count += 1;
        if count <= max {
            items.push(item);
        }
    }
    scanner.end().map_err(unreadable)?;
    if count > max {
        let message = format!("{count} items of feedback in one request; this gateway takes {max}");
        return Err(Refusal::new(Problem::TooLarge, message));
    }
    Ok(items)
}

/// All scores of one object, or none of them.
pub(crate) fn one(gateway: &Gateway, caller: &Caller, item: &Item, now: UnixMs) -> Result<(), Refused> {
    let mut scores: Vec<(&str, Score)> = item.metrics.iter().map(|(name, score)| (name.as_str(), *score)).collect();
    match (&item.name, item.value) {
        (Some(name), Some(value)) => scores.push((name, value)),
        (None, None) => {}
        _ => return Err("`name` and `value` come together".to_owned().into()),
    }
    if (scores.is_empty() && item.answer.is_none()) || scores.len() > SCORES_MAX {
        return Err(format!(
            "give 1 to {SCORES_MAX} scores, as `metrics` or as `name` and `value`, or a person's `answer`"
        )
        .into());
    }
    let joined = joined(gateway, caller, item, now)?;
    let contradicts = contradicts(item, joined.member.as_ref())?;
    let snapshot = gateway.tables.load();
    let allowed = snapshot.route(joined.route.as_str()).map(|route| route.settings.clone());
    let mut ready = Vec::with_capacity(scores.len());
    for (name, score) in scores {
        let name = name.strip_prefix("feedback.").unwrap_or(name);
        if !is_feedback_name(name) {
            return Err(format!("`{name}` cannot name a feedback: 1 to 64 of a-z 0-9 _ . -").into());
        }
        if allowed.as_ref().is_some_and(|settings| !settings.feedback.is_empty() && !settings.feedback.contains(name)) {
            return Err(format!("route {} takes no feedback named `{name}`", joined.route).into());
        }
        let value = match score {
            Score::Truth(is_so) => f64::from(u8::from(is_so)),
            Score::Number(value) if (0.0..=1.0).contains(&value) => value,
            Score::Number(value) => {
                return Err(format!("`{name}` is {value}; a score is in 0..=1, where 1 is good").into());
            }
        };
        ready.push(Feedback {
            route: joined.route.clone(),
            unit: joined.unit,
            member: joined.member.clone(),
            name: name.to_owned(),
            value,
            judge: None,
            idempotency: idempotency(gateway, &joined, name, item.id.as_ref()),
            received_at: now,
        });
    }
    if let Some(answer) = &item.answer {
        answered(gateway, &joined, answer)?;
    }
    gateway.metrics.feedback_mismatched.add(if contradicts { ready.len() as u64 } else { 0 });
    match ready.into_iter().all(|score| gateway.tally.keep_feedback(score) == Room::Taken) {
        true => Ok(()),
        false => Err(Refused::Full),
    }
}

/// Takes what a person has answered; where its session is not mirrored, nobody waits for it.
fn answered(gateway: &Gateway, joined: &Joined, answer: &str) -> Result<(), String> {
    let snapshot = gateway.tables.load();
    let route = snapshot.route(joined.route.as_str()).ok_or_else(|| format!("there is no route `{}`", joined.route))?;
    if !route.prepared(route.table.stable).is_some_and(|stable| stable.is_people()) {
        return Err(format!("a model answers route `{}`; an `answer` is taken where people do", joined.route));
    }
    if answer.trim().is_empty() {
        return Err("`answer` is empty; send what the person said".to_owned());
    }
    match gateway.people.hear(joined.unit, Some(joined.turn).filter(|turn| *turn > 0), answer) {
        Heard::Compared | Heard::Nobody => Ok(()),
        Heard::Several => {
            Err("several requests of this session wait for a person's answer; name one by `request_id`".to_owned())
        }
    }
}

/// Whether the sender takes the canary for the rest, or the rest for the canary.
fn contradicts(item: &Item, member: Option<&Membership>) -> Result<bool, String> {
    let is_canary = member.is_some_and(|member| member.arm == Arm::Canary);
    match item.arm.as_deref() {
        None => Ok(false),
        Some("canary") => Ok(!is_canary),
        Some("stable" | "control") => Ok(is_canary),
        Some(other) => Err(format!("`{other}` is no arm; write stable, control or canary, or leave it out")),
    }
}

fn joined(gateway: &Gateway, caller: &Caller, item: &Item, now: UnixMs) -> Result<Joined, String> {
    if let Some(text) = &item.request_id {
        let id = RequestId::open(text, &gateway.keys.request_id)
            .ok_or("`request_id` is not one that this gateway gave out in `x-coalmine-request-id`")?;
        let unit = id.unit.ok_or("the request had no session, so nothing can be joined to it")?;
        return Ok(Joined { route: RouteName::clone(&id.route), unit, member: id.member, turn: id.turn });
    }
    let snapshot = gateway.tables.load();
    let Some(model) = &item.model else {
        return Err("give `request_id`, or `session_id` or `customer_id` with `model` (the route)".to_owned());
    };
    let route = snapshot.route(model).ok_or_else(|| format!("there is no route `{model}`"))?;
    let session = match (&item.session_id, &item.customer_id) {
        (Some(session), _) => session,
        (None, Some(customer)) => return of_customer(gateway, caller, &route.name, customer, now),
        (None, None) => return Err("give `request_id`, `session_id` or `customer_id`".to_owned()),
    };
    let unit = identify::unit(gateway, route, &caller.scope, session);
    let found = gateway.pins.get(unit, now).map(|pin| (unit, pin));
    // As answers and spans name it, which nobody guesses.
    let named = || u128::from_str_radix(session, 16).ok().filter(|_| session.len() == 32).map(UnitKey);
    let found = found.or_else(|| named().and_then(|unit| gateway.pins.get(unit, now).map(|pin| (unit, pin))));
    let (unit, pin) = found.ok_or("no live session of this name under this API key and route")?;
    Ok(Joined { route: RouteName::clone(&route.name), unit, member: pin.member, turn: 0 })
}

/// The customer's last session on a route, where it is plain which one is meant.
fn of_customer(
    gateway: &Gateway,
    caller: &Caller,
    route: &RouteName,
    customer: &str,
    now: UnixMs,
) -> Result<Joined, String> {
    match gateway.customers.last(route, &caller.scope, customer, now) {
        Last::Session(unit, member) => Ok(Joined { route: route.clone(), unit, member, turn: 0 }),
        Last::Mixed => {
            Err("sessions of this customer were on more than one version within the last hour, and nobody can say \
             which is meant: give `request_id` or `session_id`"
                .to_owned())
        }
        Last::Unknown => {
            Err("no session of this customer was answered here within a day under this API key and route".to_owned())
        }
    }
}

fn idempotency(gateway: &Gateway, joined: &Joined, name: &str, id: Option<&Id>) -> u64 {
    let mut hasher = blake3::Hasher::new_keyed(&gateway.keys.request_id);
    hasher.update(&joined.unit.0.to_le_bytes());
    hasher.update(&joined.turn.to_le_bytes());
    hasher.update(&(name.len() as u64).to_le_bytes());
    hasher.update(name.as_bytes());
    match id {
        None => {}
        Some(Id::Text(text)) => {
            hasher.update(text.as_bytes());
        }
        Some(Id::Number(number)) => {
            hasher.update(number.to_string().as_bytes());
        }
    }
    let mut low = [0; 8];
    low.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(low)
}

/// See [`crate::laws::scores`].
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn laws(body: &[u8]) {
    let Ok(items) = items(body, usize::MAX) else { return };
    let all = items.len();
    assert!(all < 2 || self::items(body, all - 1).is_err(), "one more than is taken");
    assert!(items.iter().map(|item| item.len()).sum::<usize>() <= body.len());
    for item in items {
        let _: Result<Item, _> = serde_json::from_slice(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_counted_before_any_is_read() {
        assert_eq!(items(br#" {"a":[1,2]} "#, 1).unwrap(), [br#"{"a":[1,2]}"#]);
        assert_eq!(items(br#"[{"a":1}, 0 ,"x"]"#, 3).unwrap(), [&br#"{"a":1}"#[..], b"0", br#""x""#]);
        assert!(items(b"[]", 0).unwrap().is_empty());
        for (body, max, status) in
            [("[0,0,0]", 2, 413), ("[0,0", 9, 400), ("{} {}", 9, 400), ("[] 1", 9, 400), ("", 9, 400)]
        {
            let refused = items(body.as_bytes(), max).unwrap_err();
            assert_eq!(refused.into_response(coalmine_wire::dialect::Dialect::Chat).status(), status, "{body}");
        }
        assert!(must_be_short(&[0; 9]).is_ok() && must_be_short(&vec![0; BODY_MAX_BYTES + 1]).is_err());
    }
}
