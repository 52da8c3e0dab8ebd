//! What operators see at `/metrics`: atomics, rendered as text. Labels are routes, versions
//! in service, arms, providers and fixed words; never sessions, customers or content.

mod histogram;
mod page;

pub use page::Exposition;
pub(crate) use page::Page;

use crate::admission::meter::Bound;
use crate::phase::observe::Counted;
use crate::sync::lock;
use crate::telemetry::trace::Trace;
use crate::upstream::pool::Trouble;
use coalmine_core::id::{ProviderName, RouteName};
use coalmine_core::shadow::pair::Loss;
use coalmine_core::shadow::similarity::Cosine;
use coalmine_core::tally::{CancelPoint, Cause, Ending, Outcome};
use coalmine_core::time::UnixMs;
use coalmine_core::traffic::assign::Reason;
use coalmine_core::traffic::pin::Arm;
use coalmine_core::version::VersionId;
use histogram::Histogram;
use page::Micro;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        // the line of a number that changes is fetched from whichever core changed it last
        if n > 0 {
            self.0.fetch_add(n, Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number of things that are there now.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    pub(crate) fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn down(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

const STATUSES: [&str; 6] = ["none", "2xx", "3xx", "4xx", "429", "5xx"];
const ENDINGS: [&str; 14] = [
    "complete",
    "failed_connect",
    "failed_broken",
    "failed_server",
    "failed_rate_limited",
    "failed_rejected",
    "failed_in_band",
    "failed_malformed",
    "failed_deadline",
    "client_error",
    "gateway_error",
    "cancelled_before_first_byte",
    "cancelled_mid_answer",
    "running",
];
const TOKENS: [&str; 4] = ["input", "output", "cached", "reasoning"];
const REASONS: [Reason; 12] = [
    Reason::Pinned,
    Reason::MovedByRollback,
    Reason::VersionGone,
    Reason::Slot,
    Reason::Ceiling,
    Reason::OlderThanRelease,
    Reason::Ineligible,
    Reason::OutsideCohorts,
    Reason::NoRelease,
    Reason::NoIdentity,
    Reason::Forced,
    Reason::Bound,
];
const TROUBLES: [Trouble; 4] = [Trouble::Connect, Trouble::Broken, Trouble::Malformed, Trouble::FirstByte];

/// Everything that one gateway counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) active: Gauge,
    /// Requests whose body has not come whole.
    pub(crate) bodies_to_come: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) sockets: Gauge,
    /// Websockets that the gateway ended: at its own end, over a bound, or for what a client sent.
    pub(crate) sockets_cut: Counter,
    pub(crate) passed_through: Counter,
    pub(crate) refused: Counter,
    /// Requests whose bodies found no room.
    pub(crate) bodies_refused: Counter,
    /// Turns that an earlier process went on with.
    pub(crate) handover_lost: Counter,
    quotas: [Counter; Bound::ALL.len()],
    pub(crate) sink_refusals: Counter,
    pub(crate) feedback_taken: Counter,
    pub(crate) feedback_refused: Counter,
    /// Scores whose sender named another arm than the one that is known.
    pub(crate) feedback_mismatched: Counter,
    /// Log records that are no evaluation.
    pub(crate) feedback_ignored: Counter,
    /// Results of tools that no turn is known to have called.
    pub(crate) tool_results_unmatched: Counter,
    pub(crate) pin_flush_failures: Counter,
    routes: Mutex<BTreeMap<RouteName, Arc<RouteSeries>>>,
    providers: Mutex<BTreeMap<ProviderName, Arc<ProviderSeries>>>,
}

/// What is counted by provider.
#[derive(Debug, Default)]
pub(crate) struct ProviderSeries {
    troubles: [Counter; TROUBLES.len()],
    pub(crate) retries: Counter,
    key_reads: [Counter; KeyRead::ALL.len()],
    /// Requests put to a second address.
    pub(crate) hedges: Counter,
    /// Of these, the ones that it answered.
    pub(crate) hedges_won: Counter,
    /// Requests that were not, for the share was used up.
    pub(crate) hedges_refused: Counter,
}

/// What reading a provider's key anew came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyRead {
    /// Another than before.
    Changed,
    /// The same.
    Same,
    /// None was had.
    Failed,
}

