//! Files that must be read, and what they must mean.

use super::{Made, TOOLS, background, made, process, release};
use crate::config::{
    AccessLog, CustomerSource, Faults, ReleaseSpec, SessionSource, StoreAddress, parse_process, parse_release,
};
use coalmine_core::cohort::Cohort;
use coalmine_core::id::{CustomerId, ProviderName, RouteName};
use coalmine_core::judge::Scale;
use coalmine_core::key::Usd;
use coalmine_core::metric::Metric;
use coalmine_core::release::plan::Gate;
use coalmine_core::release::policy::{
    ControlArm, FreezeWindow, Guardrail, Margin, NoData, NoDataThen, OnRollback, OnUndecided, Role, Tripwire, Unit,
};
use coalmine_core::time::SpanMs;
use coalmine_core::traffic::weight::WeightBp;
use coalmine_core::version::{JsonText, PromptMode};
use coalmine_gateway::client_address::AddressHeader;
use coalmine_gateway::config::{BreakerPolicy, ChoicePolicy, Nearest, OutlierPolicy, Spread, Unwarmed, Warm, WarmUp};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) const SMALLEST: &str = "
providers: { openai: { kind: openai } }
routes: { support: { stable: { model: openai/gpt-4.1 } } }
";

pub(super) const FULL: &str = include_str!("../golden/process.yaml");

pub(super) const RELEASE: &str = include_str!("../golden/release.yaml");

