//! A request's body: bounded by itself in size and in time, and together with all others in what is held at once.

use crate::answer::{BoxError, Refusal};
use crate::gateway::Gateway;
use bytes::{Bytes, BytesMut};
use coalmine_wire::openai::errors::Problem;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Room is taken in pieces of this size.
const BLOCK: usize = 16 << 10;
/// When a client that found no room may come again.
const COME_AGAIN_S: u32 = 1;

/// Room for the bodies of all requests.
#[derive(Debug)]
pub(crate) struct Bodies {
    blocks: Arc<Semaphore>,
    all: usize,
    wait: Duration,
}

/// What a request has taken of it, until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Held(Option<OwnedSemaphorePermit>);

/// Why a body was not read.
enum Unread {
    Broken(BoxError),
    NoRoom,
}

impl Bodies {
    /// Room for so many bytes; who finds none waits for so long.
    pub(crate) fn new(bytes: usize, wait: Duration) -> Self {
        let all = bytes.div_ceil(BLOCK).clamp(1, Semaphore::MAX_PERMITS);
        Self { blocks: Arc::new(Semaphore::new(all)), all, wait }
    }

    /// Bytes that are taken, in whole blocks.
    pub(crate) fn held(&self) -> u64 {
        ((self.all - self.blocks.available_permits()) * BLOCK) as u64
    }

    /// The same, for what is no body; `false`: there is none.
    pub(crate) async fn has_room(&self, held: &mut Held, bytes: usize) -> bool {
        self.hold(held, bytes).await.is_ok()
    }

    /// Room for a body of so many bytes in all; what it has already counts. It grows with what has come, for a length
    /// that is declared takes no memory.
    async fn hold(&self, held: &mut Held, bytes: usize) -> Result<(), Unread> {
        let has = held.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(BLOCK).saturating_sub(has);
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).map_err(|_| Unread::NoRoom)?;
        let taken = match self.blocks.clone().try_acquire_many_owned(more) {
            Ok(taken) => taken,
            Err(_) => match timeout(self.wait, self.blocks.clone().acquire_many_owned(more)).await {
                Ok(Ok(taken)) => taken,
                Ok(Err(_)) | Err(_) => return Err(Unread::NoRoom),
            },
        };
        match &mut held.0 {
            Some(own) => own.merge(taken),
            None => held.0 = Some(taken),
        }
        Ok(())
    }
}

/// A body up to here is cheaper copied than a new buffer for its connection.
const COPIED_MAX_BYTES: usize = 8 * 1024;

/// Reads the body, which most often is there in one piece: a large one is then not copied.
pub(crate) async fn read(gateway: &Gateway, body: Incoming) -> Result<(Bytes, Held), Refusal> {
    let max = gateway.config.limits.body;
    let too_large = || {
        let message = format!("the request body is longer than {max} bytes, which is what this gateway takes");
        Refusal::new(Problem::TooLarge, message)
    };
    let mut held = Held::default();
    if body.is_end_stream() {
        return Ok((Bytes::new(), held));
    }
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    let whole = collect(Limited::new(body, max), &gateway.bodies, &mut held);
    match timeout(gateway.config.limits.body_time, whole).await {
        Err(_elapsed) => Err(Refusal::new(Problem::LateBody, "the request body did not come in time")),
        Ok(Err(Unread::Broken(error))) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(Unread::Broken(_))) => Err(Refusal::new(Problem::BadRequest, "the request body broke off")),
        Ok(Err(Unread::NoRoom)) => {
            gateway.metrics.bodies_refused.add(1);
            let message = "this gateway holds as many bytes of requests as it may; try again in a moment";
            Err(Refusal::new(Problem::Overloaded, message).retry_after(COME_AGAIN_S))
        }
        Ok(Ok(bytes)) => Ok((bytes, held)),
    }
}

async fn collect(mut body: Limited<Incoming>, bodies: &Bodies, held: &mut Held) -> Result<Bytes, Unread> {
    let mut whole = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Unread::Broken)?.into_data() else { continue };
        bodies.hold(held, whole.len() + joined.len() + data.len()).await?;
        if whole.is_empty() && joined.is_empty() {
            // A small one is copied: what it came in is then free for the connection's next request.
            whole = if data.len() <= COPIED_MAX_BYTES { Bytes::copy_from_slice(&data) } else { data };
        } else {
            joined.reserve(whole.len() + data.len());
            joined.extend_from_slice(&std::mem::take(&mut whole));
            joined.extend_from_slice(&data);
        }
    }
    Ok(if joined.is_empty() { whole } else { joined.freeze() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_taken_as_a_body_grows_and_given_back_with_it() {
        let bodies = Bodies::new(4 * BLOCK, Duration::from_millis(50));
        let (mut one, mut two) = (Held::default(), Held::default());
        for bytes in [1, BLOCK, BLOCK + 1, 3 * BLOCK] {
            assert!(bodies.hold(&mut one, bytes).await.is_ok());
            assert_eq!(bodies.held(), (bytes.div_ceil(BLOCK) * BLOCK) as u64);
        }
        assert!(matches!(bodies.hold(&mut two, 2 * BLOCK).await, Err(Unread::NoRoom)));
        assert!(bodies.hold(&mut two, BLOCK).await.is_ok());
        // who waits gets what another gives back
        let (third, ()) = tokio::join!(
            async {
                let mut third = Held::default();
                bodies.hold(&mut third, 2 * BLOCK).await.map(|()| third)
            },
            async { drop(one) },
        );
        assert_eq!((third.is_ok(), bodies.held()), (true, 3 * BLOCK as u64));
        drop((third, two));
        assert_eq!(bodies.held(), 0);
    }
}
