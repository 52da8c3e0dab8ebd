//! The routing table in service: one immutable snapshot that requests read without a lock. An older
//! generation is refused; what lowers exposure is served at once; what raises it waits until every
//! pin taken so far is durable.

use crate::config::{Config, RouteSettings};
use crate::conversations::VersionMark;
use crate::metrics::{Metrics, RouteSeries, VersionSeries};
use crate::phase::rewrite;
use crate::phase::variables::Given;
use crate::ports::{PinError, PinStore};
use crate::spread::SpreadMap;
use crate::sync::lock;
use crate::upstream::pool::Pool;
use crate::upstream::rescue::RescueBudget;
use arc_swap::ArcSwap;
use coalmine_core::id::{Generation, ProviderName, ReleaseId, RouteName};
use coalmine_core::price::PriceSnapshot;
use coalmine_core::traffic::pin::Arm;
use coalmine_core::traffic::table::{Exposed, RouteTable, RoutingTable};
use coalmine_core::traffic::weight::WeightBp;
use coalmine_core::version::{JsonText, Version, VersionId};
use coalmine_wire::dialect::Dialect;
use coalmine_wire::openai::{self, ChatRequest, Patch, PatchError, ProviderState, asks_to_think};
use coalmine_wire::prices::{Price, Prices, Quote};
use coalmine_wire::translate;
use http::HeaderValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

/// What requests read.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// By names that an operator has given: a client's find one of them or nothing.
    routes: SpreadMap<String, Arc<Route>>,
}

/// One route as served, with everything prepared that a request needs.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) name: Arc<RouteName>,
    pub(crate) table: Arc<RouteTable>,
    pub(crate) settings: Arc<RouteSettings>,
    pub(crate) ceiling: WeightBp,
    pub(crate) rescue: Option<Arc<RescueBudget>>,
    pub(crate) series: Arc<RouteSeries>,
    pub(crate) release_header: Option<HeaderValue>,
    /// The prices of the release under way, by model; `None` where it had none.
    frozen: SpreadMap<String, Option<Price>>,
    /// Few, and asked for by every step of a request: looking through them is cheaper than hashing.
    prepared: Vec<Arc<Prepared>>,
}

/// A version, ready to be put into requests.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) id: VersionId,
    pub(crate) version: Arc<Version>,
    /// By dialect of the provider; an error where the dialect has no place for what the version sets.
    patches: Vec<(Dialect, Result<Patch, PatchError>)>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) header: HeaderValue,
    /// Of its model, by the list.
    pub(crate) price: Option<Price>,
    /// Whether it asks for reasoning or thinking, whatever the client does.
    pub(crate) thinks: bool,
    /// Whether its own tools or parameters have the provider act by itself.
    pub(crate) has_tools_run: bool,
    /// Who is asked in its place, in this order.
    pub(crate) fallbacks: Vec<Arc<Prepared>>,
    series: [Arc<VersionSeries>; 3],
}

/// The tables of one gateway.
#[derive(Debug)]
pub(crate) struct Tables {
    snapshot: ArcSwap<Snapshot>,
    state: Mutex<State>,
    parts: Parts,
}

/// What a snapshot is made of beside the tables.
#[derive(Debug)]
struct Parts {
    settings: BTreeMap<RouteName, Arc<RouteSettings>>,
    default_settings: Arc<RouteSettings>,
    pools: HashMap<ProviderName, Arc<Pool>>,
    metrics: Arc<Metrics>,
    prices: Prices,
}

#[derive(Debug, Default)]
struct State {
    /// What is served; a raise that waits is served lowered, under the generation that it replaces.
    served: BTreeMap<RouteName, Arc<RouteTable>>,
    /// Raises that wait for the pins.
    waiting: BTreeMap<RouteName, Arc<RouteTable>>,
    ceilings: BTreeMap<ReleaseId, WeightBp>,
    budgets: BTreeMap<ReleaseId, Arc<RescueBudget>>,
}

/// What became of an offered table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offered {
    /// All of it is served.
    Served,
    /// Something in it raises exposure and waits for the pins.
    Waiting,
}

impl Snapshot {
    /// The route of that name.
    pub(crate) fn route(&self, model: &str) -> Option<&Arc<Route>> {
        self.routes.get(model)
    }

    /// All routes.
    pub(crate) fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.values()
    }

    /// The names of all routes, sorted.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.routes.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}

impl Route {
    /// A version of it; `None` when it could not be prepared (told when the table came).
    pub(crate) fn prepared(&self, version: VersionId) -> Option<&Arc<Prepared>> {
        self.prepared.iter().find(|prepared| prepared.id == version)
    }

    /// The price of a model that the release under way compares by, else that of the list.
    pub(crate) fn price(&self, model: &str, of_list: Option<Price>) -> Option<Price> {
        self.frozen.get(model).copied().unwrap_or(of_list)
    }

