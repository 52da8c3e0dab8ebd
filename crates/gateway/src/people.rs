//! People who answer where a model may some day: a route whose stable version is `people/…`. Such a request is put to no
//! provider; the client is told that a person answers (202), and what the person said comes as feedback. A copy that
//! the canary has answered meanwhile waits here for it, in bounded memory.

use crate::answer::{AnswerBody, json};
use crate::gateway::Gateway;
use crate::phase::observe::Exchange;
use crate::phase::relay::tell;
use crate::sync::lock;
use coalmine_core::id::UnitKey;
use coalmine_core::tally::Ending;
use coalmine_core::time::{SpanMs, UnixMs};
use http::{Response, StatusCode};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

/// How long a copy waits for a person.
const PATIENCE: SpanMs = SpanMs::hours(24);
/// Copies that wait at once, and the bytes of their requests; the oldest give way.
const WAITING_MAX: usize = 5_000;
const WAITING_MAX_BYTES: usize = 64 << 20;

/// A request by its session and its number.
type Which = (UnitKey, u64);

/// Copies that wait for a person's answer to the same request.
#[derive(Debug, Default)]
pub(crate) struct People {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    of: HashMap<Which, Asked>,
    by_unit: BTreeMap<UnitKey, Vec<u64>>,
    order: VecDeque<(UnixMs, Which)>,
    bytes: usize,
}

/// Dropping it tells the copy that nobody has answered.
#[derive(Debug)]
struct Asked {
    tell: oneshot::Sender<String>,
    bytes: usize,
}

/// What became of a person's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A copy waited for it.
    Compared,
    /// None did: its session is not drawn, it was answered already, or too long ago.
    Nobody,
    /// Several requests of the session wait, and it is not said which.
    Several,
}

impl People {
    /// A copy begins to wait for the answer to a request of `bytes`.
    pub(crate) fn ask(&self, unit: UnitKey, turn: u64, bytes: usize, now: UnixMs) -> oneshot::Receiver<String> {
        let (tell, told) = oneshot::channel();
        let mut waiting = lock(&self.waiting);
        waiting.bytes += bytes;
        waiting.of.insert((unit, turn), Asked { tell, bytes });
        waiting.by_unit.entry(unit).or_default().push(turn);
        waiting.order.push_back((now, (unit, turn)));
        while waiting.of.len() > WAITING_MAX || (waiting.bytes > WAITING_MAX_BYTES && waiting.of.len() > 1) {
            waiting.drop_oldest();
        }
        told
    }

    /// What a person has answered: to the request `turn`, or to the only one of its session that waits.
    pub(crate) fn hear(&self, unit: UnitKey, turn: Option<u64>, answer: &str) -> Heard {
        let mut waiting = lock(&self.waiting);
        let turn = match (turn, waiting.by_unit.get(&unit).map(Vec::as_slice)) {
            (Some(turn), _) => turn,
            (None, Some([turn])) => *turn,
            (None, Some([_, _, ..])) => return Heard::Several,
            (None, None | Some([])) => return Heard::Nobody,
        };
        match waiting.take((unit, turn)).map(|asked| asked.tell.send(answer.to_owned())) {
            Some(Ok(())) => Heard::Compared,
            Some(Err(_)) | None => Heard::Nobody,
        }
    }

    /// Gives up those that have waited for too long.
    pub(crate) fn give_up(&self, now: UnixMs) {
        let mut waiting = lock(&self.waiting);
        while waiting.order.front().is_some_and(|(at, _)| *at + PATIENCE <= now) {
            waiting.drop_oldest();
        }
    }
}

