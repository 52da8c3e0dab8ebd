//! From committed state (or a rollback on its way to be) to the table that gateways serve.

use crate::control::Control;
use crate::error::chain;
use crate::known::Known;
use coalmine_core::id::{Generation, ReleaseId, RouteName};
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::table::{Exposure, MissingVersion, RouteFacts, RouteTable, RoutingTable, build};
use coalmine_core::version::VersionId;
use coalmine_store::StoreError;
use std::sync::Arc;

/// Releases that ended longer ago than this and an idle pin's life cannot be in a table.
const LONGEST_DRAIN: SpanMs = SpanMs::hours(24 * 30);

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

    /// Publishes every route whose table is not what is committed: another node wrote, a publication
    /// failed, or a version's last session may have gone.
    pub(crate) async fn publish_behind(&self) {
        for route in self.routes_behind() {
            if let Err(error) = self.publish(&route).await {
                tracing::warn!(%route, error = %chain(&error), "the table is not published yet");
            }
        }
    }

    fn routes_behind(&self) -> Vec<RouteName> {
        let now = self.clock.now();
        let mut known = self.known();
        let table = Arc::clone(&self.table.borrow());
        let routes: Vec<RouteName> = known.routes.keys().cloned().collect();
        let mut behind = Vec::new();
        for route in routes {
            let served = table.routes.get(&route);
            let generation = served.map(|served| served.generation).unwrap_or_default();
            match self.build(&known, &route, generation, now) {
                Ok(built) if served.is_some_and(|served| **served == built) => self.note_reflected(&mut known, &route),
                Ok(_) => behind.push(route),
                // Told where it is asked for: at a publication.
                Err(_) => {}
            }
        }
        behind
    }

    /// Builds and sends under one lock, so that what is sent later was built later. `choose` gets the
    /// newest generation that was ever seen served, and picks a newer one or declines.
    fn give_out(&self, route: &RouteName, choose: impl FnOnce(Generation) -> Option<Generation>) -> bool {
        let now = self.clock.now();
        let mut known = self.known();
        let floor = known.published.get(route).copied().unwrap_or_default();
        let floor = floor.max(known.gateways.newest_serving(route));
        let Some(generation) = choose(floor) else { return false };
        match self.build(&known, route, generation, now) {
            Ok(built) => {
                known.published.insert(route.clone(), generation);
                known.gateways.publish(route, generation, now);
                self.note_reflected(&mut known, route);
                self.table.send_modify(|table| {
                    let mut routes = table.routes.clone();
                    routes.insert(route.clone(), Arc::new(built));
                    *table = Arc::new(RoutingTable { routes });
                });
            }
            Err(error) => tracing::error!(%route, %error, "the last table goes on being served"),
        }
        true
    }

    fn build(
        &self,
        known: &Known,
        route: &RouteName,
        generation: Generation,
        now: UnixMs,
    ) -> Result<RouteTable, MissingVersion> {
        let stable = known.routes.get(route).map(|row| row.stable).unwrap_or(VersionId([0; 32]));
        let remember = self.settings.pin_idle;
        let releases = known.served(route, remember + LONGEST_DRAIN, now);
        let facts = RouteFacts { route, stable, releases: &releases, remember };
        build(&facts, &known.versions, generation, now)
    }

    fn note_reflected(&self, known: &mut Known, route: &RouteName) {
        let of_route = known.releases.values().filter(|found| found.release.route == *route);
        let generations: Vec<(ReleaseId, Generation)> = of_route
            .map(|found| {
                let lowered = known.lowered.get(&found.release.id).map(|low| low.next.generation);
                (found.release.id.clone(), lowered.unwrap_or(found.release.generation))
            })
            .collect();
        known.reflects.extend(generations);
    }
}
