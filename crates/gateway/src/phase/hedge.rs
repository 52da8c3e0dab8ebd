//! Hedging: where a provider's first content is long in coming, another of its addresses is asked the same, and whoever
//! has content first answers. The other is dropped, which its upstream feels. It is one request to everybody but the
//! provider, whose price for reading it twice is counted.
//!
//! The one request that shows how an address is that was put aside goes the same way, whether its provider is hedged or
//! not: an address that hangs is to cost its customer no more than a moment. It is put to a sibling in the place of a
//! retry, and never where there may be none. So does a request that waits at an address which is found to hang.

use crate::phase::observe::StreamOrBody;
use crate::phase::send::{is_encoded, shape};
use crate::upstream::asked::Asked;
use crate::upstream::choice::silence::SILENT_LEAST;
use crate::upstream::choice::{As, Going, Picked};
use crate::upstream::connections::ProviderBody;
use crate::upstream::pool::{Pool, Trouble};
use crate::upstream::rescue::RescueBudget;
use crate::upstream::under_way::UnderWay;
use bytes::Bytes;
use coalmine_wire::dialect::Dialect;
use coalmine_wire::openai::{Expect, Observer, Progress};
use http::response;
use http_body::Body;
use http_body_util::BodyExt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// The most of a stream that is held back while it has no content.
const HELD_MAX: usize = 1 << 20;

/// An answer that has begun.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) parts: response::Parts,
    /// Its first pieces, where they were looked at.
    pub(crate) held: Vec<Bytes>,
    pub(crate) body: ProviderBody,
    /// Of which address.
    pub(crate) picked: Picked,
}

/// What came of asking, once or twice.
#[derive(Debug)]
pub(crate) struct Raced {
    pub(crate) came: Result<Head, Trouble>,
    pub(crate) hedge: Hedged,
}

/// Whether a second address was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hedged {
    /// It was not.
    No,
    /// It was, and whoever lost had failed by itself.
    Failed,
    /// It was, and whoever lost was sent away while it worked.
    Cancelled,
}

/// When and on what terms a second address is asked beside the first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Second<'a> {
    after: After,
    awaits: Awaits,
    paid: Paid<'a>,
}

/// When it is asked, for want of what is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Delay(Duration),
    /// As soon as the first one's address is found to hang.
    Silence,
}

/// What the first must have shown by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaits {
    /// That it answers at all.
    Head,
    /// What a customer waits for.
    Content,
}

/// What a second request is taken from.
#[derive(Debug, Clone, Copy)]
enum Paid<'a> {
    /// The share of requests that may be asked twice.
    Share(&'a RescueBudget),
    /// The retries of this one.
    Retry,
}

impl<'a> Second<'a> {
    /// For an attempt behind `done` further ones; `None`: it is put to one address alone.
    pub(crate) fn of(pool: &'a Pool, picked: Picked, done: u16) -> Option<Self> {
        let may_retry = done < pool.retry.retries;
        let tries = picked.as_ == As::Probe && may_retry;
        let waits = picked.as_ == As::InService && pool.choice.is_free() && may_retry;
        match &pool.hedge {
            Some(hedge) if tries || done == 0 => {
                let paid = if tries { Paid::Retry } else { Paid::Share(&hedge.budget) };
                Some(Self { after: After::Delay(hedge.after), awaits: Awaits::Content, paid })
            }
            None if tries || waits => {
                let after = if tries { After::Delay(pool.patience(picked)) } else { After::Silence };
                Some(Self { after, awaits: Awaits::Head, paid: Paid::Retry })
            }
            Some(_) | None => None,
        }
    }

    /// Whether this one may be asked: a retry is for somebody in service.
    fn may_be(&self, other: Picked, first: Picked) -> bool {
        other.at != first.at
            && match self.paid {
                Paid::Share(_) => true,
                Paid::Retry => other.as_ == As::InService,
            }
    }

    /// When the first one has shown nothing for too long.
    async fn is_due(&self, pool: &Pool, first: Picked) {
        match self.after {
            After::Delay(delay) => sleep(delay).await,
            After::Silence => {
                // most are answered before, and are entered in no list
                sleep(SILENT_LEAST).await;
                pool.choice.until_hanging(first.at).await;
            }
        }
    }

    fn take(&self) -> bool {
        match self.paid {
            Paid::Share(budget) => budget.take(),
            Paid::Retry => true,
        }
    }

    /// Further attempts that a second request was.
    pub(crate) const fn attempts(&self, hedge: Hedged) -> u16 {
        match (self.paid, hedge) {
            (Paid::Retry, Hedged::Failed | Hedged::Cancelled) => 1,
            (Paid::Retry, Hedged::No) | (Paid::Share(_), Hedged::No | Hedged::Failed | Hedged::Cancelled) => 0,
        }
    }
}

