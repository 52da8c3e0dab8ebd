//! Whether a canary's upstreams can be given more: asked by the control plane before a stage begins.

use crate::gateway::Gateway;
use crate::upstream::warming::{Wanted, Warming};
use coalmine_core::analysis::Readiness;
use coalmine_core::id::ReleaseId;
use coalmine_core::version::Version;

/// More for a canary.
#[derive(Debug, Clone, Copy)]
pub struct Raised<'a> {
    /// Of this release.
    pub release: &'a ReleaseId,
    /// Its canary.
    pub version: &'a Version,
    /// What is raised.
    pub to: To,
    /// So many times what its upstreams bear now they will bear then; `None`: nothing says so.
    pub growth: Option<f64>,
}

/// What a canary is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// A stage begins, by its index: connections and model are to be warm.
    Stage(usize),
    /// More of what is served, and so warm: a rung by its index, or everybody. Connections are to be enough.
    More(usize),
}

impl Gateway {
    /// Whether a version's upstreams have to be made ready before anybody is shown it.
    #[must_use]
    pub fn prepares(&self, version: &Version) -> bool {
        self.pools.get(&version.provider).is_some_and(|pool| pool.is_cold() || pool.capacity.is_some())
    }

    /// What a version's upstreams say to being given more. It never waits: the first call for a stage or a rung begins
    /// its warm-up, beside the requests.
    #[must_use]
    pub fn readiness(&self, raised: &Raised<'_>) -> Readiness {
        let Some(pool) = self.pools.get(&raised.version.provider) else {
            return Readiness::default();
        };
        // what is full is not warmed on top
        if let Some(why) = pool.lacks_room(raised.growth) {
            return Readiness { holds: vec![why], ..Readiness::default() };
        }
        let (which, what) = match raised.to {
            To::Stage(stage) => (stage, Warming::Model),
            To::More(_) if !pool.lacks_connections(raised.growth) => return Readiness::default(),
            To::More(next) => (next, Warming::Connections),
        };
        let of = (raised.release.clone(), which);
        self.warm_ups.ask(
            pool,
            Wanted { version: raised.version, what, growth: raised.growth },
            of,
            self.workers.beside(),
        )
    }
}
