//! Before the start: what the route's own traffic says of a release to come.

use crate::control::Control;
use crate::error::ControlError;
use crate::known::KnownRelease;
use crate::view::NewRelease;
use coalmine_core::forecast::{Assumptions, Outlook, Traffic, foresee};
use coalmine_core::id::RouteName;
use coalmine_core::release::check::check;
use coalmine_core::version::VersionId;

impl Control {
    /// When the evidence of a release will be there, whom it harms on the way, and what cannot be decided, at
    /// the traffic of the route's last 24 hours with what is `stated` over it.
    ///
    /// # Errors
    /// When the route is unknown, the plan cannot be served, or the history is too short and no traffic is stated.
    pub async fn forecast(&self, new: &NewRelease, stated: &Assumptions) -> Result<Outlook, ControlError> {
        if !self.known().routes.contains_key(&new.route) {
            return Err(ControlError::UnknownRoute(new.route.clone()));
        }
        let misfits = check(&new.plan, &new.policy);
        if !misfits.is_empty() {
            let all: Vec<String> = misfits.iter().map(ToString::to_string).collect();
            return Err(ControlError::BadRelease(all.join("; ")));
        }
        let history = self.route_history(&new.route).await;
        let now = self.clock.now();
        let traffic = Traffic::of(history.as_ref(), stated, now)?;
        Ok(foresee(&new.plan, &new.policy, &traffic, self.attempts(&new.route, new.canary.id()), now))
    }

    /// How often this canary was tried on the route before.
    pub(crate) fn attempts(&self, route: &RouteName, canary: VersionId) -> u32 {
        let earlier = |known: &&KnownRelease| {
            let release = &known.release;
            release.route == *route && release.canary == canary && release.started_at.is_some()
        };
        u32::try_from(self.known().releases.values().filter(earlier).count()).unwrap_or(u32::MAX)
    }
}