impl KeyRead {
    const ALL: [Self; 3] = [Self::Changed, Self::Same, Self::Failed];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Same => "same",
            Self::Failed => "failed",
        }
    }
}

/// What is counted by route.
#[derive(Debug, Default)]
pub(crate) struct RouteSeries {
    assignments: [Counter; REASONS.len()],
    /// A history that was edited or cut: a new session.
    pub(crate) conversations_edited: Counter,
    /// Twins whose answers were alike while their versions were not: a new session.
    pub(crate) conversations_ambiguous: Counter,
    /// Stable answered in the canary's place.
    pub(crate) fallbacks: Counter,
    pub(crate) rescued: Counter,
    /// The budget was empty.
    pub(crate) rescue_refused: Counter,
    /// A refusal of the canary that could not be put to stable.
    pub(crate) unproven: Counter,
    pub(crate) generations_refused: Counter,
    /// Copies of requests put to a canary in its shadow.
    pub(crate) mirrored: Counter,
    /// Of these, compared with their originals.
    pub(crate) compared: Counter,
    lost_of_shadow: [Counter; Loss::ALL.len()],
    /// Cosines of pairs: known, and unknown.
    likened: [Counter; 2],
    versions: Mutex<BTreeMap<(VersionId, Arm), Arc<VersionSeries>>>,
}

/// How the requests of a route fared since this process began.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Requests by why they got their version.
    pub assigned: Vec<(Reason, u64)>,
    /// Stable answered in the canary's place.
    pub rescued: u64,
    /// It would have, and the budget was empty.
    pub rescue_refused: u64,
    /// Refusals of the canary that could not be put to stable.
    pub unproven: u64,
}

/// What is counted by version and arm.
#[derive(Debug)]
pub(crate) struct VersionSeries {
    provider: ProviderName,
    statuses: [Counter; STATUSES.len()],
    endings: [Counter; ENDINGS.len()],
    ttft: Histogram,
    latency: Histogram,
    tokens: [Counter; TOKENS.len()],
    cost_micro_usd: Counter,
    unpriced: Counter,
    estimated: Counter,
}

impl ProviderSeries {
    pub(crate) fn note_key(&self, read: KeyRead) {
        self.key_reads[read as usize].add(1);
    }

    pub(crate) fn note(&self, trouble: Trouble) {
        let index = match trouble {
            Trouble::Connect => 0,
            Trouble::Broken => 1,
            Trouble::Malformed => 2,
            Trouble::FirstByte => 3,
        };
        self.troubles[index].add(1);
    }
}

impl RouteSeries {
    pub(crate) fn note_assignment(&self, reason: Reason) {
        self.assignments[reason_index(reason)].add(1);
    }

    /// Requests of drawn sessions that were not compared, by why.
    pub(crate) const fn lost_of_shadow(&self, loss: Loss) -> &Counter {
        &self.lost_of_shadow[loss as usize]
    }

    /// Pairs held together by embeddings, by whether they gave a number.
    pub(crate) const fn likened(&self, cosine: Cosine) -> &Counter {
        match cosine {
            Cosine::Known(_) => &self.likened[0],
            Cosine::Unknown => &self.likened[1],
        }
    }

    /// The series of a version in one arm, made when it is first asked for.
    pub(crate) fn version(&self, version: VersionId, arm: Arm, provider: &ProviderName) -> Arc<VersionSeries> {
        let new = || Arc::new(VersionSeries::new(provider.clone()));
        lock(&self.versions).entry((version, arm)).or_insert_with(new).clone()
    }

    /// Forgets versions that no table knows any more.
    pub(crate) fn keep_only(&self, versions: &BTreeSet<VersionId>) {
        lock(&self.versions).retain(|(version, _), _| versions.contains(version));
    }
}

impl VersionSeries {
    fn new(provider: ProviderName) -> Self {
        Self {
            provider,
            statuses: Default::default(),
            endings: Default::default(),
            ttft: Histogram::default(),
            latency: Histogram::default(),
            tokens: Default::default(),
            cost_micro_usd: Counter::default(),
            unpriced: Counter::default(),
            estimated: Counter::default(),
        }
    }

