//! Carries deltas away, one after the other: the same one is offered until it is taken, while
//! requests go on and the queue behind it stays bounded.

use crate::gateway::Gateway;
use crate::ports::TallySink;
use coalmine_core::tally::Delta;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// The longest pause between two offers of a delta.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Runs until `stop` says so; then offers what is left once more, for as long as it is let.
pub(crate) async fn report(gateway: Arc<Gateway>, sink: Arc<dyn TallySink>, mut stop: watch::Receiver<bool>) {
    let mut ticks = interval(gateway.config.report_every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sequence = 0;
    let mut stopping = false;
    while !stopping {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stop.changed() => stopping = true,
        }
        sequence += 1;
        let delta = next(&gateway, sequence);
        offer(&gateway, &*sink, &delta).await;
        stopping |= *stop.borrow();
        if stopping {
            // what landed while the last one was on its way
            offer(&gateway, &*sink, &next(&gateway, sequence + 1)).await;
        }
    }
}

fn next(gateway: &Gateway, sequence: u64) -> Arc<Delta> {
    let taken = gateway.tally.take(gateway.clock.now());
    let serving = gateway.tables.serving();
    let mut delta = taken.into_delta(gateway.config.gateway.clone(), gateway.config.epoch, sequence, serving);
    gateway.people.give_up(gateway.clock.now());
    delta.mirrored = gateway.shadows.take(gateway.clock.now());
    delta.spending = gateway.admission.take(gateway.clock.now());
    Arc::new(delta)
}

/// Offers one delta until it is taken.
async fn offer(gateway: &Gateway, sink: &dyn TallySink, delta: &Arc<Delta>) {
    let mut pause = gateway.config.report_every.clamp(Duration::from_millis(10), LONGEST_PAUSE);
    let mut refusals = 0_u32;
    while let Err(error) = sink.deliver(delta.clone()).await {
        refusals += 1;
        gateway.metrics.sink_refusals.add(1);
        if refusals == 1 {
            tracing::warn!(%error, sequence = delta.sequence, "what was learnt waits; requests go on");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    if refusals > 0 {
        tracing::info!(sequence = delta.sequence, refusals, "the delta was taken");
    }
}
