//! What leaves beside: a collector that reads with OpenTelemetry's own types, and the access log.

use crate::messages;
use crate::support::*;
use coalmine_gateway::Exposition;
use coalmine_gateway::config::{Config, LogTarget, Otlp, Secret};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::collections::BTreeMap;
use std::time::Duration;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn collector(collector: &Upstream, change: impl FnOnce(&mut Otlp)) -> impl FnOnce(&mut Config) {
    let base = format!("http://{}", collector.address);
    let mut otlp = Otlp {
        traces: Some(format!("{base}/v1/traces")),
        metrics: None,
        decisions: None,
        headers: vec![("api-key".to_owned(), Secret::new("key-of-the-collector"))],
        sample: 1.0,
        metrics_every: Duration::from_millis(20),
        timeout: Duration::from_secs(10),
        resource: vec![("service.name".to_owned(), "mine".to_owned())],
        instance: "g-1".to_owned(),
    };
    change(&mut otlp);
    move |config| config.telemetry.otlp = Some(otlp)
}

fn taken() -> Vec<Step> {
    json_answer(200, "", "{}")
}

fn attributes(of: &[KeyValue]) -> BTreeMap<String, String> {
    let value = |pair: &KeyValue| match pair.value.as_ref().unwrap().value.as_ref().unwrap() {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::BoolValue(is) => is.to_string(),
        other @ (Value::ArrayValue(_)
        | Value::KvlistValue(_)
        | Value::BytesValue(_)
        | Value::StringValueStrindex(_)) => panic!("{other:?}"),
    };
    of.iter().map(|pair| (pair.key.clone(), value(pair))).collect()
}

async fn arrivals(collector: &Upstream, count: usize) -> Vec<Received> {
    soon("what is posted", async {
        while collector.count() < count {
            collector.arrived.notified().await;
        }
        collector.received()
    })
    .await
}

fn spans(received: &Received) -> Vec<Span> {
    let request: ExportTraceServiceRequest = serde_json::from_slice(&received.body).unwrap();
    let resource = &request.resource_spans[0];
    assert_eq!(attributes(&resource.resource.as_ref().unwrap().attributes)["service.name"], "mine");
    resource.scope_spans[0].spans.clone()
}

async fn ask(world: &World, parent: Option<&str>, body: &str) -> Answer {
    let mut headers = vec![("x-session-id", "s-1")];
    headers.extend(parent.map(|parent| ("traceparent", parent)));
    Answer::of(world.send(world.request("/v1/chat/completions", &headers, body.to_owned())).await).await
}

#[tokio::test]
async fn a_turn_is_a_span_of_the_clients_trace_with_its_arm() {
    let theirs = Upstream::start(vec![taken()]).await;
    let world = World::with(vec![ok("s")], vec![streamed(&["c"])], collector(&theirs, |_| {})).await;
    world.release(10_000).await;
    let answer = ask(&world, Some(PARENT), ASK_STREAM).await;
    assert_eq!(answer.status, 200);
    let posted = arrivals(&theirs, 1).await;
    assert!(posted[0].head.starts_with("POST /v1/traces "), "{}", posted[0].head);
    assert_eq!(posted[0].header("content-type"), Some("application/json"));
    assert_eq!(posted[0].header("api-key"), Some("key-of-the-collector"));
    let span = &spans(&posted[0])[0];
    assert_eq!(span.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes());
    assert_eq!(span.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
    assert_eq!((span.name.as_str(), span.kind, span.flags), ("chat model-c", 3, 0x301));
    assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (1_000_001_000_000, 1_000_001_000_000));
    // the provider was asked by our span
    let span_id: String = span.span_id.iter().map(|byte| format!("{byte:02x}")).collect();
    let asked = world.canary.received()[0].header("traceparent").unwrap().to_owned();
    assert_eq!(asked, format!("00-0af7651916cd43dd8448eb211c80319c-{span_id}-01"));
    let mut told = attributes(&span.attributes);
    assert_eq!(told.remove("coalmine.request_id").as_deref(), Some(answer.header("x-coalmine-request-id")));
    assert_eq!(told.remove("gen_ai.conversation.id").as_deref(), Some(answer.header("x-coalmine-session")));
    assert_eq!(told.remove("coalmine.version").as_deref(), Some(answer.header("x-coalmine-version")));
    insta::assert_json_snapshot!(told);
}