    /// A request is over, at `now`; where its trace is sampled it is an example of its class.
    pub(crate) fn note(&self, outcome: &Outcome, counted: Counted, trace: Option<&Trace>, now: UnixMs) {
        let status = match outcome.status {
            200..=299 => 1,
            300..=399 => 2,
            429 => 4,
            400..=499 => 3,
            500.. => 5,
            _ => 0,
        };
        self.statuses[status].add(1);
        self.endings[ending_index(outcome.ending)].add(1);
        if let Some(ttft_ms) = outcome.ttft_ms {
            self.ttft.observe(ttft_ms, trace, now);
        }
        self.latency.observe(outcome.latency_ms, trace, now);
        let usage = outcome.usage;
        for (counter, tokens) in self.tokens.iter().zip([usage.input, usage.output, usage.cached, usage.reasoning]) {
            counter.add(tokens.unwrap_or(0));
        }
        match outcome.cost_usd {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
            Some(usd) => self.cost_micro_usd.add((usd * 1e6).round() as u64),
            None => self.unpriced.add(1),
        }
        if counted == Counted::Estimated {
            self.estimated.add(1);
        }
    }
}

/// The place of a reason in [`REASONS`].
fn reason_index(reason: Reason) -> usize {
    match reason {
        Reason::Pinned => 0,
        Reason::MovedByRollback => 1,
        Reason::VersionGone => 2,
        Reason::Slot => 3,
        Reason::Ceiling => 4,
        Reason::OlderThanRelease => 5,
        Reason::Ineligible => 6,
        Reason::OutsideCohorts => 7,
        Reason::NoRelease => 8,
        Reason::NoIdentity => 9,
        Reason::Forced => 10,
        Reason::Bound => 11,
    }
}

fn ending_index(ending: Ending) -> usize {
    match ending {
        Ending::Complete => 0,
        Ending::Failed(cause) => match cause {
            Cause::Connect => 1,
            Cause::Broken => 2,
            Cause::Server => 3,
            Cause::RateLimited => 4,
            Cause::Rejected => 5,
            Cause::InBand => 6,
            Cause::Malformed => 7,
            Cause::Deadline => 8,
        },
        Ending::ClientError => 9,
        Ending::GatewayError => 10,
        Ending::Cancelled(CancelPoint::BeforeFirstByte) => 11,
        Ending::Cancelled(CancelPoint::MidAnswer) => 12,
        Ending::Running => 13,
    }
}

/// How an ending is written in metrics and in the access log.
pub(crate) fn ending_label(ending: Ending) -> &'static str {
    ENDINGS[ending_index(ending)]
}

impl Metrics {
    /// The series of a route, made when it is first asked for.
    pub(crate) fn route(&self, route: &RouteName) -> Arc<RouteSeries> {
        lock(&self.routes).entry(route.clone()).or_default().clone()
    }

    /// How a route fared; nothing of one that nobody asked for.
    pub(crate) fn traffic(&self, route: &RouteName) -> Traffic {
        let Some(series) = lock(&self.routes).get(route).cloned() else { return Traffic::default() };
        Traffic {
            assigned: REASONS.iter().zip(&series.assignments).map(|(reason, count)| (*reason, count.get())).collect(),
            rescued: series.rescued.get(),
            rescue_refused: series.rescue_refused.get(),
            unproven: series.unproven.get(),
        }
    }

    /// The series of a provider, made when it is first asked for.
    pub(crate) fn provider(&self, provider: &ProviderName) -> Arc<ProviderSeries> {
        lock(&self.providers).entry(provider.clone()).or_default().clone()
    }

    /// A request was refused for a quota.
    pub(crate) fn note_quota(&self, bound: Bound) {
        self.quotas[bound as usize].add(1);
    }