    /// The version of which this much is known, or a fallback of one.
    pub(crate) fn marked(&self, mark: VersionMark) -> Option<&Arc<Prepared>> {
        let all = || self.prepared.iter();
        let fallbacks = all().flat_map(|prepared| &prepared.fallbacks);
        all().chain(fallbacks).find(|prepared| VersionMark::of(prepared.id) == mark)
    }
}

impl Prepared {
    /// Whether all that a request says can be said in the dialect of this version's provider.
    pub(crate) fn can_be_asked(&self, chat: &ChatRequest<'_>) -> bool {
        if self.is_people() {
            return true;
        }
        let manners = &self.pool.manners;
        let dialect = self.asked_in(chat.dialect);
        let Ok(patch) = self.patch(dialect) else { return false };
        if dialect == chat.dialect {
            return true;
        }
        // What it thinks belongs before its tool calls, and would not come back through another dialect; what its provider
        // does by itself (a search, a sandbox) neither, and a turn that pauses there could not be gone on with.
        let loses_thoughts = self.version.params.contains_key("thinking") && self.declares_tools(chat);
        let loses_deeds = self.has_tools_run;
        !loses_thoughts && !loses_deeds && translate::request(chat, manners.terms, patch.tools_of()).is_ok()
    }

    /// Whether people answer, and no provider is asked.
    pub(crate) fn is_people(&self) -> bool {
        self.pool.is_people()
    }

    /// The dialect that its provider is asked in, where the client asks in this one.
    pub(crate) fn asked_in(&self, dialect: Dialect) -> Dialect {
        let manners = &self.pool.manners;
        if manners.speak(dialect) { dialect } else { manners.dialect }
    }

    /// What it sets in requests of a dialect of its provider.
    pub(crate) fn patch(&self, dialect: Dialect) -> Result<&Patch, &PatchError> {
        const FOREIGN: &PatchError = &PatchError::NoTools;
        self.patches.iter().find(|(known, _)| *known == dialect).map_or(Err(FOREIGN), |(_, patch)| patch.as_ref())
    }

    /// The same with what a request gives for the variables of its prompt; that costs something only where it does.
    pub(crate) fn patch_with(&self, dialect: Dialect, given: &Given) -> Result<Cow<'_, Patch>, &PatchError> {
        let patch = self.patch(dialect)?;
        Ok(rewrite::with_values(patch, &self.version, given).map_or(Cow::Borrowed(patch), Cow::Owned))
    }

    /// Whether the provider will see any tools.
    pub(crate) fn declares_tools(&self, chat: &ChatRequest<'_>) -> bool {
        let own = self.patch(self.asked_in(chat.dialect)).is_ok_and(|patch| patch.declares_tools(chat));
        own || chat.tools().is_some()
    }

    /// Whether `other` can answer in this one's place what the request refers to: it asks the same provider
    /// under the same key, or there is nothing that this one's provider alone can resolve.
    pub(crate) fn gives_way_to(&self, other: &Self, chat: &ChatRequest<'_>) -> bool {
        match chat.provider_state {
            None => true,
            Some(_) if self.pool.name == other.pool.name => true,
            // What is sealed is left out on the way into another dialect.
            Some(ProviderState::Sealed) => !other.pool.manners.speak(chat.dialect),
            Some(_) => false,
        }
    }

    pub(crate) fn series(&self, arm: Arm) -> &Arc<VersionSeries> {
        &self.series[arm as usize]
    }
}

impl Tables {
    pub(crate) fn new(config: &Config, pools: HashMap<ProviderName, Arc<Pool>>, metrics: Arc<Metrics>) -> Self {
        let settings =
            config.routes.iter().map(|(name, settings)| (name.clone(), Arc::new(settings.clone()))).collect();
        let prices = config.prices.clone();
        let parts = Parts { settings, default_settings: Arc::default(), pools, metrics, prices };
        Self { snapshot: ArcSwap::default(), state: Mutex::default(), parts }
    }

