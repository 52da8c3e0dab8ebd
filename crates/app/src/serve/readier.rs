//! The gateway, as the control plane asks whether its upstreams are ready, and has it tell what was decided.

use coalmine_control::ports::{Herald, Raise, RaisedTo, Readier};
use coalmine_core::analysis::Readiness;
use coalmine_core::id::Actor;
use coalmine_core::release::report::Step;
use coalmine_core::time::UnixMs;
use coalmine_core::version::Version;
use coalmine_gateway::{Gateway, Raised, To};
use std::fmt;
use std::sync::Arc;

/// Asks the gateway of this process.
pub(super) struct GatewayReadier(pub(super) Arc<Gateway>);

impl fmt::Debug for GatewayReadier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewayReadier")
    }
}

impl Readier for GatewayReadier {
    fn prepares(&self, version: &Version) -> bool {
        self.0.prepares(version)
    }

    fn readiness(&self, raise: &Raise) -> Readiness {
        let to = match raise.to {
            RaisedTo::Stage(stage) => To::Stage(stage),
            RaisedTo::More(next) => To::More(next),
        };
        self.0.readiness(&Raised { release: &raise.release, version: &raise.version, to, growth: raise.growth })
    }
}

/// Tells the collector of this process's gateway.
pub(super) struct GatewayHerald(pub(super) Arc<Gateway>);

impl fmt::Debug for GatewayHerald {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GatewayHerald")
    }
}

impl Herald for GatewayHerald {
    fn decided(&self, step: &Step, by: &Actor, at: UnixMs) {
        self.0.tell_decided(step, by, at);
    }
}
