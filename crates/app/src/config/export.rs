//! The present as a `coalmine.yaml`: the process's own file with the versions that the store has.
//! Reading what was written gives the same again.

use crate::config::capture::Capture;
use crate::config::hooks::{Assessor, Webhook, WebhookFormat};
use crate::config::limits::Limits;
use crate::config::process::{Process, Provider, ProviderKind};
use crate::config::route::Route;
use crate::config::scalar::{CustomerSource, SessionSource, StoreAddress};
use crate::config::secret::Secret;
use crate::config::telemetry::{AccessLog, Telemetry};
use coalmine_core::id::RouteName;
use coalmine_core::key::{Quota, Usd};
use coalmine_core::time::SpanMs;
use coalmine_core::version::{PromptMode, ToolsMode, Version};
use coalmine_gateway::config::{
    BreakerPolicy, CapacityCheck, ChoicePolicy, HealthCheck, HedgePolicy, Nearest, OutlierPolicy, Spread, Unwarmed,
    WarmUp,
};
use coalmine_wire::prices::Quote;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// Writes `process` with `stables` in place of its routes' own, as a file that is to lie in `folder`.
/// Prompts and tools stand in the file itself; secrets as the references that they came from.
#[must_use]
pub fn export(process: &Process, stables: &BTreeMap<RouteName, Version>, folder: &Path) -> String {
    let mut out = Lines::default();
    head(&mut out, process, folder);
    out.line(0, "providers:");
    for (name, one) in &process.providers {
        provider(&mut out, name.as_str(), one);
    }
    if let Some(name) = &process.default_provider {
        out.line(0, format!("default_provider: {}", quoted(name.as_str())));
    }
    out.line(0, "routes:");
    for (name, one) in &process.routes {
        route(&mut out, name.as_str(), one, stables.get(name).unwrap_or(&one.stable), folder);
    }
    people(&mut out, process);
    for (i, hook) in process.notify.iter().enumerate() {
        if i == 0 {
            out.line(0, "notify:");
        }
        webhook(&mut out, hook);
    }
    assessors(&mut out, &process.assessors);
    if let Some(one) = &process.capture {
        capture(&mut out, one);
    }
    prices(&mut out, &process.prices);
    limits(&mut out, &process.limits);
    out.text
}

#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    fn line(&mut self, depth: usize, text: impl AsRef<str>) {
        // Writing into a string cannot fail.
        let _ = writeln!(self.text, "{:1$}{2}", "", depth * 2, text.as_ref());
    }

    /// A key with a text of any form: a block of lines where that gives the same text back.
    fn text(&mut self, depth: usize, key: &str, text: &str) {
        if !fits_block(text) {
            return self.line(depth, format!("{key}: {}", quoted(text)));
        }
        self.line(depth, format!("{key}: |-"));
        for line in text.split('\n') {
            if line.is_empty() {
                self.text.push('\n');
            } else {
                self.line(depth + 1, line);
            }
        }
    }
}

/// Whether a block of lines keeps the text: several lines, nothing that YAML or an editor would
/// change, no doubt about the indentation.
fn fits_block(text: &str) -> bool {
    let plain = |c: char| c == '\n' || (' '..='~').contains(&c) || ('\u{A1}'..='\u{D7FF}').contains(&c);
    let odd = |c: char| matches!(c, '\u{2028}' | '\u{2029}' | '\u{85}');
    text.contains('\n')
        && text.chars().all(|c| plain(c) && !odd(c))
        && !text.starts_with([' ', '\n'])
        && !text.ends_with('\n')
        && text.split('\n').all(|line| line.is_empty() || !line.trim().is_empty())
}

/// Text in JSON's quotes, which are YAML's too.
fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    // What YAML may not hold as it is, it may hold escaped.
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match u32::from(c) {
            code @ (0x7F..=0xA0 | 0x2028 | 0x2029 | 0xFEFF | 0xE000..=0xF8FF | 0xFFF0..=0xFFFF) => {
                let _ = write!(out, "\\u{code:04x}");
            }
            _ => out.push(c),
        }
    }
    out
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(", "))
}

fn secret(secret: &Secret) -> String {
    quoted(secret.reference())
}