#[tokio::test]
async fn how_an_answer_was_served_is_on_its_span_where_it_says_so() {
    let named = completion("c").replacen(
        r#""model":"m""#,
        r#""model":"m","system_fingerprint":"fp_1","service_tier":"priority""#,
        1,
    );
    let theirs = Upstream::start(vec![taken()]).await;
    let world = World::with(vec![json_answer(200, "", &named)], vec![], collector(&theirs, |_| {})).await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    ask(&world, Some(PARENT), ASK).await;
    let told = attributes(&spans(&arrivals(&theirs, 1).await[0])[0].attributes);
    assert_eq!(told["openai.response.service_tier"], "priority");
    assert_eq!(told["openai.response.system_fingerprint"], "fp_1");

    let named = messages::message("s").replacen(r#""usage":{"#, r#""usage":{"service_tier":"standard","#, 1);
    let theirs = Upstream::start(vec![taken()]).await;
    let told = collector(&theirs, |_| {});
    let world = World::with(vec![json_answer(200, "", &named)], vec![], |config| {
        messages::anthropic(config);
        told(config);
    });
    let world = world.await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    let headers = [("traceparent", PARENT)];
    world.send(world.request("/v1/messages", &headers, messages::ASK.to_owned())).await;
    let told = attributes(&spans(&arrivals(&theirs, 1).await[0])[0].attributes);
    assert_eq!(told["coalmine.response.service_tier"], "standard");
    assert!(!told.keys().any(|name| name.starts_with("openai.")), "{told:?}");
}

#[tokio::test]
async fn what_is_not_sampled_is_not_told_and_passes_as_it_is() {
    let theirs = Upstream::start(vec![taken()]).await;
    let world = World::with(vec![ok("s")], vec![], collector(&theirs, |otlp| otlp.sample = 0.0)).await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    let unsampled = PARENT.replace("-01", "-00");
    for parent in [None, Some(unsampled.as_str()), Some(PARENT)] {
        ask(&world, parent, ASK).await;
    }
    let posted = arrivals(&theirs, 1).await;
    assert_eq!(spans(&posted[0]).len(), 1, "the client's own decision is all that is told");
    let asked: Vec<Option<String>> =
        world.stable.received().iter().map(|asked| asked.header("traceparent").map(str::to_owned)).collect();
    assert_eq!(asked[..2], [None, Some(unsampled)]);
    assert_ne!(asked[2].as_deref(), Some(PARENT));
}

#[tokio::test]
async fn metrics_have_the_names_of_the_conventions_and_the_arm() {
    let theirs = Upstream::start(vec![taken()]).await;
    let both = |otlp: &mut Otlp| otlp.metrics = otlp.traces.take().map(|url| url.replace("traces", "metrics"));
    let world = World::with(vec![], vec![ok("c"), error(503, "")], collector(&theirs, both)).await;
    let mut table = route(1, Some(10_000));
    table.release.as_mut().unwrap().rescue_budget = coalmine_core::traffic::weight::WeightBp::ZERO;
    world.gateway.install(&tables(table)).await.unwrap();
    ask(&world, None, ASK).await;
    ask(&world, None, ASK).await;
    let found = soon("both turns", async {
        loop {
            let posted = arrivals(&theirs, 1).await;
            let last = posted.last().unwrap();
            let request: ExportMetricsServiceRequest = serde_json::from_slice(&last.body).unwrap();
            let metrics = request.resource_metrics[0].scope_metrics[0].metrics.clone();
            let points = |name: &str| {
                let metric = metrics.iter().find(|metric| metric.name == name).unwrap();
                let Some(Data::Histogram(histogram)) = metric.data.clone() else { panic!("{metric:?}") };
                (metric.unit.clone(), histogram)
            };
            if points("gen_ai.client.operation.duration").1.data_points.len() == 2 {
                break [
                    points("gen_ai.client.operation.duration"),
                    points("gen_ai.server.time_to_first_token"),
                    points("gen_ai.client.token.usage"),
                ];
            }
            theirs.arrived.notified().await;
        }
    })
    .await;
    let [(seconds, duration), (_, first), (tokens, usage)] = found;
    assert_eq!((seconds.as_str(), tokens.as_str()), ("s", "{token}"));
    assert_eq!((duration.aggregation_temporality, duration.data_points[0].explicit_bounds.len()), (2, 14));
    let all: Vec<BTreeMap<String, String>> =
        duration.data_points.iter().map(|point| attributes(&point.attributes)).collect();
    for told in &all {
        assert_eq!(told["feature_flag.key"], "support");
        assert_eq!(told["feature_flag.result.variant"], "canary");
        assert_eq!(told["feature_flag.set.id"], "support-1");
        assert_eq!(told["gen_ai.request.model"], "model-c");
    }
    let errors: Vec<Option<&str>> = all.iter().map(|told| told.get("error.type").map(String::as_str)).collect();
    assert!(errors.contains(&None) && errors.contains(&Some("failed_server")), "{errors:?}");
    assert_eq!(first.data_points.len(), 1, "of the answer alone");
    assert_eq!(first.data_points[0].bucket_counts.len(), first.data_points[0].explicit_bounds.len() + 1);
    let mut sums: Vec<(String, f64)> = usage
        .data_points
        .iter()
        .map(|point| (attributes(&point.attributes)["gen_ai.token.type"].clone(), point.sum.unwrap()))
        .collect();
    sums.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(sums, [("input".to_owned(), 10.0), ("output".to_owned(), 5.0)]);
}

#[tokio::test]
async fn a_collector_is_asked_again_when_it_says_so_and_not_when_it_refuses() {
    let later = json_answer(503, "retry-after: 0\r\n", "");
    let partly = json_answer(200, "", r#"{"partialSuccess":{"rejectedSpans":"1"}}"#);
    let theirs = Upstream::start(vec![later, taken(), error(400, ""), partly]).await;
    let mut world = World::with(vec![ok("s")], vec![], collector(&theirs, |_| {})).await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    ask(&world, None, ASK).await;
    let posted = arrivals(&theirs, 2).await;
    assert_eq!(spans(&posted[0])[0].span_id, spans(&posted[1])[0].span_id, "the same again");
    ask(&world, None, ASK).await;
    arrivals(&theirs, 3).await;
    ask(&world, None, ASK).await;
    // what is left is told when the gateway ends
    world.running.take().unwrap().stop(Duration::from_secs(10)).await;
    assert_eq!(theirs.count(), 4);
    for line in ["coalmine_otlp_spans_total 1", "coalmine_otlp_spans_dropped_total 2", "coalmine_otlp_failures_total 1"]
    {
        assert!(world.metric(line), "{line}");
    }
}

#[tokio::test]
async fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    let theirs = Upstream::start(vec![vec![Step::Close]]).await;
    let mut world = World::with(vec![ok("s")], vec![], collector(&theirs, |_| {})).await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    for _ in 0..3 {
        assert_eq!(ask(&world, None, ASK).await.status, 200);
    }
    arrivals(&theirs, 1).await;
    assert_eq!(ask(&world, None, ASK).await.status, 200);
    world.running.take().unwrap().stop(Duration::from_secs(10)).await;
    assert!(world.metric("coalmine_otlp_spans_total 0") && world.metric("coalmine_otlp_spans_dropped_total 4"));
}

#[tokio::test]
async fn the_access_log_has_a_line_for_every_request() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.jsonl");
    let target = LogTarget::File(path.clone());
    let change = |config: &mut Config| {
        config.telemetry.access_log = Some(target);
        config.default_provider = Some("one".into());
    };
    let mut world = World::with(vec![ok("s"), streamed(&["p"])], vec![ok("c"), error(500, "")], change).await;
    world.release(10_000).await;
    ask(&world, Some(PARENT), ASK).await;
    // the canary fails, stable takes over
    ask(&world, None, ASK).await;
    // no route of ours
    ask(&world, None, &ASK_STREAM.replace("support", "gpt-x")).await;
    ask(&world, None, "no JSON").await;
    world.running.take().unwrap().stop(Duration::from_secs(10)).await;
    let text = std::fs::read_to_string(&path).unwrap();
    let mut lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4, "{text}");
    for line in &mut lines {
        for (name, of) in [("request_id", "cmr_"), ("version", "v_"), ("session", "")] {
            if let Some(value) = line.get_mut(name) {
                assert!(value.as_str().unwrap().starts_with(of));
                *value = name.into();
            }
        }
    }
    insta::assert_json_snapshot!(lines);
}

