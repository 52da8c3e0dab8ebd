//! A turn as a span, by the conventions for generative AI (`gen_ai.*`, in development as of OpenTelemetry 1.42), with
//! its arm as the result of a feature flag (`feature_flag.*`) whose key is the route.

use super::encode::{KeyValue, Resource, ResourceSpans, Scope, ScopeSpans, Span, Status, Text, Traces, nanos, written};
use crate::metrics::ending_label;
use crate::phase::observe::Counted;
use crate::telemetry::access_log::blame;
use crate::telemetry::finished::Finished;
use bytes::Bytes;
use coalmine_core::origin::Transport;
use coalmine_core::tally::{AnsweredAs, Blame, Ending, ServedBy};
use coalmine_wire::dialect::{Dialect, Family};
use std::sync::Arc;

/// `SPAN_KIND_CLIENT`: the provider's answer is what the time is spent on.
const CLIENT: u8 = 3;
const STATUS_UNSET: u8 = 0;
const STATUS_ERROR: u8 = 2;
/// The trace's own flag, and that its parent is of another process.
const FLAGS_SAMPLED: u32 = 0x01;
const FLAGS_REMOTE_KNOWN: u32 = 0x100;
const FLAGS_REMOTE: u32 = 0x200;

/// One request to a collector.
pub(super) fn encode(batch: &[Arc<Finished>], resource: Resource) -> Bytes {
    let spans = batch.iter().filter_map(|finished| span(finished)).collect();
    let scope_spans = [ScopeSpans { scope: Scope::OURS, spans }];
    written(&Traces { resource_spans: [ResourceSpans { resource, scope_spans }] })
}

fn span(finished: &Finished) -> Option<Span> {
    let trace = finished.trace?;
    let span_id = trace.span?;
    let remote = if trace.parent.is_some() { FLAGS_REMOTE_KNOWN | FLAGS_REMOTE } else { FLAGS_REMOTE_KNOWN };
    let code = match finished.outcome.ending {
        Ending::Complete | Ending::Running | Ending::Cancelled(_) => STATUS_UNSET,
        Ending::Failed(_) | Ending::ClientError | Ending::GatewayError => STATUS_ERROR,
    };
    Some(Span {
        trace_id: Text(trace.id),
        span_id: Text(span_id),
        parent_span_id: trace.parent.map(Text),
        flags: FLAGS_SAMPLED | remote,
        name: format!("{} {}", operation(finished.dialect), finished.prepared.version.model),
        kind: CLIENT,
        start_time_unix_nano: nanos(finished.flight.started_at),
        end_time_unix_nano: nanos(finished.ended_at),
        attributes: attributes(finished),
        status: Status { code },
    })
}

fn attributes(finished: &Finished) -> Vec<KeyValue> {
    let (flight, outcome) = (&finished.flight, &finished.outcome);
    let mut all = common(finished);
    let stream = flight.origin.transport == Transport::Stream;
    if stream {
        all.push(KeyValue::yes("gen_ai.request.stream"));
    }
    if let Some(unit) = flight.unit {
        all.push(KeyValue::text("gen_ai.conversation.id", unit.to_string()));
    }
    let tokens = [
        ("gen_ai.usage.input_tokens", outcome.usage.input),
        ("gen_ai.usage.output_tokens", outcome.usage.output),
        ("gen_ai.usage.cache_read.input_tokens", outcome.usage.cached),
        ("gen_ai.usage.reasoning.output_tokens", outcome.usage.reasoning),
    ];
    all.extend(tokens.into_iter().filter_map(|(name, count)| Some(KeyValue::int(name, count?))));
    if let Some(ttft_ms) = outcome.ttft_ms.filter(|_| stream) {
        all.push(KeyValue::double("gen_ai.response.time_to_first_chunk", ttft_ms / 1e3));
    }
    all.extend(names(finished));
    all.push(KeyValue::text("client.address", finished.client.to_string()));
    all.push(KeyValue::int("http.response.status_code", u64::from(finished.client_status)));
    all.push(KeyValue::text("feature_flag.version", finished.table.to_string()));
    all.push(KeyValue::text("feature_flag.result.reason", flag_reason(finished.reason)));
    all.push(KeyValue::text("coalmine.reason", finished.reason));
    all.push(KeyValue::text("coalmine.ending", ending_label(outcome.ending)));
    all.push(KeyValue::text("coalmine.blame", blame(outcome.ending.blame())));
    if let Some(cost_usd) = outcome.cost_usd {
        all.push(KeyValue::double("coalmine.cost_usd", cost_usd));
    }
    if finished.counted == Counted::Estimated {
        all.push(KeyValue::yes("coalmine.usage_estimated"));
    }
    if outcome.retries > 0 {
        all.push(KeyValue::int("coalmine.retries", u64::from(outcome.retries)));
    }
    if finished.hedged {
        all.push(KeyValue::yes("coalmine.hedged"));
    }
    match outcome.served_by {
        ServedBy::Assigned => {}
        ServedBy::Rescue => all.push(KeyValue::yes("coalmine.rescued")),
        ServedBy::Fallback => all.push(KeyValue::yes("coalmine.fallback")),
    }
    if let Some(id) = &finished.request_id {
        all.push(KeyValue::text("coalmine.request_id", id.as_str()));
    }
    if let Some(key) = &finished.holder.name {
        all.push(KeyValue::text("coalmine.key", key.as_str()));
    }
    all
}