fn switch(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

fn path(path: &Path, folder: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).display().to_string()
}

fn head(out: &mut Lines, process: &Process, folder: &Path) {
    out.line(0, format!("listen: {}", quoted(&process.listen.to_string())));
    if let Some(admin) = process.admin_listen {
        out.line(0, format!("admin_listen: {}", quoted(&admin.to_string())));
    }
    if let Some(tls) = &process.tls {
        let file = |file: &Path| quoted(&path(file, folder));
        out.line(0, format!("tls: {{ certificate: {}, key: {} }}", file(&tls.certificate), file(&tls.key)));
    }
    let store = match &process.store {
        StoreAddress::Sqlite(file) => format!("sqlite:{}", path(file, folder)),
        StoreAddress::Memory => "memory".to_owned(),
    };
    out.line(0, format!("store: {}", quoted(&store)));
    out.line(0, format!("data_dir: {}", quoted(&path(&process.data_dir, folder))));
    if let Some(region) = &process.region {
        out.line(0, format!("region: {}", quoted(&region.0)));
    }
    out.line(0, format!("answer_headers: {}", switch(process.answer_headers)));
    out.line(0, format!("override_header: {}", switch(process.override_header)));
    let proxies = &process.trusted_proxies;
    out.line(0, format!("trusted_proxies: {}", list(proxies.networks.iter().map(|one| quoted(&one.to_string())))));
    out.line(0, format!("client_address_header: {}", proxies.header.name()));
    telemetry(out, &process.telemetry, folder);
    if let Some(url) = &process.public_url {
        out.line(0, format!("public_url: {}", quoted(url)));
    }
    out.line(0, format!("time_scale: {}", process.time_scale));
}

fn telemetry(out: &mut Lines, telemetry: &Telemetry, folder: &Path) {
    if *telemetry == Telemetry::default() {
        return;
    }
    out.line(0, "telemetry:");
    match &telemetry.access_log {
        None => {}
        Some(AccessLog::Stderr) => out.line(1, "access_log: stderr"),
        Some(AccessLog::File(file)) => out.line(1, format!("access_log: {}", quoted(&path(file, folder)))),
    }
    let Some(otlp) = &telemetry.otlp else { return };
    out.line(1, "otlp:");
    if let Some(endpoint) = &otlp.endpoint {
        out.line(2, format!("endpoint: {}", quoted(endpoint)));
    }
    if !otlp.headers.is_empty() {
        out.line(2, "headers:");
        for (name, value) in &otlp.headers {
            out.line(3, format!("{}: {}", quoted(name), secret(value)));
        }
    }
    out.line(2, format!("traces: {}", switch(otlp.traces)));
    out.line(2, format!("metrics: {}", switch(otlp.metrics)));
    out.line(2, format!("decisions: {}", switch(otlp.decisions)));
    if let Some(share) = otlp.sample {
        out.line(2, format!("sample: {}%", f64::from(share.bp()) / 100.0));
    }
    for (name, span) in [("metrics_every", otlp.metrics_every), ("timeout", otlp.timeout)] {
        if let Some(span) = span {
            out.line(2, format!("{name}: {span}"));
        }
    }
}

