//! The loop: load, observe, decide, commit, apply.

use crate::control::Control;
use std::future::Future;
use std::time::Duration;

/// What only the loop touches.
#[derive(Debug, Default)]
pub(crate) struct Desk {}

impl Control {
    /// Runs the loop until `shutdown` resolves. Requests go on being answered when it stands still.
    pub async fn run(&self, shutdown: impl Future<Output = ()> + Send) {
        let mut pace = tokio::time::interval(Duration::from_millis(self.settings.wall_look_every.0.max(1)));
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                _ = pace.tick() => self.tick().await,
            }
        }
    }

    /// One round of the loop: what `run` does once a second, and the simulator at each step.
    pub async fn tick(&self) {
        let _desk = self.desk.lock().await;
    }
}
