//! From committed state (or a rollback on its way to be) to the table that gateways serve.

use crate::control::Control;
use crate::known::Known;
use coalmine_core::id::{Generation, ReleaseId, RouteName};
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::table::{Exposure, RouteTable, RoutingTable};
use coalmine_store::StoreError;
use std::sync::Arc;

impl Control {
    /// Publishes a route's table under the store's next generation.
    ///
    /// # Errors
    /// When the store does not hand out a generation; the last table goes on being served.
    pub(crate) async fn publish(&self, route: &RouteName) -> Result<(), StoreError> {
        loop {
            let call = self.store.next_table_generation(&self.settings.tenant, route);
            let generation = self.ask("taking a table generation", call).await?;
            // A rollback without the store, or a process before this one, may have gone further.
            if self.give_out(route, |floor| (generation > floor).then_some(generation)) {
                break;
            }
        }
        self.lift_ceilings(route).await;
        Ok(())
    }

    /// Publishes a route's table without the store: only for a rollback, which can only lower exposure.
    pub(crate) fn publish_lowered(&self, route: &RouteName) {
        self.give_out(route, |floor| Some(floor.next()));
    }

    /// What is served of a release now.
    pub(crate) fn exposures_served(&self, id: &ReleaseId) -> Vec<Exposure> {
        let table = self.table.borrow();
        let mut served = table.routes.values().filter_map(|route| route.release.as_ref());
        served.find(|release| *release.id == *id).map(|release| release.exposures.clone()).unwrap_or_default()
    }

    /// Builds and sends under one lock, so that what is sent later was built later. `choose` gets the
    /// newest generation that was ever seen served, and picks a newer one or declines.
    fn give_out(&self, route: &RouteName, choose: impl FnOnce(Generation) -> Option<Generation>) -> bool {
        let now = self.clock.now();
        let mut known = self.known();
        let floor = known.published.get(route).copied().unwrap_or_default();
        let floor = floor.max(known.gateways.newest_serving(route));
        let Some(generation) = choose(floor) else { return false };
        let Some(built) = build(&known, route, generation, now) else { return true };
        known.published.insert(route.clone(), generation);
        known.gateways.publish(route, generation, now);
        self.table.send_modify(|table| {
            let mut routes = table.routes.clone();
            routes.insert(route.clone(), Arc::new(built));
            *table = Arc::new(RoutingTable { routes });
        });
        true
    }
}

fn build(known: &Known, route: &RouteName, generation: Generation, now: UnixMs) -> Option<RouteTable> {
    let row = known.routes.get(route)?;
    let _ = now;
    Some(RouteTable {
        route: route.clone(),
        generation,
        stable: row.stable,
        versions: known.versions.clone(),
        release: None,
        revoked: Vec::new(),
    })
}