fn provider(out: &mut Lines, name: &str, provider: &Provider) {
    out.line(1, format!("{}:", quoted(name)));
    let kind = match provider.kind {
        ProviderKind::OpenAi => "openai",
        ProviderKind::Anthropic => "anthropic",
        ProviderKind::People => return out.line(2, "kind: people"),
    };
    out.line(2, format!("kind: {kind}"));
    if let Some(key) = &provider.api_key {
        out.line(2, format!("api_key: {}", secret(key)));
    }
    if let Some(every) = provider.api_key_refresh {
        out.line(2, format!("api_key_refresh: {every}"));
    }
    out.line(2, format!("send_client_key: {}", switch(provider.send_client_key)));
    out.line(2, format!("stream_usage: {}", switch(provider.stream_usage)));
    if let Some(betas) = &provider.anthropic_beta {
        out.line(2, format!("anthropic_beta: {}", list(betas.iter().map(|flag| quoted(flag)))));
    }
    if !provider.extra_params.is_empty() {
        out.line(2, format!("extra_params: {}", list(provider.extra_params.iter().map(|name| quoted(name)))));
    }
    out.line(2, "upstreams:");
    for upstream in &provider.upstreams {
        let region =
            upstream.region.as_ref().map_or(String::new(), |region| format!(", region: {}", quoted(&region.0)));
        let warm = upstream
            .warm
            .map_or(String::new(), |warm| format!(", warm: {}, warm_every: {}", warm.connections, wall(warm.every)));
        out.line(3, format!("- {{ url: {}{region}{warm} }}", quoted(&upstream.url)));
    }
    choice(out, provider);
    let own = &provider.timeouts;
    let named = [
        ("connect", own.connect),
        ("first_byte", own.first_byte),
        ("thinking", own.thinking),
        ("idle", own.idle),
        ("total", own.total),
    ];
    let named: Vec<String> = named.into_iter().filter_map(|(name, span)| Some(format!("{name}: {}", span?))).collect();
    if !named.is_empty() {
        out.line(2, format!("timeouts: {{ {} }}", named.join(", ")));
    }
    out.line(2, format!("retries: {}", provider.retries));
    if let Some(HedgePolicy { after, max_share }) = provider.hedge {
        out.line(2, format!("hedge: {{ after: {}, max_share: {max_share} }}", wall(after)));
    }
}

fn choice(out: &mut Lines, provider: &Provider) {
    let ChoicePolicy { spread, nearest, return_after, max_ejected, breaker, outliers } = &provider.choice;
    let spread = match spread {
        Spread::Sessions => "sessions",
        Spread::Turns => "turns",
    };
    let nearest = match nearest {
        Nearest::Listed => "listed",
        Nearest::Measured => "measured",
    };
    out.line(2, format!("spread: {spread}"));
    out.line(2, format!("nearest: {nearest}"));
    out.line(2, format!("return_after: {return_after}"));
    out.line(2, format!("max_ejected: {max_ejected}"));
    let BreakerPolicy { unreachable, failures, error_share, least, window, pause, pause_max } = breaker;
    out.line(2, format!("breaker: {{ unreachable: {unreachable}, failures: {failures}, error_share: {error_share}, least: {least}, window: {window}, pause: {pause}, pause_max: {pause_max} }}"));
    let OutlierPolicy { every, least, error_gap, slower } = outliers;
    out.line(2, format!("outliers: {{ every: {every}, least: {least}, error_gap: {error_gap}, slower: {slower} }}"));
    if let Some(HealthCheck { path, every, within, unhealthy_after, healthy_after }) = &provider.health {
        let (path, every, within) = (quoted(path), wall(*every), wall(*within));
        out.line(2, format!("health: {{ path: {path}, every: {every}, within: {within}, unhealthy_after: {unhealthy_after}, healthy_after: {healthy_after} }}"));
    }
    if let Some(WarmUp { prompt, tries, within, then }) = &provider.warm_up {
        let then = match then {
            Unwarmed::Go => "go",
            Unwarmed::Hold => "hold",
        };
        let (prompt, within) = (quoted(prompt), wall(*within));
        out.line(2, format!("warm_up: {{ prompt: {prompt}, tries: {tries}, within: {within}, then: {then} }}"));
    }
    if let Some(CapacityCheck { path, every, within, most, slots }) = &provider.capacity {
        let (path, every, within) = (quoted(path), wall(*every), wall(*within));
        let slots = slots.map_or(String::new(), |slots| format!(", slots: {slots}"));
        out.line(2, format!("capacity: {{ path: {path}, every: {every}, within: {within}, most: {most}{slots} }}"));
    }
}