impl Waiting {
    fn take(&mut self, which: Which) -> Option<Asked> {
        let asked = self.of.remove(&which)?;
        self.bytes -= asked.bytes;
        if let Some(turns) = self.by_unit.get_mut(&which.0) {
            turns.retain(|turn| *turn != which.1);
            if turns.is_empty() {
                self.by_unit.remove(&which.0);
            }
        }
        // What was answered stands in the order until it is the oldest; it is small.
        if self.order.len() > 2 * WAITING_MAX {
            let of = &self.of;
            self.order.retain(|(_, which)| of.contains_key(which));
        }
        Some(asked)
    }

    fn drop_oldest(&mut self) {
        if let Some((_, which)) = self.order.pop_front() {
            drop(self.take(which));
        }
    }
}

/// Tells the client that a person answers.
pub(crate) async fn answer_later(gateway: &Arc<Gateway>, mut exchange: Box<Exchange>) -> Response<AnswerBody> {
    let said = serde_json::json!({
        "object": "coalmine.answered_by_people",
        "request_id": exchange.request_id,
        "model": exchange.route.name.as_str(),
    });
    let mut response = json(StatusCode::ACCEPTED, said.to_string());
    exchange.flight.note_status(StatusCode::ACCEPTED.as_u16());
    exchange.note_client_status(StatusCode::ACCEPTED.as_u16());
    tell(response.headers_mut(), &exchange);
    exchange.decide(Ending::Complete);
    exchange.end_unanswered();
    gateway.written(gateway.records()).await;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_000);

    #[test]
    fn an_answer_goes_to_the_request_that_it_names_and_once() {
        let people = People::default();
        let (mut first, mut second) = (people.ask(UnitKey(1), 1, 10, NOW), people.ask(UnitKey(1), 2, 10, NOW));
        assert_eq!(people.hear(UnitKey(1), None, "which?"), Heard::Several);
        assert_eq!(people.hear(UnitKey(1), Some(2), "two"), Heard::Compared);
        assert_eq!(second.try_recv().unwrap(), "two");
        assert_eq!(people.hear(UnitKey(1), Some(2), "again"), Heard::Nobody);
        assert_eq!(people.hear(UnitKey(1), None, "one"), Heard::Compared, "one is left");
        assert_eq!(first.try_recv().unwrap(), "one");
        assert_eq!(people.hear(UnitKey(1), None, "more"), Heard::Nobody);
        assert_eq!(people.hear(UnitKey(2), Some(1), "more"), Heard::Nobody);
        assert_eq!(lock(&people.waiting).bytes, 0);
    }

    #[test]
    fn what_waits_is_bounded_in_number_bytes_and_time() {
        let people = People::default();
        let told: Vec<_> = (0..WAITING_MAX as u128 + 3).map(|unit| people.ask(UnitKey(unit), 0, 1, NOW)).collect();
        let given_up = told
            .into_iter()
            .map(|mut told| told.try_recv())
            .filter(|got| *got != Err(oneshot::error::TryRecvError::Empty));
        assert_eq!(given_up.count(), 3, "the oldest give way");
        let people = People::default();
        let mut large: Vec<_> = (0..3).map(|unit| people.ask(UnitKey(unit), 0, WAITING_MAX_BYTES / 2, NOW)).collect();
        assert_eq!(large[0].try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(large[2].try_recv(), Err(oneshot::error::TryRecvError::Empty));
        people.give_up(NOW + SpanMs(PATIENCE.0 - 1));
        assert_eq!(large[2].try_recv(), Err(oneshot::error::TryRecvError::Empty));
        people.give_up(NOW + PATIENCE);
        assert_eq!(large[2].try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(lock(&people.waiting).bytes, 0);
    }

    #[test]
    fn what_was_answered_is_not_remembered_for_ever() {
        let people = People::default();
        for unit in 0..4 * WAITING_MAX as u128 {
            let _told = people.ask(UnitKey(unit), 0, 1, NOW);
            people.hear(UnitKey(unit), None, "so");
        }
        let waiting = lock(&people.waiting);
        assert!(waiting.order.len() <= 2 * WAITING_MAX + 1 && waiting.by_unit.is_empty());
    }
}