    /// A page of everything, without its end; `gauges` are numbers that others keep.
    pub(crate) fn render(&self, exposition: Exposition, gauges: &[(&str, &str, u64)]) -> Page {
        let mut page = Page::new(exposition);
        page.one("coalmine_active_requests", "gauge", "Requests in flight.", self.active.get());
        page.one("coalmine_connections", "gauge", "Open client connections.", self.connections.get());
        let passed = self.passed_through.get();
        page.one("coalmine_passed_through_total", "counter", "Requests passed through uncounted.", passed);
        page.one("coalmine_refused_total", "counter", "Requests refused by the gateway itself.", self.refused.get());
        page.one(
            "coalmine_bodies_refused_total",
            "counter",
            "Requests refused because as many bytes of bodies were held as may be.",
            self.bodies_refused.get(),
        );
        page.one(
            "coalmine_handover_lost_total",
            "counter",
            "Turns that the process before went on with, and that no evidence knows of.",
            self.handover_lost.get(),
        );
        page.head(
            "coalmine_quota_refused_total",
            "counter",
            "Requests refused for a quota of key, customer or tenant.",
        );
        for bound in Bound::ALL {
            let refused = self.quotas[bound as usize].get();
            page.sample("coalmine_quota_refused_total", &[("quota", bound.as_str())], refused);
        }
        let refusals = self.sink_refusals.get();
        page.one("coalmine_sink_refusals_total", "counter", "Deltas that were not taken at once.", refusals);
        page.one("coalmine_feedback_total", "counter", "Feedback taken.", self.feedback_taken.get());
        page.one("coalmine_feedback_refused_total", "counter", "Feedback refused.", self.feedback_refused.get());
        let mismatched = self.feedback_mismatched.get();
        page.one("coalmine_feedback_mismatched_total", "counter", "Feedback that named another arm.", mismatched);
        let ignored = self.feedback_ignored.get();
        page.one("coalmine_feedback_ignored_total", "counter", "Log records that are no evaluation.", ignored);
        let unmatched = self.tool_results_unmatched.get();
        page.one("coalmine_tool_results_unmatched_total", "counter", "Tool results of no known call.", unmatched);
        let failures = self.pin_flush_failures.get();
        page.one("coalmine_pin_flush_failures_total", "counter", "Raises that wait: pins not durable.", failures);
        for (name, help, value) in gauges {
            page.one(name, if name.ends_with("_total") { "counter" } else { "gauge" }, help, *value);
        }
        self.render_routes(&mut page);
        self.render_versions(&mut page);
        self.render_providers(&mut page);
        page
    }

    fn render_routes(&self, page: &mut Page) {
        let routes = lock(&self.routes).clone();
        page.head("coalmine_assignments_total", "counter", "Assignments by reason.");
        for (route, series) in &routes {
            for (reason, counter) in REASONS.iter().zip(&series.assignments) {
                let labels = [("route", route.as_str()), ("reason", reason.as_str())];
                page.sample("coalmine_assignments_total", &labels, counter.get());
            }
        }
        type Read = fn(&RouteSeries) -> u64;
        let families: [(&str, &str, Read); 9] = [
            ("coalmine_fallbacks_total", "Failures answered by a fallback of the version.", |s| s.fallbacks.get()),
            ("coalmine_rescued_total", "Canary failures answered by stable.", |s| s.rescued.get()),
            ("coalmine_rescue_refused_total", "Rescues refused for want of budget.", |s| s.rescue_refused.get()),
            ("coalmine_unproven_total", "Canary refusals not put to stable.", |s| s.unproven.get()),
            ("coalmine_conversations_edited_total", "Histories edited or cut.", |s| s.conversations_edited.get()),
            ("coalmine_conversations_ambiguous_total", "Twin histories.", |s| s.conversations_ambiguous.get()),
            ("coalmine_shadow_mirrored_total", "Copies put to a canary in its shadow.", |s| s.mirrored.get()),
            ("coalmine_shadow_compared_total", "Copies compared with their originals.", |s| s.compared.get()),
            ("coalmine_generations_refused_total", "Older tables refused.", |s| s.generations_refused.get()),
        ];
        for (name, help, read) in families {
            page.head(name, "counter", help);
            for (route, series) in &routes {
                page.sample(name, &[("route", route.as_str())], read(series));
            }
        }
        let lost = "coalmine_shadow_lost_total";
        page.head(lost, "counter", "Requests of drawn sessions not mirrored, or not compared.");
        for (route, series) in &routes {
            for (loss, counter) in Loss::ALL.iter().zip(&series.lost_of_shadow) {
                page.sample(lost, &[("route", route.as_str()), ("why", loss.word())], counter.get());
            }
        }
        let likened = "coalmine_shadow_similarity_total";
        page.head(likened, "counter", "Answers of a shadow held together by embeddings.");
        for (route, series) in &routes {
            for (came, counter) in ["known", "unknown"].iter().zip(&series.likened) {
                page.sample(likened, &[("route", route.as_str()), ("came", came)], counter.get());
            }
        }
    }

