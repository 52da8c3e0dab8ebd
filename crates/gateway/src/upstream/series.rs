//! What is shown of addresses: in metrics, and a line in the log whenever one goes or comes.

use crate::metrics::{Counter, Page};
use crate::upstream::breaker::Why;
use crate::upstream::capacity::Mean;
use crate::upstream::choice::{Change, Standing};
use crate::upstream::fault::Newest;
use crate::upstream::pool::Pool;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is counted by address.
#[derive(Debug, Default)]
pub(crate) struct UpstreamSeries {
    ejections: [Counter; Why::ALL.len()],
    unwell: Counter,
    warm: AtomicU64,
    pub(crate) warm_up_answered: Counter,
    pub(crate) warm_up_failed: Counter,
    /// Microseconds to an answer's head, of late; 0: none came yet.
    head_us: AtomicU64,
    /// What went wrong last, as turns saw it.
    pub(crate) fault: Newest,
    /// The same, as looks at its health saw it.
    pub(crate) look_fault: Newest,
}

impl UpstreamSeries {
    /// So many connections were used ahead of need, lately.
    pub(crate) fn set_warm(&self, connections: u64) {
        self.warm.store(connections, Ordering::Relaxed);
    }

    /// An answer's head came after so long. The newest counts an eighth; of two at once one may be lost.
    pub(crate) fn answered_in(&self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).clamp(1, 1 << 40);
        let before = self.head_us.load(Ordering::Relaxed);
        let now = if before == 0 { took_us } else { (7 * before + took_us) / 8 };
        self.head_us.store(now.max(1), Ordering::Relaxed);
    }

    /// Milliseconds to an answer's head, of late.
    pub(crate) fn head_ms(&self) -> Option<f64> {
        let head_us = self.head_us.load(Ordering::Relaxed);
        (head_us > 0).then(|| head_us as f64 / 1e3)
    }

    pub(crate) fn warm(&self) -> u64 {
        self.warm.load(Ordering::Relaxed)
    }
}

impl Pool {
    /// An address went or came.
    pub(crate) fn tell(&self, change: Change) {
        let provider = &self.name;
        let label = |at: usize| self.addresses[at].label();
        match change {
            Change::Ejected(at, why, pause) => {
                if let Some(counter) = Why::ALL.iter().position(|word| *word == why) {
                    self.upstreams[at].ejections[counter].add(1);
                }
                let last = told(&self.upstreams[at].fault);
                tracing::warn!(%provider, upstream = %label(at), why = why.as_str(), %last, %pause, "upstream put aside");
            }
            Change::Back(at) => tracing::info!(%provider, upstream = %label(at), "upstream back in service"),
            Change::Unwell(at) => {
                self.upstreams[at].unwell.add(1);
                let last = told(&self.upstreams[at].look_fault);
                tracing::warn!(%provider, upstream = %label(at), %last, "upstream found unwell; it is not asked");
            }
            Change::Well(at) => tracing::info!(%provider, upstream = %label(at), "upstream found well again"),
            Change::Nearest(at) => {
                let region = self.choice.region(at).map_or("", |region| &region.0);
                tracing::info!(%provider, %region, "another region answers soonest; it is asked first");
            }
        }
    }
}

/// The newest fault in words.
fn told(newest: &Newest) -> String {
    newest.get().map_or_else(|| "-".to_owned(), |(fault, _)| fault.to_string())
}

/// Name, help and number of what an address says of its load.
type LoadSeries = (&'static str, &'static str, fn(&Mean) -> Option<f64>);
const LOADS: [LoadSeries; 3] = [
    ("coalmine_upstream_running_requests", "Requests that the address says it works on.", |mean| mean.running),
    ("coalmine_upstream_waiting_requests", "Requests that the address says wait in it.", |mean| mean.waiting),
    ("coalmine_upstream_cache_used_ratio", "How full the address says its cache is.", |mean| mean.cache_used),
];

type Labels<'a> = [(&'static str, &'a str); 3];

/// The addresses of all providers, for the page of metrics.
pub(crate) fn render<'a>(pools: impl IntoIterator<Item = &'a Arc<Pool>>, page: &mut Page) {
    let pools = pools.into_iter().filter(|pool| !pool.is_people());
    let pools: BTreeMap<_, _> = pools.map(|pool| (&pool.name, pool)).collect();
    let each = |page: &mut Page, show: &dyn Fn(&mut Page, &Pool, usize, Labels<'_>)| {
        for pool in pools.values() {
            for (at, address) in pool.addresses.iter().enumerate() {
                let (label, region) = (address.label(), pool.choice.region(at).map_or("", |region| &region.0));
                let labels = [("provider", pool.name.as_str()), ("upstream", &label), ("region", region)];
                show(page, pool, at, labels);
            }
        }
    };
    page.head("coalmine_upstream_in_service", "gauge", "Whether the address is asked.");
    each(page, &|page, pool, at, labels| {
        let standing = pool.choice.standing(at);
        page.sample("coalmine_upstream_in_service", &labels, u8::from(standing == Standing::InService));
    });
    page.head(
        "coalmine_upstream_serving",
        "gauge",
        "Whether it is among the addresses that sessions are spread over now.",
    );
    each(page, &|page, pool, at, labels| {
        page.sample("coalmine_upstream_serving", &labels, u8::from(pool.choice.serving().contains(&at)));
    });
    page.head("coalmine_upstream_ejections_total", "counter", "How often the address was put aside, by reason.");
    each(page, &|page, pool, at, labels| {
        let series = &pool.upstreams[at];
        let counters = Why::ALL.iter().map(|why| why.as_str()).zip(&series.ejections);
        for (why, counter) in counters.chain([("unwell", &series.unwell)]).filter(|(_, counter)| counter.get() > 0) {
            let [provider, upstream, region] = labels;
            let labels = [provider, upstream, region, ("reason", why)];
            page.sample("coalmine_upstream_ejections_total", &labels, counter.get());
        }
    });
    page.head("coalmine_upstream_distance_seconds", "gauge", "How long a look at the address, or a connection, takes.");
    each(page, &|page, pool, at, labels| {
        if let Some(far_ms) = pool.choice.far_ms(at) {
            page.sample("coalmine_upstream_distance_seconds", &labels, format!("{:.6}", far_ms / 1e3));
        }
    });
    page.head("coalmine_upstream_warm_connections", "gauge", "Connections that were used ahead of need, lately.");
    each(page, &|page, pool, at, labels| {
        if pool.warm[at].is_some() {
            page.sample("coalmine_upstream_warm_connections", &labels, pool.upstreams[at].warm());
        }
    });
    for (name, help, of) in LOADS {
        page.head(name, "gauge", help);
        each(page, &|page, pool, at, labels| {
            let Some(check) = &pool.capacity else { return };
            if let Some(value) = pool.readings[at].mean(check.fresh()).ok().and_then(|mean| of(&mean)) {
                page.sample(name, &labels, format!("{value:.3}"));
            }
        });
    }
    page.head("coalmine_warm_up_prompts_total", "counter", "Prompts that warmed a model before a stage.");
    each(page, &|page, pool, at, labels| {
        let (series, [provider, upstream, region]) = (&pool.upstreams[at], labels);
        let counters = [("answered", &series.warm_up_answered), ("failed", &series.warm_up_failed)];
        for (result, counter) in counters.into_iter().filter(|(_, counter)| counter.get() > 0) {
            let labels = [provider, upstream, region, ("result", result)];
            page.sample("coalmine_warm_up_prompts_total", &labels, counter.get());
        }
    });
}
