//! Keys, prompts and answers never reach a log, a metric, or an error (T28).

use crate::support::*;
use coalmine_gateway::config::{Config, Credential, LogTarget, Otlp, Secret, SiteSecret};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing_subscriber::filter::LevelFilter;

#[derive(Debug, Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// All that can be told to a collector.
fn otlp(collector: &str) -> Otlp {
    Otlp {
        traces: Some(format!("http://{collector}/v1/traces")),
        metrics: Some(format!("http://{collector}/v1/metrics")),
        decisions: None,
        headers: vec![("authorization".to_owned(), Secret::new("key-of-the-collector"))],
        sample: 1.0,
        metrics_every: Duration::from_mins(1),
        timeout: Duration::from_secs(10),
        resource: Vec::new(),
        instance: "g-1".to_owned(),
    }
}

#[tokio::test]
async fn t28_what_is_written_down_names_neither_keys_nor_words() {
    let page = Page::default();
    let written = page.clone();
    let log = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || written.clone())
        .finish();
    // of the whole process, for requests are answered on other tasks
    tracing::subscriber::set_global_default(log).unwrap();
    let hush = r#"{"error":{"message":"word-of-the-answer","type":"t-word"}}"#;
    let in_band = vec![write(STREAM_HEAD), write(chunk(event(hush))), write(STREAM_END)];
    let canary = vec![
        ok("word-of-the-answer"),
        in_band,
        json_answer(400, "", hush),
        vec![write("word-of-the-answer\r\n\r\n"), Step::Close],
    ];
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("access.jsonl");
    let collector = Upstream::start(vec![json_answer(200, "", "{}")]).await;
    let posted = collector.address;
    let target = LogTarget::File(lines.clone());
    let told = |config: &mut Config| {
        config.telemetry.access_log = Some(target);
        config.telemetry.otlp = Some(otlp(&posted.to_string()));
    };
    let mut world = World::with(vec![json_answer(500, "", hush)], canary, told).await;
    world.gateway.install(&tables(crate::variables::released())).await.unwrap();
    let value = r#"{"company":"word-of-the-value"}"#;
    let headers = [
        ("authorization", "Bearer key-of-the-client"),
        ("x-session-id", "name-of-the-session"),
        ("x-coalmine-variables", value),
    ];
    for body in [ASK, ASK_STREAM, ASK, ASK, "{\"model\": word-of-the-prompt}"] {
        let body = body.replace("hello", "word-of-the-prompt");
        let answer = Answer::of(world.send(world.request("/v1/chat/completions", &headers, body)).await).await;
        let told = format!("{:?}", answer.headers);
        assert!(!told.contains("name-of-the-session") && !told.contains("key-"), "{told}");
    }
    // one that cannot be read
    let twice = world.request("/v1/chat/completions", &[headers[2], headers[2]], ASK);
    assert_eq!(world.send(twice).await.status(), 400);
    world.turns(4).await;
    assert!(
        world.canary.received()[0].json()["messages"][0]["content"].as_str().unwrap().contains("word-of-the-value")
    );
    world.running.take().unwrap().stop(Duration::from_secs(10)).await;
    let mut text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    let logged = std::fs::read_to_string(&lines).unwrap();
    assert_eq!(logged.lines().count(), 6, "{logged}");
    let posted = collector.received();
    assert!(posted.len() >= 2, "spans and metrics");
    text.push_str(&logged);
    posted.iter().for_each(|posted| text.push_str(&String::from_utf8_lossy(&posted.body)));
    text.push_str(&world.gateway.render_metrics(coalmine_gateway::Exposition::OpenMetrics));
    text.push_str(&format!("{:?} {:?}", world.gateway, world.sink));
    for hush in [
        "key-one",
        "key-two",
        "key-of-the-client",
        "key-of-the-collector",
        "name-of-the-session",
        "word-of-the",
        "t-word",
    ] {
        assert!(!text.contains(hush), "{hush} in {text}");
    }
}

#[test]
fn a_configuration_can_be_shown() {
    let mut config = Config::new("g".into(), SiteSecret([77; 32]), Default::default());
    let provider = coalmine_gateway::config::Provider::openai("http://x", Credential::Bearer(Secret::new("sesame")));
    config.providers.insert("p".into(), provider);
    let shown = format!("{config:?}");
    assert!(!shown.contains("sesame") && !shown.contains("77"), "{shown}");
}