/// Whom the access log names as the client of a request with these headers, where this machine is a proxy or is not.
async fn logged_client(trusted: &[&str], headers: &[(&str, &str)]) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.jsonl");
    let target = LogTarget::File(path.clone());
    let change = |config: &mut Config| {
        config.telemetry.access_log = Some(target);
        config.trusted_proxies.networks = trusted.iter().map(|network| network.parse().unwrap()).collect();
    };
    let mut world = World::with(vec![ok("s")], vec![], change).await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    let request = world.request("/v1/chat/completions", headers, ASK);
    assert_eq!(Answer::of(world.send(request).await).await.status, 200);
    world.running.take().unwrap().stop(Duration::from_secs(10)).await;
    let line: serde_json::Value = serde_json::from_str(std::fs::read_to_string(&path).unwrap().trim()).unwrap();
    (line["client"].as_str().unwrap().to_owned(), world.stable.received()[0].head.clone())
}

#[tokio::test]
async fn a_client_is_whom_a_trusted_proxy_names_and_nobody_else() {
    let told = [
        ("x-forwarded-for", "198.51.100.1, 203.0.113.9"),
        ("forwarded", "for=198.51.100.2"),
        ("x-real-ip", "198.51.100.3"),
        ("x-forwarded-proto", "https"),
    ];
    let (client, sent) = logged_client(&[], &told).await;
    assert_eq!(client, "127.0.0.1", "by default nobody is believed");
    let head = sent.to_ascii_lowercase();
    assert!(!head.contains("forwarded") && !head.contains("x-real-ip") && !head.contains("198.51.100"), "{head}");
    let (client, sent) = logged_client(&["127.0.0.0/8"], &told).await;
    assert_eq!(client, "203.0.113.9", "whom the proxy added, not what stood there before");
    assert!(!sent.to_ascii_lowercase().contains("forwarded"), "{sent}");
    let (client, _) = logged_client(&["10.0.0.0/8"], &told).await;
    assert_eq!(client, "127.0.0.1", "another's proxies are not ours");
}