/// What the answer says of how it was made. The conventions have names of it for one family only; metrics have none, for
/// a provider may give each answer a fingerprint of its own.
fn names(finished: &Finished) -> impl Iterator<Item = KeyValue> {
    let AnsweredAs { model: _, fingerprint, tier } = &finished.outcome.answered_as;
    let (of_tier, of_fingerprint) = match finished.prepared.pool.manners.dialect.family() {
        Family::OpenAi => ("openai.response.service_tier", "openai.response.system_fingerprint"),
        Family::Anthropic => ("coalmine.response.service_tier", "coalmine.response.system_fingerprint"),
    };
    let named = [(of_tier, tier), (of_fingerprint, fingerprint)];
    named.into_iter().filter_map(|(name, value)| Some(KeyValue::text(name, value.as_deref()?)))
}

/// What spans and metrics say alike: few values each.
pub(super) fn common(finished: &Finished) -> Vec<KeyValue> {
    let (flight, version) = (&finished.flight, &finished.prepared.version);
    let mut all = vec![
        KeyValue::text("gen_ai.operation.name", operation(finished.dialect)),
        KeyValue::text("gen_ai.provider.name", provider(finished.prepared.pool.manners.dialect.family())),
        KeyValue::text("gen_ai.request.model", version.model.as_str()),
        KeyValue::text("feature_flag.key", flight.route.as_str()),
        KeyValue::text("feature_flag.provider.name", "coalmine"),
        KeyValue::text("feature_flag.result.variant", finished.arm.as_str()),
        KeyValue::text("coalmine.version", flight.version.to_string()),
        KeyValue::text("coalmine.provider", version.provider.as_str()),
    ];
    if let Some(member) = &flight.member {
        all.push(KeyValue::text("feature_flag.set.id", member.release.as_str()));
    }
    if let Some(model) = &finished.outcome.answered_as.model {
        all.push(KeyValue::text("gen_ai.response.model", &**model));
    }
    if let Some(error) = error_type(finished.outcome.ending) {
        all.push(KeyValue::text("error.type", error));
    }
    all
}

/// `error.type`: how it ended, where that is anybody's failure. A client that left has not failed.
pub(super) fn error_type(ending: Ending) -> Option<&'static str> {
    match ending.blame() {
        Blame::Nobody => None,
        Blame::Client if ending != Ending::ClientError => None,
        Blame::Client | Blame::Gateway | Blame::Upstream => Some(ending_label(ending)),
    }
}

/// The conventions' own names.
pub(super) const fn operation(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Chat | Dialect::Messages | Dialect::Responses => "chat",
        Dialect::Embeddings => "embeddings",
        Dialect::Completions => "text_completion",
        Dialect::Realtime => "realtime_inference",
    }
}

/// Whose interface is spoken, as far as that is known.
pub(super) const fn provider(family: Family) -> &'static str {
    match family {
        Family::OpenAi => "openai",
        Family::Anthropic => "anthropic",
    }
}

/// The conventions' word that is nearest to ours.
fn flag_reason(reason: &str) -> &'static str {
    match reason {
        "slot" => "split",
        "pinned" | "bound" => "cached",
        "forced" => "targeting_match",
        "no_release" => "static",
        _ => "default",
    }
}