    /// What is served now.
    pub(crate) fn load(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The generation served per route.
    pub(crate) fn serving(&self) -> BTreeMap<RouteName, Generation> {
        let state = lock(&self.state);
        state.served.iter().map(|(name, table)| (name.clone(), table.generation)).collect()
    }

    /// Takes a table: what lowers is served when this returns, what raises waits for [`Self::settle`].
    pub(crate) fn offer(&self, table: &RoutingTable) -> Offered {
        let mut state = lock(&self.state);
        state.served.retain(|name, _| table.routes.contains_key(name));
        state.waiting.retain(|name, _| table.routes.contains_key(name));
        for (name, new) in &table.routes {
            self.offer_route(&mut state, name, new);
        }
        self.publish(&mut state);
        if state.waiting.is_empty() { Offered::Served } else { Offered::Waiting }
    }

    fn offer_route(&self, state: &mut State, name: &RouteName, new: &Arc<RouteTable>) {
        let served = state.served.get(name);
        let newest = [served, state.waiting.get(name)].into_iter().flatten().map(|table| table.generation).max();
        if newest.is_some_and(|newest| new.generation < newest) {
            let series = self.parts.metrics.route(name);
            if series.generations_refused.get() == 0 {
                tracing::warn!(route = %name, offered = %new.generation, "an older routing table is refused");
            }
            series.generations_refused.add(1);
            return;
        }
        if newest == Some(new.generation) {
            return;
        }
        match served {
            Some(old) if raises(old, new) => {
                let interim = Arc::new(lowered(old, new));
                state.served.insert(name.clone(), interim);
                state.waiting.insert(name.clone(), new.clone());
            }
            Some(_) | None => {
                state.waiting.remove(name);
                state.served.insert(name.clone(), new.clone());
            }
        }
    }

    /// Serves the raises that wait, once every pin taken so far is on stable storage.
    pub(crate) async fn settle(&self, pins: &dyn PinStore) -> Result<(), PinError> {
        let wanted: Vec<_> = lock(&self.state).waiting.values().cloned().collect();
        if wanted.is_empty() {
            return Ok(());
        }
        pins.flush().await?;
        let mut state = lock(&self.state);
        for table in wanted {
            // a newer table may have taken its place meanwhile
            if state.waiting.get(&table.route).is_some_and(|waiting| waiting.generation == table.generation) {
                state.waiting.remove(&table.route);
                state.served.insert(table.route.clone(), table);
            }
        }
        self.publish(&mut state);
        Ok(())
    }

    /// Holds a release's exposure down to `weight`, at once.
    pub(crate) fn lower(&self, release: &ReleaseId, weight: WeightBp) {
        let mut state = lock(&self.state);
        let ceiling = state.ceilings.entry(release.clone()).or_insert(weight);
        *ceiling = (*ceiling).min(weight);
        self.publish(&mut state);
    }

    /// Takes the ceiling of a release away.
    pub(crate) fn lift(&self, release: &ReleaseId) {
        let mut state = lock(&self.state);
        state.ceilings.remove(release);
        self.publish(&mut state);
    }

    fn publish(&self, state: &mut State) {
        let running: BTreeSet<&ReleaseId> =
            state.served.values().filter_map(|table| table.release.as_ref().map(|release| &*release.id)).collect();
        state.budgets.retain(|release, _| running.contains(release));
        let mut routes = SpreadMap::default();
        for (name, table) in &state.served {
            let rescue = table.release.as_ref().map(|release| {
                let new = || Arc::new(RescueBudget::new(release.rescue_budget));
                let budget = state.budgets.entry(ReleaseId::clone(&release.id)).or_insert_with(new);
                budget.set_share(release.rescue_budget);
                budget.clone()
            });
            let ceiling = table.release.as_ref().and_then(|release| state.ceilings.get(&*release.id));
            let ceiling = ceiling.copied().unwrap_or(WeightBp::FULL);
            routes.insert(name.0.clone(), Arc::new(self.parts.route(table, ceiling, rescue)));
        }
        self.snapshot.store(Arc::new(Snapshot { routes }));
    }
}

impl Parts {
    fn route(&self, table: &Arc<RouteTable>, ceiling: WeightBp, rescue: Option<Arc<RescueBudget>>) -> Route {
        let series = self.metrics.route(&table.route);
        series.keep_only(&table.versions.keys().copied().collect());
        let release = table.release.as_ref().map(|release| release.id.as_str());
        Route {
            name: Arc::new(table.route.clone()),
            settings: self.settings.get(&table.route).unwrap_or(&self.default_settings).clone(),
            ceiling,
            rescue,
            release_header: release.and_then(|id| HeaderValue::from_str(id).ok()),
            frozen: table.prices.as_deref().map(frozen).unwrap_or_default(),
            prepared: table
                .versions
                .iter()
                .filter_map(|(id, version)| self.prepare(*id, version, &table.route, &series).map(Arc::new))
                .collect(),
            series,
            table: table.clone(),
        }
    }

    /// A version that cannot be served is told once per table; its requests fail as the gateway's fault.
    fn prepare(
        &self,
        id: VersionId,
        version: &Arc<Version>,
        route: &RouteName,
        series: &RouteSeries,
    ) -> Option<Prepared> {
        let series = [Arm::Stable, Arm::Control, Arm::Canary].map(|arm| series.version(id, arm, &version.provider));
        let mut prepared = self.prepare_one(id, version, route, series.clone())?;
        for fallback in &version.fallbacks {
            let by = Arc::new(version.by(fallback));
            prepared.fallbacks.extend(self.prepare_one(by.id(), &by, route, series.clone()).map(Arc::new));
        }
        Some(prepared)
    }

