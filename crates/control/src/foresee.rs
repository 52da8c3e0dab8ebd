//! Before the start: what the route's own traffic says of a release to come.

use crate::control::Control;
use crate::error::ControlError;
use crate::known::KnownRelease;
use crate::view::NewRelease;
use coalmine_core::forecast::{Assumptions, Outlook, Traffic, foresee};
use coalmine_core::id::RouteName;
use coalmine_core::judge::Scale;
use coalmine_core::release::check::check;
use coalmine_core::release::policy::Policy;
use coalmine_core::version::VersionId;
use coalmine_wire::prices::Prices;
use coalmine_wire::usage::Usage;

/// Tokens that a question to a judge is taken to read beside the rubric: what it is told, a conversation and an answer, and of
/// pairs another answer.
const READ: u64 = 1_200;
const READ_OF_PAIRS: u64 = 1_800;
/// Tokens that its reason and verdict are taken to have.
const WRITTEN: u64 = 80;
/// Bytes of a token of the rubric.
const TOKEN_BYTES: u64 = 4;

/// Puts into a forecast what questions to judges will cost by these prices. How long conversations are is not known, so it
/// is a rough number.
pub fn price_judges(outlook: &mut Outlook, policy: &Policy, prices: &Prices) {
    outlook.price(|name| {
        let judge = policy.judge(name)?;
        let read = match judge.scale {
            Scale::Binary | Scale::Five => READ,
            Scale::Pairs => READ_OF_PAIRS,
        };
        let usage = Usage {
            input_tokens: Some(read + judge.rubric.len() as u64 / TOKEN_BYTES),
            output_tokens: Some(WRITTEN),
            ..Usage::default()
        };
        prices.cost_usd(&judge.version.model, &usage)
    });
}

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
        let mut outlook = foresee(&new.plan, &new.policy, &traffic, self.attempts(&new.route, new.canary.id()), now);
        if let Some(prices) = &self.settings.prices {
            price_judges(&mut outlook, &new.policy, prices);
        }
        Ok(outlook)
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
