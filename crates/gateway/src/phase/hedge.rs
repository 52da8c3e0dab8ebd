//! Hedging: where a provider's first content is long in coming, another of its addresses is asked the same, and whoever
//! has content first answers. The other is dropped, which its upstream feels. It is one request to everybody but the
//! provider, whose price for reading it twice is counted.

use crate::phase::observe::StreamOrBody;
use crate::phase::send::{is_encoded, shape};
use crate::upstream::asked::Asked;
use crate::upstream::choice::{Going, Picked};
use crate::upstream::connections::ProviderBody;
use crate::upstream::pool::{Hedge, Pool, Trouble};
use crate::upstream::under_way::UnderWay;
use bytes::Bytes;
use coalmine_wire::dialect::Dialect;
use coalmine_wire::openai::{Expect, Observer, Progress};
use http::response;
use http_body::Body;
use http_body_util::BodyExt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::{Instant, sleep_until, timeout_at};

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
    /// Asks one address, and after the provider's delay a second one, where there is one and the share allows it.
    pub(crate) async fn run(self, hedge: &Hedge, ask: impl Fn() -> Asked, going: &mut Going) -> Raced {
        let alone = |came| Raced { came, hedge: Hedged::No };
        hedge.budget.pay_in();
        let picked = self.pool.aim(going);
        let began = AtomicBool::new(false);
        let sent = self.pool.send_to(picked, ask(), self.path, self.by, self.under_way);
        let mut first = pin!(self.fare(picked, sent, Some(&began)));
        tokio::select! {
            biased;
            fared = &mut first => return alone(fared.into()),
            () = sleep_until(Instant::now() + hedge.after) => {}
        }
        let mut further = *going;
        let other = self.pool.aim(&mut further);
        let is_another = other.at != picked.at;
        if !is_another || !hedge.budget.take() {
            self.pool.series.hedges_refused.add(u64::from(is_another));
            self.pool.choice.unfelt(other);
            return alone(first.await.into());
        }
        *going = further;
        self.pool.series.hedges.add(1);
        let sent = self.pool.send_to(other, ask(), self.path, self.by, self.under_way);
        let mut second = pin!(self.fare(other, sent, None));
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
    pub(crate) async fn once(self, request: Asked, going: &mut Going) -> Result<Head, Trouble> {
        let picked = self.pool.aim(going);
        let response = self.pool.send_to(picked, request, self.path, self.by, self.under_way).await?;
        let (parts, body) = response.into_parts();
        Ok(Head { parts, held: Vec::new(), body, picked })
    }

    async fn fare(
        self,
        picked: Picked,
        sent: impl Future<Output = Result<http::Response<ProviderBody>, Trouble>>,
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
        if shape(&head.parts.headers) == StreamOrBody::Body || is_encoded(&head.parts.headers) {
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