    fn prepare_one(
        &self,
        id: VersionId,
        version: &Arc<Version>,
        route: &RouteName,
        series: [Arc<VersionSeries>; 3],
    ) -> Option<Prepared> {
        let Some(pool) = self.pools.get(&version.provider) else {
            tracing::error!(%route, version = %id, provider = %version.provider, "the version's provider is not configured; add it under `providers`");
            return None;
        };
        let spoken = Dialect::ALL.into_iter().filter(|dialect| pool.manners.speak(*dialect));
        let patches: Vec<_> = spoken.map(|dialect| (dialect, rewrite::prepare(version, dialect))).collect();
        let unfit = patches.iter().find_map(|(_, patch)| match patch {
            Err(error) if !matches!(error, PatchError::Unsaid { .. }) => Some(error),
            Ok(_) | Err(_) => None,
        });
        if let Some(error) = unfit {
            tracing::error!(%route, version = %id, %error, "the version cannot be put into requests");
            return None;
        }
        Some(Prepared {
            id,
            version: version.clone(),
            patches,
            pool: pool.clone(),
            header: HeaderValue::from_str(&id.to_string()).ok()?,
            price: self.prices.of(&version.model).map(|quote| quote.price),
            thinks: version.params.iter().any(|(name, value)| asks_to_think(name, value.0.as_bytes())),
            has_tools_run: version.tools.as_ref().is_some_and(|tools| openai::has_tools_run(tools.json.0.as_bytes()))
                || version.params.keys().any(|name| openai::has_provider_act(name)),
            fallbacks: Vec::new(),
            series,
        })
    }
}

/// The prices that a release keeps; what cannot be read is no price.
fn frozen(prices: &PriceSnapshot) -> SpreadMap<String, Option<Price>> {
    let read = |kept: &Option<JsonText>| Some(Quote::read(&kept.as_ref()?.0)?.price);
    prices.models.iter().map(|(model, kept)| (model.clone(), read(kept))).collect()
}

/// Whether `new` may send a session to a version that `old` would not have sent it to, other than by
/// taking a canary back.
fn raises(old: &RouteTable, new: &RouteTable) -> bool {
    let stable_withdrawn = new.revoked.iter().any(|revoked| revoked.version == old.stable);
    if old.stable != new.stable && !stable_withdrawn {
        return true;
    }
    match (&old.release, &new.release) {
        (_, None) => false,
        (None, Some(release)) => release.exposures.iter().any(|exposure| exposure.weight > WeightBp::ZERO),
        (Some(was), Some(is)) if was.id != is.id || was.salt != is.salt || was.canary != is.canary => true,
        (Some(was), Some(is)) => is.exposures.iter().any(|exposure| !covered(was, exposure)),
    }
}

/// Whether the same cohort already had at least this weight.
fn covered(was: &Exposed, exposure: &coalmine_core::traffic::table::Exposure) -> bool {
    let before = was.exposures.iter().filter(|before| before.cohort == exposure.cohort).map(|before| before.weight);
    exposure.weight <= before.max().unwrap_or(WeightBp::ZERO)
}

/// What of `new` can be served before its raise may be: its withdrawals, and the exposures that `old`
/// had already. It keeps the old generation, which is what is acknowledged.
fn lowered(old: &RouteTable, new: &RouteTable) -> RouteTable {
    let mut interim = RouteTable::clone(new);
    interim.generation = old.generation;
    interim.versions.extend(old.versions.iter().map(|(id, version)| (*id, version.clone())));
    if !new.revoked.iter().any(|revoked| revoked.version == old.stable) {
        interim.stable = old.stable;
    }
    interim.release = match (&old.release, &new.release) {
        (Some(was), Some(is)) if was.id == is.id && was.salt == is.salt && was.canary == is.canary => {
            let kept = is.exposures.iter().filter(|exposure| covered(was, exposure)).cloned();
            let mut exposed = Exposed { exposures: kept.collect(), ..is.clone() };
            let still = |before: &&coalmine_core::traffic::table::Exposure| {
                is.exposures.iter().any(|e| e.cohort == before.cohort && e.weight >= before.weight)
                    && !exposed.exposures.iter().any(|e| e.cohort == before.cohort)
            };
            let restored: Vec<_> = was.exposures.iter().filter(still).cloned().collect();
            exposed.exposures.extend(restored);
            Some(exposed)
        }
        // promotion: the release goes on as it was until the new stable may be served
        (Some(was), None) if interim.stable == old.stable && !new.revoked.iter().any(|r| r.release == was.id) => {
            Some(was.clone())
        }
        (_, _) => None,
    };
    interim
}