/// One request, that may be put to two addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Race<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) path: &'a str,
    /// In which its content is read.
    pub(crate) dialect: Dialect,
    /// When somebody must have answered.
    pub(crate) by: Instant,
    /// How long a stream is held back for want of content.
    pub(crate) hold_until: Instant,
    /// Told who works on it.
    pub(crate) under_way: &'a UnderWay,
}

/// How one of the two fared.
enum Fared {
    /// Its content has begun, or it was held for long enough.
    Well(Head),
    /// It failed, or refuses.
    Badly(Result<Head, Trouble>),
}

impl From<Fared> for Result<Head, Trouble> {
    fn from(fared: Fared) -> Self {
        match fared {
            Fared::Well(head) => Ok(head),
            Fared::Badly(came) => came,
        }
    }
}

impl Race<'_> {
    /// Asks one address, and after a delay a second one, where there is one and the terms allow it.
    pub(crate) async fn run(
        self,
        picked: Picked,
        terms: Second<'_>,
        ask: impl Fn() -> Asked,
        going: &mut Going,
    ) -> Raced {
        let alone = |came| Raced { came, hedge: Hedged::No };
        let began = AtomicBool::new(false);
        let sent = self.pool.send_to(picked, ask(), self.path, self.by, self.under_way);
        let mut first = pin!(self.fare(picked, sent, terms.awaits, Some(&began)));
        tokio::select! {
            biased;
            fared = &mut first => return alone(fared.into()),
            () = terms.is_due(self.pool, picked) => {}
        }
        let mut further = *going;
        let other = self.pool.aim(&mut further);
        let may_be = terms.may_be(other, picked);
        if !may_be || !terms.take() {
            self.pool.series.hedges_refused.add(u64::from(may_be));
            self.pool.choice.unfelt(other);
            return alone(first.await.into());
        }
        *going = further;
        self.pool.series.hedges.add(1);
        let sent = self.pool.send_to(other, ask(), self.path, self.by, self.under_way);
        let mut second = pin!(self.fare(other, sent, terms.awaits, None));
        let (fared, won) = tokio::select! {
            biased;
            fared = &mut first => match fared {
                Fared::Well(head) => return Raced { came: Ok(head), hedge: Hedged::Cancelled },
                Fared::Badly(came) => (came, second.await),
            },
            fared = &mut second => match fared {
                Fared::Well(head) => {
                    self.pool.series.hedges_won.add(1);
                    if !began.load(Ordering::Relaxed) {
                        self.pool.outrun(picked);
                    }
                    return Raced { came: Ok(head), hedge: Hedged::Cancelled };
                }
                Fared::Badly(came) => (came, first.await),
            },
        };
        match won {
            Fared::Well(head) => Raced { came: Ok(head), hedge: Hedged::Failed },
            Fared::Badly(_) => Raced { came: fared, hedge: Hedged::Failed },
        }
    }

    /// Asks one address and looks at nothing.
    pub(crate) async fn once(self, picked: Picked, request: Asked) -> Result<Head, Trouble> {
        let response = self.pool.send_to(picked, request, self.path, self.by, self.under_way).await?;
        let (parts, body) = response.into_parts();
        Ok(Head { parts, held: Vec::new(), body, picked })
    }

    async fn fare(
        self,
        picked: Picked,
        sent: impl Future<Output = Result<http::Response<ProviderBody>, Trouble>>,
        awaits: Awaits,
        began: Option<&AtomicBool>,
    ) -> Fared {
        let sent = sent.await;
        if let Some(began) = began {
            began.store(true, Ordering::Relaxed);
        }
        let (parts, body) = match sent {
            Ok(response) => response.into_parts(),
            Err(trouble) => return Fared::Badly(Err(trouble)),
        };
        let mut head = Head { parts, held: Vec::new(), body, picked };
        if !head.parts.status.is_success() {
            return Fared::Badly(Ok(head));
        }
        // what is one body has all of its content behind its head
        let is_whole = awaits == Awaits::Head || shape(&head.parts.headers) == StreamOrBody::Body;
        if is_whole || is_encoded(&head.parts.headers) {
            return Fared::Well(head);
        }
        let mut observer = Observer::new(Expect { dialect: self.dialect, stream: true, ..Expect::default() });
        let mut bytes = 0;
        while !head.body.is_end_stream() {
            let piece = match timeout_at(self.by.min(self.hold_until), head.body.frame()).await {
                Err(_) if self.by <= self.hold_until => {
                    self.pool.cut_short(picked);
                    return Fared::Badly(Err(Trouble::FirstByte));
                }
                Err(_held_long_enough) => return Fared::Well(head),
                Ok(Some(Err(_))) => {
                    self.pool.cut_short(picked);
                    return Fared::Badly(Err(Trouble::Broken));
                }
                Ok(None) => break,
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            };
            bytes += piece.len();
            let progress = observer.feed(&piece);
            head.held.push(piece);
            if progress == Progress::Content || bytes > HELD_MAX {
                return Fared::Well(head);
            }
        }
        // it ended without content: that is a failure, and its words say why
        Fared::Badly(Ok(head))
    }
}