#[test]
fn one_provider_and_one_route_are_enough() {
    let read = process(SMALLEST).unwrap();
    assert_eq!(read.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(read.store, StoreAddress::Sqlite(PathBuf::from("etc/coalmine.db")));
    assert_eq!(read.data_dir, PathBuf::from("etc/.coalmine"));
    let route = &read.routes[&RouteName::from("support")];
    assert_eq!(
        route.session,
        [
            SessionSource::Header("x-session-id".to_owned()),
            SessionSource::Path,
            SessionSource::Body("metadata.session_id".to_owned()),
            SessionSource::Conversation
        ]
    );
    assert_eq!(route.customer, [] as [CustomerSource; 0]);
    assert!(read.answer_headers && !read.override_header);
    assert_eq!(read.providers[&ProviderName::from("openai")].upstreams[0].url, "https://api.openai.com/v1");
    assert_eq!(read.limits.body_bytes, 64 << 20);
}

#[test]
fn the_suite_of_a_steady_stable_is_read() {
    let read = process(FULL).unwrap();
    let asked = read.routes[&RouteName::from("support-agent")].sentinels.as_ref().unwrap();
    assert_eq!((asked.suite.as_str(), asked.qualify, asked.gate.is_none()), ("etc/sentinels/support.yaml", 2, true));
    assert!(!asked.sentinels.is_empty() && read.routes[&RouteName::from("summary")].sentinels.is_none());
}

#[test]
fn a_prompt_has_the_variables_that_it_declares_and_a_canary_only_its_own() {
    let stable = |prompt: &str| {
        let text = format!(
            "providers: {{ openai: {{ kind: openai }} }}\nroutes: {{ support-agent: {{ stable: {{ model: openai/gpt-5-mini, prompt: {prompt} }} }} }}\n"
        );
        process(&text).unwrap()
    };
    let prompt = |prompt: &str| stable(prompt).routes[&RouteName::from("support-agent")].stable.prompt.clone().unwrap();
    let plain = prompt("{ text: 'Say {{x}} and {\"a\":{}}' }");
    assert_eq!((plain.text.as_str(), plain.variables.len()), (r#"Say {{x}} and {"a":{}}"#, 0), "braces are text");
    assert_eq!(prompt("{ text: 'Say {{x}}', variables: {} }").variables.len(), 0);
    assert_eq!(prompt("{ file: prompts/support.md }"), prompt("prompts/support.md"));
    let said = prompt("{ text: 'Help {{a}}, {{ b }}{{a}}.', variables: { a: Acme, b: '{{a}}' } }");
    assert_eq!(said.rendered(&BTreeMap::new()), "Help Acme, {{a}}Acme.");

    let background = stable("{ text: 'Help {{a}}.', variables: { a: Acme } }").background();
    let canary = |prompt: &str| {
        let text = format!(
            "release: support-agent\ncanary: {{ {prompt} }}\nstages: [{{ weight: 5%, bake: 1h }}]\nguardrails: [{{ metric: error_rate, margin: 0.5pp }}]\n"
        );
        parse_release(&text, Path::new("etc/support.yaml"), &background, &made()).unwrap().canary.prompt.unwrap()
    };
    let kept = canary("params: { temperature: 0.2 }");
    assert_eq!(kept.variables["a"], "Acme", "a prompt that is not named stays whole");
    let changed = canary("prompt: { text: 'Please help {{b}}.' }");
    assert_eq!((changed.text.as_str(), changed.variables.len()), ("Please help {{b}}.", 0), "its prompt is its own");
    let braces = canary("prompt: { text: 'Please help {{a}}.', variables: { a: '{{a}}' } }");
    assert_eq!(braces.rendered(&BTreeMap::new()), "Please help {{a}}.", "as text");
    let declared = canary("prompt: { text: 'Please help {{a}}.', variables: { a: Globex } }");
    assert_eq!(declared.rendered(&BTreeMap::new()), "Please help Globex.");
}

#[test]
fn the_full_file_is_read() {
    let read = process(FULL).unwrap();
    let openai = &read.providers[&ProviderName::from("openai")];
    assert_eq!(
        (openai.timeouts.total, openai.timeouts.thinking),
        (Some(SpanMs::minutes(20)), Some(SpanMs::minutes(15)))
    );
    assert_eq!((openai.timeouts.idle, openai.retries), (None, 0));
    let chain: Vec<String> =
        read.routes[&RouteName::from("summary")].stable.fallbacks.iter().map(ToString::to_string).collect();
    assert_eq!(chain, ["openai", "openai/gpt-4.1"]);
    let version = &read.routes[&RouteName::from("support-agent")].stable;
    assert_eq!((version.provider.as_str(), version.model.as_str()), ("openai", "gpt-4.1"));
    assert_eq!(version.prompt.as_ref().unwrap().text, "You are patient.");
    assert_eq!(version.tools.as_ref().unwrap().json.0, TOOLS);
    let params: Vec<(&str, &str)> = version.params.iter().map(|(k, v)| (k.as_str(), v.0.as_str())).collect();
    assert_eq!(params, [("seed", "7"), ("stop", r#"["a","1"]"#), ("temperature", "0.20")]);
    let summary = &read.routes[&RouteName::from("summary")].stable;
    assert_eq!(summary.model, "meta-llama/Llama-3.3-70B");
    assert_eq!(summary.prompt.as_ref().unwrap().mode, PromptMode::Append);
    assert_eq!(read.providers[&ProviderName::from("openai")].choice, ChoicePolicy::default());
    assert_eq!(read.cohorts["europe"], BTreeSet::from([CustomerId::from("globex")]));
    assert_eq!(read.notify[0].url.expose(), "https://hooks.example/T0/B0/hush");
    assert_eq!(read.assessors["kindness"].url.expose(), "https://hooks.example/T0/B0/hush");
    assert!(read.assessors["kindness"].token.is_some() && !format!("{:?}", read.assessors).contains("hush"));
    assert_eq!(read.prices["gpt-4.1"].price.rate.cached_input_usd, Some(0.5));
    let house = &read.prices["house-model"];
    assert_eq!((house.date.as_deref(), house.price.rate.cache_write_1h_usd), (Some("2026-11-30"), Some(2.0)));
    assert_eq!(house.price.long.map(|long| (long.above_input_tokens, long.rate.output_usd)), Some((200_000, 6.0)));
    assert_eq!((read.limits.session_idle, read.limits.bodies_bytes), (SpanMs::hours(2), 64 << 20));
    assert_eq!(read.limits.threads, Some(3));
    assert_eq!(read.region.as_ref().map(|region| &*region.0), Some("eu-west"));
    let networks: Vec<String> = read.trusted_proxies.networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "fd00::/8", "192.0.2.7/32"]);
    assert_eq!(read.trusted_proxies.header, AddressHeader::Forwarded);
    assert_eq!(read.time_scale, 60.0);
    let tls = read.tls.as_ref().unwrap();
    assert_eq!((&*tls.certificate, &*tls.key), (Path::new("etc/tls/site.pem"), Path::new("/run/site.key")));
    let otlp = read.telemetry.otlp.as_ref().unwrap();
    assert_eq!(otlp.traces_url().as_deref(), Some("http://10.0.0.9:4318/v1/traces"));
    assert_eq!((otlp.metrics_url(), otlp.decisions_url()), (None, None));
    assert_eq!((otlp.sample(), otlp.timeout()), (0.125, SpanMs::secs(3)));
    assert_eq!(otlp.headers()[0].1.expose(), "hush-alice");
    assert_eq!(read.telemetry.access_log, Some(AccessLog::File("etc/var/access.jsonl".into())));
    assert!(read.require_key);
    assert_eq!((read.quota.requests_per_minute, read.quota.per_day), (Some(600), Some(Usd::from_dollars(40.0))));
    assert_eq!(read.customers[&CustomerId::from("acme")].quota.per_month, Some(Usd::from_dollars(99.5)));
}

#[test]
fn a_provider_with_all_its_keys_is_read() {
    let read = process(FULL).unwrap();
    let vllm = &read.providers[&ProviderName::from("vllm")];
    assert_eq!(vllm.upstreams[0].url, "http://10.0.0.5:8000/v1");
    let warm = Warm { connections: 4, every: Duration::from_secs(4) };
    assert_eq!((vllm.upstreams[0].warm, vllm.upstreams[1].warm), (Some(warm), None));
    assert_eq!((vllm.choice.spread, vllm.choice.nearest), (Spread::Turns, Nearest::Measured));
    assert_eq!((vllm.choice.max_ejected.bp(), vllm.choice.return_after), (2_500, SpanMs::secs(20)));
    let BreakerPolicy { unreachable, failures, error_share, least, window, pause, pause_max } = vllm.choice.breaker;
    assert_eq!((unreachable, failures, error_share.bp(), least), (2, 4, 3_000, 10));
    assert_eq!([window, pause, pause_max], [5, 2, 40].map(SpanMs::secs));
    let OutlierPolicy { every, least, error_gap, slower } = vllm.choice.outliers;
    assert_eq!((every, least, error_gap.bp(), slower), (SpanMs::secs(5), 30, 1_000, 2.5));
    let hedge = vllm.hedge.unwrap();
    assert_eq!((hedge.after, hedge.max_share.bp()), (Duration::from_millis(800), 250));
    assert_eq!(vllm.api_key_refresh, Some(SpanMs::secs(30)));
    let health = vllm.health.as_ref().unwrap();
    assert_eq!(
        (&*health.path, health.every, health.within),
        ("/healthz", Duration::from_secs(3), Duration::from_secs(1))
    );
    assert_eq!((health.unhealthy_after, health.healthy_after), (2, 4));
    let warm_up =
        WarmUp { prompt: "Say: yes.".to_owned(), tries: 7, within: Duration::from_secs(90), then: Unwarmed::Hold };
    assert_eq!(vllm.warm_up, Some(warm_up));
    let capacity = vllm.capacity.as_ref().unwrap();
    assert_eq!((&*capacity.path, capacity.most.bp(), capacity.slots), ("/load", 7_000, Some(256)));
    assert_eq!((capacity.every, capacity.within), (Duration::from_secs(4), Duration::from_secs(3)));
}

#[test]
fn the_environment_fills_in_what_is_not_written_of_a_collector() {
    let text = format!("{SMALLEST}telemetry: {{ otlp: {{}} }}\n");
    let mut around = super::made();
    let read = |around: &super::Made| parse_process(&text, Path::new("etc/coalmine.yaml"), around);
    let otlp = read(&around).unwrap().telemetry.otlp.unwrap();
    assert_eq!(otlp.traces_url().unwrap(), "http://localhost:4318/v1/traces");
    assert_eq!(otlp.decisions_url().unwrap(), "http://localhost:4318/v1/logs");
    assert_eq!((otlp.sample(), otlp.metrics_every()), (1.0, SpanMs::secs(60)));
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector/base/"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://metrics/own"),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "https://logs/own"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hush%2D"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "5000"),
    ] {
        around.env.insert(name.to_owned(), value.to_owned());
    }
    let read_anew = read(&around).unwrap();
    let otlp = read_anew.telemetry.otlp.as_ref().unwrap();
    assert_eq!(otlp.traces_url().unwrap(), "https://collector/base/v1/traces");
    assert_eq!(otlp.metrics_url().unwrap(), "https://metrics/own");
    assert_eq!(otlp.decisions_url().unwrap(), "https://logs/own");
    assert_eq!((otlp.headers()[0].1.expose(), otlp.metrics_every()), ("hush-", SpanMs::secs(5)));
    assert!(!format!("{read_anew:?}").contains("hush-"));
    around.env.insert("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), "localhost:4318".to_owned());
    assert!(read(&around).is_err(), "no http address");
}

#[test]
fn no_secret_is_in_what_is_printed() {
    let read = process(FULL).unwrap();
    assert!(!format!("{read:?}").contains("hush"));
}

fn guardrail(metric: &str, promote: Margin, rollback: Margin) -> Guardrail {
    let metric: Metric = metric.parse().unwrap();
    let then = if metric == Metric::ToolCallValid { NoDataThen::Warn } else { NoDataThen::Hold };
    let no_data = NoData { then, grace: SpanMs::hours(1) };
    Guardrail { promote, rollback, no_data, ..Guardrail::with_defaults(metric, Role::Guardrail) }
}

fn margin(ratio: f64, shift: f64) -> Margin {
    Margin { ratio, shift }
}

#[test]
fn a_release_becomes_plan_policy_and_canary() {
    let read = release(RELEASE).unwrap();
    assert_eq!(read.canary.model, "gpt-5-mini");
    assert_eq!(read.canary.prompt.as_ref().unwrap().text, "You are patient.");
    let names: Vec<&str> = read.canary.params.keys().map(String::as_str).collect();
    assert_eq!(names, ["stop", "temperature", "top_p"]);
    let policy = &read.policy;
    assert_eq!(
        policy.guardrails,
        [
            Guardrail { limit: Some(0.02), ..guardrail("error_rate", margin(1.0, 0.005), margin(1.0, 0.0025)) },
            Guardrail {
                limit: Some(1_500.0),
                control: ControlArm::Matched,
                unit: Unit::BucketMean,
                ..guardrail("ttft_p95", margin(1.1, 0.0), margin(1.0, 0.0))
            },
            Guardrail {
                limit: Some(0.2),
                weight: 2.0,
                ..guardrail("cost_per_session", margin(1.1, 0.0), margin(1.1, 0.0))
            },
            Guardrail { limit: Some(0.05), ..guardrail("tool_call_valid", margin(1.0, 0.01), margin(1.0, 0.005)) },
            Guardrail {
                role: Role::DryRun,
                no_data: NoData { then: NoDataThen::Rollback, grace: SpanMs::hours(2) },
                ..guardrail("feedback.resolved", margin(1.0, 0.02), margin(1.0, 0.01))
            },
            Guardrail {
                limit: Some(0.03),
                age: Some(SpanMs::hours(2)),
                ..guardrail("thumbs_down.resolved", margin(1.0, 0.01), margin(1.0, 0.005))
            },
            Guardrail {
                role: Role::Signal,
                no_data: NoData { then: NoDataThen::Warn, grace: SpanMs::hours(1) },
                ..guardrail("refusal_rate", margin(1.0, 0.01), margin(1.0, 0.005))
            },
            guardrail("cost_above_cap", margin(1.0, 0.005), margin(1.0, 0.0025)),
        ]
    );
    assert_eq!(policy.on_rollback, OnRollback::FinishOnCanary { drain: SpanMs::hours(1) });
    assert_eq!(policy.on_undecided, OnUndecided::Promote);
    assert_eq!(policy.tripwires, [Tripwire::ConsecutiveFailures(20)]);
    assert_eq!((policy.budget.harmed, policy.budget.extra_cost_usd), (Some(50), Some(40.0)));
    assert_eq!(policy.rescue_budget, WeightBp::new(250).unwrap());
    let friday = FreezeWindow { from: 4 * 1440 + 14 * 60, to: 6 * 60, zone: None };
    let sunday = FreezeWindow { from: 6 * 1440 + 23 * 60, to: 60, zone: None };
    assert_eq!(policy.freeze, [friday, sunday]);
}

#[test]
fn the_stages_carry_their_customers() {
    let stages = release(RELEASE).unwrap().plan.stages;
    let named = |name: &str, customers: &[&str]| Cohort::Named {
        name: name.to_owned(),
        customers: customers.iter().map(|name| CustomerId::from(*name)).collect(),
    };
    let cohorts: Vec<Cohort> = stages.iter().map(|stage| stage.cohort.clone()).collect();
    assert_eq!(
        cohorts,
        [named("internal", &["initech"]), named("tag: pilot", &["acme", "globex"]), Cohort::All, Cohort::All]
    );
    assert_eq!(stages[1].min_sessions, 200);
    assert_eq!(stages[2].min_sessions, 100);
    assert_eq!(stages[3].gate, Gate::Approval("oncall".to_owned()));
}

#[test]
fn the_changed_parts_decide_the_default_checks() {
    let names = |canary: &str| -> Vec<String> {
        let text = format!("release: support-agent\ncanary: {canary}\nstages: [{{ weight: 5%, bake: 1h }}]\n");
        release(&text).unwrap().policy.guardrails.iter().map(|one| one.metric.to_string()).collect()
    };
    let tools = "error_rate ttft_p95 cost_per_session cost_above_cap tool_call_valid cancel_before_first_byte";
    assert_eq!(names("{ tools: null }").join(" "), tools);
    assert!(!names("{ model: openai/a-model-without-a-price }").contains(&"cost_per_session".to_owned()));
}

#[test]
fn what_lies_above_a_cap_is_watched_in_the_role_of_its_amount_unless_it_is_named() {
    let watched = |guardrails: &str| {
        let head = "release: support-agent\ncanary: { model: openai/x }\nstages: [{ weight: 5%, bake: 1h }]\n";
        let read = release(&format!("{head}{guardrails}")).unwrap().policy.guardrails;
        let told = read.iter().map(|one| format!("{}:{:?}", one.metric, one.role));
        told.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        watched(
            "guardrails: [{ metric: error_rate }, { metric: tool_calls, margin: 20% }]\nsignals: [{ metric: output_tokens }]"
        ),
        "error_rate:Guardrail tool_calls:Guardrail output_tokens:Signal tool_calls_above_cap:Guardrail \
         output_tokens_above_cap:Signal"
    );
    assert_eq!(
        watched("guardrails: [{ metric: cost_per_session }, { metric: cost_above_cap, dry_run: on }]"),
        "cost_per_session:Guardrail cost_above_cap:DryRun"
    );
}

#[test]
fn signals_alone_leave_the_default_guardrails() {
    let text = "release: support-agent\ncanary: { model: openai/x }\nstages: [{ weight: 5%, bake: 1h }]\n\
                signals: [{ metric: refusal_rate }]\n";
    let guardrails = release(text).unwrap().policy.guardrails;
    assert!(guardrails.iter().any(|one| one.metric == Metric::ErrorRate && one.role == Role::Guardrail));
    assert_eq!(guardrails.iter().filter(|one| one.metric == Metric::RefusalRate).count(), 1);
    let refusal = guardrails.iter().find(|one| one.metric == Metric::RefusalRate).unwrap();
    assert_eq!(refusal.role, Role::Signal);
}

#[test]
fn a_null_takes_a_part_of_the_stable_away() {
    let text = "release: support-agent\ncanary: { prompt: null, tools: ~, params: { temperature: ~ } }\n\
                stages: [{ weight: 5%, bake: 1h }]\n";
    let canary = release(text).unwrap().canary;
    assert_eq!((canary.prompt, canary.tools), (None, None));
    assert!(!canary.params.contains_key("temperature"));
    assert_eq!(canary.params["seed"], JsonText("7".to_owned()));
}

#[test]
fn a_file_without_a_folder_starts_where_the_process_does() {
    let read = parse_process(SMALLEST, Path::new("coalmine.yaml"), &Made::default()).unwrap();
    assert_eq!(read.store, StoreAddress::Sqlite(PathBuf::from("coalmine.db")));
}

#[test]
fn a_freeze_may_name_its_zone_and_a_ramp_its_harm() {
    let named = RELEASE.replace("fri 16:00 .. mon 08:00 +02:00", "fri 16:00 .. mon 08:00 Europe/Berlin");
    let window = release(&named).unwrap().policy.freeze.remove(0);
    assert_eq!((window.from, window.to), (4 * 1440 + 16 * 60, 8 * 60), "as the clock in Berlin shows it");
    let zone = window.zone.unwrap();
    assert_eq!(zone.name, "Europe/Berlin");
    assert!(zone.offsets.len() >= 4 && zone.offsets.iter().all(|o| [60, 120].contains(&o.minutes)), "{zone:?}");

    let ramped = RELEASE.replace("stages:\n", "hold_back: 2%\nstages:\n");
    let (head, _) = ramped.split_once("stages:\n").unwrap();
    let (_, tail) = ramped.split_once("guardrails:\n").unwrap();
    let stages = "stages:\n  - { weight: 50%, ramp: adaptive, harm: 8/min, from: 2%, bake: 1h }\n";
    let spec = release(&format!("{head}{stages}guardrails:\n{tail}")).unwrap();
    let weights: Vec<u16> = spec.plan.stages.iter().map(|stage| stage.weight.bp()).collect();
    assert_eq!((weights.first(), weights.last()), (Some(&200), Some(&5_000)));
    assert_eq!(spec.plan.ramp(0).map(|ramp| ramp.harm_per_minute), Some(8.0));
    assert_eq!(spec.policy.hold_back, WeightBp::new(200).unwrap());
    let bad = release(&format!("{head}{}guardrails:\n{tail}", stages.replace("ramp: adaptive, ", "")));
    let told = bad.unwrap_err().to_string();
    assert!(told.contains("`harm` says how a ramp rises"), "{told}");
}

/// A shadow is the first stage, exposes nobody, and is no stage of the plan.
#[test]
fn a_shadow_stands_before_the_stages() {
    let head = "release: support-agent\ncanary: { model: openai/gpt-5-mini }\nstages:\n";
    let tail = "  - { weight: 5%, bake: 24h }\nguardrails: [{ metric: error_rate, margin: 0.5pp }]\n";
    let of = |stage: &str| release(&format!("{head}{stage}{tail}")).unwrap();
    let spec = of("  - { shadow: 20%, for: 2h }\n");
    let shadow = spec.policy.shadow.unwrap();
    assert_eq!((shadow.share.bp(), shadow.length, shadow.min_sessions), (2_000, SpanMs::hours(2), 100));
    assert_eq!((shadow.in_flight, shadow.usd_per_day), (16, 20.0));
    assert_eq!((spec.plan.stages.len(), spec.plan.stages[0].weight.bp()), (1, 500));
    let own = of("  - { shadow: 100%, for: 10m, min_sessions: 30, in_flight: 4, cost_per_day: $2.50 }\n");
    let own = own.policy.shadow.unwrap();
    assert_eq!((own.min_sessions, own.in_flight, own.usd_per_day), (30, 4, 2.5));
    assert_eq!(of("").policy.shadow, None);
}

/// A release whose shadow names these `pairs`, beside the judge `better` of this scale.
pub(super) fn with_pairs(scale: &str, pairs: &str, guardrail: &str) -> Result<ReleaseSpec, Faults> {
    let mut around = made();
    let judge = format!("model: openai/m-1\nscale: {scale}\nrubric: Be right.\n");
    around.files.insert("etc/judges/better.yaml".into(), judge);
    let text = format!(
        "release: support-agent\ncanary: {{ model: openai/gpt-5-mini }}\nstages:\n  - shadow: 20%\n    for: 2h\n    pairs: [{pairs}]\n    similarity: {{ model: openai/e, params: {{ dimensions: 8 }}, sample: 50%, baseline: 5%, min: 0.8, share: 95% }}\n  - {{ weight: 5%, bake: 24h }}\nguardrails: [{{ metric: {guardrail}, margin: 5pp }}]\n"
    );
    parse_release(&text, Path::new("etc/support.yaml"), &background(), &around)
}

/// The judge that a shadow names is pinned with the others; only one of pairs compares, and only pairs are compared by it.
#[test]
fn a_shadow_names_judges_of_pairs() {
    let with = with_pairs;
    let policy = with("pairs", "{ judge: better }", "error_rate").unwrap().policy;
    let preferring = &policy.shadow.as_ref().unwrap().preferences[0];
    assert_eq!((preferring.margin, preferring.sample.bp(), preferring.role), (0.1, 10_000, Role::Guardrail));
    assert_eq!(policy.judges.iter().map(|judge| judge.scale).collect::<Vec<_>>(), [Scale::Pairs]);
    let own = with("pairs", "{ judge: better, margin: 5pp, sample: 50%, role: signal, weight: 2 }", "error_rate");
    let own = own.unwrap().policy.shadow.unwrap().preferences.remove(0);
    assert_eq!((own.margin, own.sample.bp(), own.role, own.weight), (0.05, 5_000, Role::Signal, 2.0));
    let told = |scale, pairs, guardrail| with(scale, pairs, guardrail).unwrap_err().to_string();
    assert!(told("binary", "{ judge: better }", "error_rate").contains("scores one answer at a time"));
    assert!(told("pairs", "", "judge.better").contains("compares pairs, which only a shadow has"));
    assert!(told("pairs", "{ judge: none }", "error_rate").contains("none.yaml"));
    assert!(told("pairs", "{ judge: better, margin: 10% }", "error_rate").contains("percentage points"));
    assert!(told("pairs", "{ judge: better, margin: 100pp }", "error_rate").contains("no tolerance"));
    assert!(told("pairs", "{ judge: better, sample: 0% }", "error_rate").contains("above 0%"));
}

#[test]
fn a_shadow_may_measure_how_near_its_answers_are() {
    let of = |similarity: &str| {
        let text = format!(
            "release: support-agent\ncanary: {{ model: openai/gpt-5-mini }}\nstages:\n  - shadow: 20%\n    for: 2h\n    similarity: {{ {similarity} }}\n  - {{ weight: 5%, bake: 24h }}\n"
        );
        release(&text).map(|spec| spec.policy.shadow.unwrap().similarity.unwrap())
    };
    let plain = of("model: openai/text-embedding-3-small").unwrap();
    assert_eq!((plain.version.provider.as_str(), plain.version.model.as_str()), ("openai", "text-embedding-3-small"));
    assert_eq!((plain.sample.bp(), plain.baseline.bp(), plain.bar), (10_000, 1_000, None));
    let own = "model: openai/e, params: { dimensions: 64 }, sample: 50%, baseline: 1%, min: 0.8, share: 95%";
    let own = of(own).unwrap();
    assert_eq!((own.version.params["dimensions"].0.as_str(), own.sample.bp(), own.baseline.bp()), ("64", 5_000, 100));
    assert_eq!(own.bar.map(|bar| (bar.min, bar.share.bp())), Some((0.8, 9_500)));
    assert_eq!(of("model: openai/e, min: 0.5").unwrap().bar.unwrap().share.bp(), 9_000);
    let told = |similarity| of(similarity).unwrap_err().to_string();
    assert!(told("model: opnai/e").contains("there is no provider"));
    assert!(told("model: openai/e, share: 90%").contains("add `min: 0.8`"));
    assert!(told("model: openai/e, min: 1.2").contains("1.2 is no cosine to ask for"));
    assert!(told("model: openai/e, min: 0.8, share: 0%").contains("above 0%"));
    assert!(told("model: openai/e, sample: 0%").contains("above 0%"));
    assert!(told("min: 0.8").contains("model"));
}

/// A route that people answer watches what people have, and the rest is refused by name.
#[test]
fn people_answer_and_what_they_have_no_number_of_is_refused() {
    let people = "providers: { people: { kind: people }, openai: { kind: openai } }\nroutes: { support: { stable: { model: people/agents } } }\n";
    let site = process(people).unwrap();
    let of = |rest: &str| {
        let head = "release: support\ncanary: { model: openai/gpt-5-mini }\nstages:\n  - shadow: 100%\n    for: 2h\n";
        parse_release(&format!("{head}{rest}"), Path::new("etc/support.yaml"), &site.background(), &made())
    };
    let stage = "  - { weight: 5%, bake: 24h }\n";
    let plain = of(stage).unwrap().policy;
    let watched: Vec<String> = plain.guardrails.iter().map(|own| own.metric.to_string()).collect();
    assert_eq!(watched, ["error_rate"], "of the defaults what people have");
    let near = of(&format!("    similarity: {{ model: openai/e }}\n{stage}")).unwrap().policy;
    assert_eq!(near.shadow.unwrap().similarity.unwrap().baseline.bp(), 0, "a person is not asked twice");
    let own = "guardrails: [{ metric: error_rate }, { metric: feedback.solved, margin: 2pp }]\n";
    assert_eq!(of(&format!("{stage}{own}")).unwrap().policy.guardrails.len(), 2);

    let told = |rest: &str| of(rest).unwrap_err().to_string();
    let refused = told(&format!(
        "{stage}guardrails: [{{ metric: error_rate }}, {{ metric: latency_p95 }}]\nsignals: [{{ metric: cost_per_session }}]\n"
    ));
    assert!(refused.contains("people have no `latency_p95`") && refused.contains("guardrails[1].metric"), "{refused}");
    assert!(
        refused.contains("people have no `cost_per_session`") && refused.contains("signals[0].metric"),
        "{refused}"
    );
    assert!(told(&format!("{stage}sentinels: sentinels/support.yaml\n")).contains("cannot be asked by a machine"));
    let baseline = format!("    similarity: {{ model: openai/e, baseline: 5% }}\n{stage}");
    assert!(told(&baseline).contains("not asked a second time"));

    let canary = "release: support-agent\ncanary: { model: people/b }\nstages: [{ weight: 5%, bake: 24h }]\n";
    let mut with_people = background();
    with_people.providers.insert("people".into());
    let refused = parse_release(canary, Path::new("etc/support.yaml"), &with_people, &made()).unwrap_err().to_string();
    assert!(refused.contains("the canary is people"), "{refused}");
    let told = |text: &str| process(text).unwrap_err().to_string();
    assert!(
        told(&people.replace("kind: people }", "kind: people, api_key: ${OPENAI_API_KEY} }"))
            .contains("`api_key` says nothing")
    );
    assert!(told(&people.replace("people: {", "staff: {").replace("people/", "staff/")).contains("has another name"));
    assert!(told(&people.replace("kind: people", "kind: openai")).contains("the name `people`"));
    assert!(
        told(&people.replace("model: people/agents", "model: people/agents, prompt: prompts/support.md"))
            .contains("given no `prompt`")
    );
}

#[test]
fn a_suite_of_a_route_is_read_where_it_stands_and_refused_by_name() {
    let route = |sentinels: &str| {
        format!(
            "providers: {{ openai: {{ kind: openai }} }}\nroutes: {{ support: {{ stable: {{ model: openai/gpt-4.1 }}, sentinels: {sentinels} }} }}\n"
        )
    };
    let read = process(&route("sentinels/support.yaml")).unwrap();
    assert_eq!(read.routes[&RouteName::from("support")].sentinels.as_ref().unwrap().qualify, 3);
    let flaky = "prompts: [\"{{q}}\"]\ntests:\n  - { description: coin, vars: { q: hi }, assert: [{ type: contains, value: a }], metadata: { canary: { flaky: 70% } } }\n";
    let mut around = super::made();
    around.files.insert("etc/flaky.yaml".into(), flaky.to_owned());
    around.files.insert("etc/new.yaml".into(), flaky.replace("flaky: 70%", "confirmed: no"));
    around.files.insert("etc/program.yaml".into(), flaky.replace("type: contains", "type: javascript"));
    for (suite, told) in [
        ("flaky.yaml", "coin is so flaky that not even 24 failed tries"),
        ("new.yaml", "answers that nobody has confirmed"),
        ("program.yaml", "`coalmine sentinel check program.yaml` tells all"),
        ("missing.yaml", "missing.yaml"),
    ] {
        let faults = parse_process(&route(suite), Path::new("etc/coalmine.yaml"), &around).unwrap_err().to_string();
        assert!(faults.contains("routes.support.sentinels") && faults.contains(told), "{suite}: {faults}");
    }
}