/// A span of the wall's time, as the file has it.
fn wall(span: Duration) -> SpanMs {
    SpanMs(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

fn route(out: &mut Lines, name: &str, route: &Route, stable: &Version, folder: &Path) {
    out.line(1, format!("{}:", quoted(name)));
    out.line(2, format!("session: {}", list(route.session.iter().map(session_source))));
    if !route.customer.is_empty() {
        out.line(2, format!("customer: {}", list(route.customer.iter().map(customer_source))));
    }
    if let Some(rule) = &route.capture {
        let share = f64::from(rule.sample.bp()) / 100.0;
        out.line(
            2,
            format!(
                "capture: {{ sample: {share}%, keep: {}, text: {}B, rows: {} }}",
                rule.keep, rule.text_max_bytes, rule.rows_max
            ),
        );
    }
    if !route.feedback.is_empty() {
        out.line(2, format!("feedback: {}", list(route.feedback.iter().map(|name| quoted(name)))));
    }
    if let Some(asked) = &route.sentinels {
        let suite = quoted(&path(Path::new(&asked.suite), folder));
        out.line(2, format!("sentinels: {{ suite: {suite}, qualify: {} }}", asked.qualify));
    }
    out.line(2, "stable:");
    version(out, stable);
}

fn version(out: &mut Lines, version: &Version) {
    out.line(3, format!("model: {}", quoted(&format!("{}/{}", version.provider, version.model))));
    if let Some(prompt) = &version.prompt {
        out.line(3, "prompt:");
        out.text(4, "text", &prompt.text);
        for (i, (name, value)) in prompt.variables.iter().enumerate() {
            if i == 0 {
                out.line(4, "variables:");
            }
            out.text(5, &quoted(name), value);
        }
        let mode = match prompt.mode {
            PromptMode::Replace => "replace",
            PromptMode::Prepend => "prepend",
            PromptMode::Append => "append",
        };
        out.line(3, format!("prompt_mode: {mode}"));
    }
    if let Some(tools) = &version.tools {
        out.line(3, "tools:");
        out.text(4, "json", &tools.json.0);
        let mode = match tools.mode {
            ToolsMode::Replace => "replace",
            ToolsMode::Merge => "merge",
        };
        out.line(3, format!("tools_mode: {mode}"));
    }
    if !version.params.is_empty() {
        out.line(3, "params:");
        for (name, value) in &version.params {
            out.line(4, format!("{}: {}", quoted(name), value.0));
        }
    }
    if !version.fallbacks.is_empty() {
        let named = version.fallbacks.iter().map(|fallback| quoted(&fallback.to_string()));
        out.line(3, format!("fallbacks: {}", list(named)));
    }
}

fn session_source(source: &SessionSource) -> String {
    quoted(&match source {
        SessionSource::Header(name) => format!("header:{name}"),
        SessionSource::Body(field) => format!("body:{field}"),
        SessionSource::Path => "path".to_owned(),
        SessionSource::Conversation => "conversation".to_owned(),
    })
}

fn customer_source(source: &CustomerSource) -> String {
    quoted(&match source {
        CustomerSource::Header(name) => format!("header:{name}"),
        CustomerSource::Body(field) => format!("body:{field}"),
    })
}

/// Customers, cohorts, keys and tokens, each where there are any.
fn people(out: &mut Lines, process: &Process) {
    if !process.customers.is_empty() {
        out.line(0, "customers:");
        for (name, customer) in &process.customers {
            let tags = list(customer.tags.iter().map(|tag| quoted(tag)));
            let keys = list(customer.keys.iter().map(secret));
            let quota = quota(&customer.quota).map_or(String::new(), |quota| format!(", quota: {quota}"));
            out.line(1, format!("{}: {{ tags: {tags}, keys: {keys}{quota} }}", quoted(name.as_str())));
        }
    }
    if !process.cohorts.is_empty() {
        out.line(0, "cohorts:");
        for (name, members) in &process.cohorts {
            let members = list(members.iter().map(|member| quoted(member.as_str())));
            out.line(1, format!("{}: {members}", quoted(name)));
        }
    }
    if !process.client_keys.is_empty() {
        out.line(0, "client_keys:");
        process.client_keys.iter().for_each(|(name, key)| out.line(1, format!("{}: {}", quoted(name), secret(key))));
    }
    out.line(0, format!("require_key: {}", switch(process.require_key)));
    if let Some(quota) = quota(&process.quota) {
        out.line(0, format!("quota: {quota}"));
    }
    if !process.api_tokens.is_empty() {
        out.line(0, "api:");
        out.line(1, "tokens:");
        for (name, token) in &process.api_tokens {
            out.line(2, format!("{}: {}", quoted(name.as_str()), secret(token)));
        }
    }
}

/// `{ concurrent: 5, per_day: $40 }`; `None` where nothing is bounded.
fn quota(quota: &Quota) -> Option<String> {
    let count = |name: &str, limit: Option<u64>| limit.map(|limit| format!("{name}: {limit}"));
    let money = |name: &str, limit: Option<Usd>| limit.map(|limit| format!("{name}: ${}", limit.dollars()));
    let bounds = [
        count("requests_per_minute", quota.requests_per_minute),
        count("tokens_per_minute", quota.tokens_per_minute),
        count("concurrent", quota.concurrent),
        money("per_day", quota.per_day),
        money("per_month", quota.per_month),
    ];
    let bounds: Vec<String> = bounds.into_iter().flatten().collect();
    (!bounds.is_empty()).then(|| format!("{{ {} }}", bounds.join(", ")))
}

fn webhook(out: &mut Lines, hook: &Webhook) {
    out.line(1, format!("- url: {}", secret(&hook.url)));
    if let Some(key) = &hook.secret {
        out.line(2, format!("secret: {}", secret(key)));
    }
    let format = match hook.format {
        WebhookFormat::Json => "json",
        WebhookFormat::Slack => "slack",
    };
    out.line(2, format!("format: {format}"));
    out.line(2, format!("on: {}", list(hook.on.iter().cloned())));
}

fn assessors(out: &mut Lines, assessors: &BTreeMap<String, Assessor>) {
    if assessors.is_empty() {
        return;
    }
    out.line(0, "assessors:");
    for (name, assessor) in assessors {
        out.line(1, format!("{}:", quoted(name)));
        out.line(2, format!("url: {}", secret(&assessor.url)));
        if let Some(token) = &assessor.token {
            out.line(2, format!("token: {}", secret(token)));
        }
    }
}

fn prices(out: &mut Lines, prices: &BTreeMap<String, Quote>) {
    if prices.is_empty() {
        return;
    }
    out.line(0, "prices:");
    for (model, quote) in prices {
        out.line(1, format!("{}: {}", quoted(model), crate::config::prices::written(quote)));
    }
}

fn capture(out: &mut Lines, capture: &Capture) {
    out.line(0, "capture:");
    out.line(1, format!("key: {}", quoted(capture.key.reference())));
    if !capture.earlier_keys.is_empty() {
        let keys = capture.earlier_keys.iter().map(|key| quoted(key.reference()));
        out.line(1, format!("earlier_keys: {}", list(keys)));
    }
    out.line(1, format!("readers: {}", list(capture.readers.iter().map(|name| quoted(name)))));
    if let Some(webhook) = &capture.webhook {
        out.line(1, format!("webhook: {}", quoted(webhook)));
    }
    for (i, (name, form)) in capture.patterns.iter().enumerate() {
        if i == 0 {
            out.line(1, "patterns:");
        }
        out.line(2, format!("{}: {}", quoted(name), quoted(form)));
    }
}

fn limits(out: &mut Lines, limits: &Limits) {
    out.line(0, "limits:");
    out.line(1, format!("body: {}B", limits.body_bytes));
    out.line(1, format!("bodies: {}B", limits.bodies_bytes));
    out.line(1, format!("connections: {}", limits.connections));
    if let Some(threads) = limits.threads {
        out.line(1, format!("threads: {threads}"));
    }
    let times = [
        ("header_timeout", limits.header_timeout),
        ("body_timeout", limits.body_timeout),
        ("connect_timeout", limits.connect_timeout),
        ("first_byte_timeout", limits.first_byte_timeout),
        ("thinking_timeout", limits.thinking_timeout),
        ("idle_timeout", limits.idle_timeout),
        ("total_timeout", limits.total_timeout),
        ("rescue_hold", limits.rescue_hold),
        ("keep_alive", limits.keep_alive),
        ("drain", limits.drain),
        ("session_idle", limits.session_idle),
    ];
    for (name, span) in times {
        out.line(1, format!("{name}: {span}"));
    }
}