    fn render_versions(&self, page: &mut Page) {
        let mut all = Vec::new();
        for (route, series) in &*lock(&self.routes) {
            for ((version, arm), series) in &*lock(&series.versions) {
                all.push((route.clone(), version.to_string(), *arm, series.clone()));
            }
        }
        let labels = |(route, version, arm, series): &'_ (RouteName, String, Arm, Arc<VersionSeries>)| {
            [
                ("route", route.0.clone()),
                ("version", version.clone()),
                ("arm", arm.as_str().to_owned()),
                ("provider", series.provider.0.clone()),
            ]
        };
        let mut family =
            |name: &str, help: &str, label: &str, words: &[&str], read: fn(&VersionSeries) -> &[Counter]| {
                page.head(name, "counter", help);
                for one in &all {
                    let labels = labels(one);
                    for (word, counter) in words.iter().zip(read(&one.3)).filter(|(_, counter)| counter.get() > 0) {
                        let mut labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (*k, v.as_str())).collect();
                        labels.push((label, word));
                        page.sample(name, &labels, counter.get());
                    }
                }
            };
        family("coalmine_requests_total", "Requests by status class.", "status", &STATUSES, |s| &s.statuses);
        family("coalmine_endings_total", "Requests by how they ended.", "ending", &ENDINGS, |s| &s.endings);
        family("coalmine_tokens_total", "Tokens.", "kind", &TOKENS, |s| &s.tokens);
        type Read = fn(&VersionSeries) -> &Histogram;
        let histograms: [(&str, &str, Read); 2] = [
            ("coalmine_ttft_seconds", "From the request's last byte to the first content byte.", |s| &s.ttft),
            ("coalmine_latency_seconds", "From the request's last byte to the answer's end.", |s| &s.latency),
        ];
        for (name, help, read) in histograms {
            page.head(name, "histogram", help);
            for one in &all {
                let labels = labels(one);
                let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (*k, v.as_str())).collect();
                page.histogram(name, &labels, read(&one.3));
            }
        }
        page.head("coalmine_cost_usd_total", "counter", "US dollars by the price table.");
        for one in &all {
            let labels = labels(one);
            let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (*k, v.as_str())).collect();
            page.sample("coalmine_cost_usd_total", &labels, Micro(one.3.cost_micro_usd.get()));
        }
        page.head("coalmine_unpriced_total", "counter", "Requests whose cost is not known.");
        for one in &all {
            let labels = labels(one);
            let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (*k, v.as_str())).collect();
            page.sample("coalmine_unpriced_total", &labels, one.3.unpriced.get());
        }
        page.head("coalmine_estimated_total", "counter", "Requests of which some tokens were estimated.");
        for one in &all {
            let labels = labels(one);
            let labels: Vec<(&str, &str)> = labels.iter().map(|(k, v)| (*k, v.as_str())).collect();
            page.sample("coalmine_estimated_total", &labels, one.3.estimated.get());
        }
    }

    fn render_providers(&self, page: &mut Page) {
        let providers = lock(&self.providers).clone();
        page.head("coalmine_upstream_failures_total", "counter", "Attempts without an answer, by cause.");
        for (provider, series) in &providers {
            for (trouble, counter) in TROUBLES.iter().zip(&series.troubles) {
                let labels = [("provider", provider.as_str()), ("cause", trouble.as_str())];
                page.sample("coalmine_upstream_failures_total", &labels, counter.get());
            }
        }
        page.head("coalmine_upstream_retries_total", "counter", "Attempts beyond the first.");
        for (provider, series) in &providers {
            page.sample("coalmine_upstream_retries_total", &[("provider", provider.as_str())], series.retries.get());
        }
        page.head("coalmine_hedges_total", "counter", "Requests put to a second address, and what came of it.");
        for (provider, series) in &providers {
            let counts =
                [("sent", &series.hedges), ("won", &series.hedges_won), ("over_share", &series.hedges_refused)];
            for (result, counter) in counts {
                let labels = [("provider", provider.as_str()), ("result", result)];
                page.sample("coalmine_hedges_total", &labels, counter.get());
            }
        }
        page.head("coalmine_provider_key_reads_total", "counter", "Readings of a provider's key while running.");
        for (provider, series) in &providers {
            for (read, counter) in KeyRead::ALL.iter().zip(&series.key_reads) {
                let labels = [("provider", provider.as_str()), ("result", read.as_str())];
                page.sample("coalmine_provider_key_reads_total", &labels, counter.get());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_stands_in_its_place() {
        for (place, reason) in REASONS.iter().enumerate() {
            assert_eq!(reason_index(*reason), place);
        }
        let metrics = Metrics::default();
        let provider = metrics.provider(&"p".into());
        for (n, trouble) in TROUBLES.into_iter().enumerate() {
            (0..=n).for_each(|_| provider.note(trouble));
        }
        let counts: Vec<u64> = provider.troubles.iter().map(Counter::get).collect();
        assert_eq!(counts, [1, 2, 3, 4]);
        assert_eq!(ending_label(Ending::Cancelled(CancelPoint::MidAnswer)), "cancelled_mid_answer");
        assert_eq!(ending_label(Ending::Failed(Cause::Deadline)), "failed_deadline");
    }

    #[test]
    fn labels_are_escaped_and_histograms_accumulate() {
        let metrics = Metrics::default();
        let series = metrics.route(&"a\"b".into()).version(VersionId([1; 32]), Arm::Canary, &"p".into());
        [3.0, 30.0, 1e9].iter().for_each(|ms| series.latency.observe(*ms, None, UnixMs(0)));
        let text = metrics.render(Exposition::Text, &[("coalmine_pins", "Pins.", 7)]).into_text();
        let labels = r#"route="a\"b",version="v_010101010101",arm="canary",provider="p""#;
        for line in [
            format!(r#"coalmine_latency_seconds_bucket{{{labels},le="0.005"}} 1"#),
            format!(r#"coalmine_latency_seconds_bucket{{{labels},le="0.05"}} 2"#),
            format!(r#"coalmine_latency_seconds_bucket{{{labels},le="+Inf"}} 3"#),
            format!("coalmine_latency_seconds_count{{{labels}}} 3"),
            "coalmine_pins 7".to_owned(),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }

    /// Names, units and types as the format wants them; the exemplars of a sampled trace, and of no other.
    #[test]
    fn a_page_of_open_metrics() {
        let headers = |flags: &str| {
            let parent = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
            http::HeaderMap::from_iter([(
                http::HeaderName::from_static("traceparent"),
                http::HeaderValue::try_from(parent).unwrap(),
            )])
        };
        let metrics = Metrics::default();
        let series = metrics.route(&"support".into()).version(VersionId([1; 32]), Arm::Canary, &"p".into());
        for (flags, ms) in [("00", 1_000.0), ("01", 30.0)] {
            let trace = Trace::of(&headers(flags), crate::telemetry::trace::Sampler::OFF);
            series.ttft.observe(ms, trace.as_ref(), UnixMs(1_796_000_000_250));
        }
        let text = metrics.render(Exposition::OpenMetrics, &[("coalmine_pins", "Pins.", 7)]).into_text();
        let mut family = String::new();
        for line in text.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(named) => family = named.split(' ').next().unwrap().to_owned(),
                None => assert!(line.trim_start_matches("# HELP ").trim_start_matches("# UNIT ").starts_with(&family)),
            }
            assert!(!family.ends_with("_total"), "{family}");
        }
        let labels = r#"route="support",version="v_010101010101",arm="canary",provider="p""#;
        let exemplar =
            r#"# {trace_id="0af7651916cd43dd8448eb211c80319c",span_id="b7ad6b7169203331"} 0.03 1796000000.250"#;
        for line in [
            "# TYPE coalmine_cost_usd counter".to_owned(),
            "# UNIT coalmine_cost_usd usd".to_owned(),
            "# UNIT coalmine_ttft_seconds seconds".to_owned(),
            "coalmine_pins 7".to_owned(),
            format!("coalmine_cost_usd_total{{{labels}}} 0.000000"),
            format!(r#"coalmine_ttft_seconds_bucket{{{labels},le="0.025"}} 0"#),
            format!(r#"coalmine_ttft_seconds_bucket{{{labels},le="0.05"}} 1 {exemplar}"#),
            format!(r#"coalmine_ttft_seconds_bucket{{{labels},le="1.0"}} 2"#),
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert_eq!(text.matches(" # {").count(), 1);
    }
}