#[tokio::test]
async fn what_a_passed_turn_used_is_counted_and_charged() {
    let change = |config: &mut Config| {
        config.default_provider = Some("one".into());
        config.quota.tokens_per_minute = Some(1_000);
    };
    let world = World::with(vec![ok("s"), streamed(&["p"])], vec![], change).await;
    world.release(10_000).await;
    for body in [ASK, ASK_STREAM] {
        let answer = ask(&world, None, &body.replace("support", "gpt-x")).await;
        assert_eq!(answer.status, 200);
    }
    let spent = soon("the spending", async {
        loop {
            let deltas = world.sink.deltas.lock().unwrap().clone();
            let used: Vec<_> = deltas.iter().flat_map(|delta| delta.spending.clone()).map(|one| one.used).collect();
            if used.iter().map(|used| used.requests).sum::<u64>() == 2 {
                break used.iter().map(|used| used.tokens).sum::<u64>();
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(spent, 30, "15 tokens of each");
}

#[tokio::test]
async fn the_trace_of_a_slow_request_is_an_exemplar() {
    let world = World::new(vec![ok("s")], vec![]).await;
    world.gateway.install(&tables(route(1, None))).await.unwrap();
    ask(&world, Some(PARENT), ASK).await;
    let page = world.gateway.render_metrics(Exposition::OpenMetrics);
    let exemplar = r#" # {trace_id="0af7651916cd43dd8448eb211c80319c",span_id="b7ad6b7169203331"} 0 1000.001"#;
    assert_eq!(page.matches(exemplar).count(), 2, "of the first byte and of the end: {page}");
    assert!(!world.gateway.render_metrics(Exposition::Text).contains(" # {"));
}
