//! Decisions on releases, as events for a collector.

use crate::support::*;
use coalmine_core::cohort::Cohort;
use coalmine_core::id::{Actor, Generation, ReleaseId, RouteName, TenantId};
use coalmine_core::metric::Metric;
use coalmine_core::release::decide::decide;
use coalmine_core::release::event::{Command, Event};
use coalmine_core::release::plan::{Gate, Plan, Stage};
use coalmine_core::release::policy::{Ages, Budget, Guardrail, OnRollback, OnUndecided, Policy, Role};
use coalmine_core::release::report::Step as Decided;
use coalmine_core::release::state::{Release, State};
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::weight::{Salt, WeightBp};
use coalmine_core::version::VersionId;
use coalmine_gateway::config::{Config, Otlp};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const AT: UnixMs = UnixMs(1_796_000_000_000);

fn to(collector: &Upstream) -> impl FnOnce(&mut Config) {
    let otlp = Otlp {
        traces: None,
        metrics: None,
        decisions: Some(format!("http://{}/v1/logs", collector.address)),
        headers: Vec::new(),
        sample: 1.0,
        metrics_every: Duration::from_mins(1),
        timeout: Duration::from_secs(10),
        resource: Vec::new(),
        instance: "g-1".to_owned(),
    };
    move |config| config.telemetry.otlp = Some(otlp)
}

fn release() -> Release {
    let stage = |bp| Stage {
        cohort: Cohort::All,
        weight: WeightBp::rounded(bp),
        bake: SpanMs::hours(1),
        min_sessions: 10,
        gate: Gate::Automatic,
    };
    Release {
        id: ReleaseId::from("support-7"),
        tenant: TenantId::default(),
        route: RouteName::from("support"),
        stable: VersionId([1; 32]),
        canary: VersionId([2; 32]),
        plan: Plan { stages: vec![stage(500.0), stage(2_500.0)] },
        policy: Policy {
            false_rollback_rate: 0.01,
            false_promotion_rate: 0.05,
            guardrails: vec![Guardrail::with_defaults(Metric::ErrorRate, Role::Guardrail)],
            tripwires: Vec::new(),
            bucket: SpanMs::secs(60),
            ages: Ages::default(),
            max_duration: SpanMs::hours(72),
            on_undecided: OnUndecided::Hold,
            on_rollback: OnRollback::MoveNextTurn,
            keep: SpanMs::hours(48),
            hold_back: WeightBp::ZERO,
            rescue_budget: WeightBp::ZERO,
            budget: Budget { harmed: None, extra_cost_usd: None },
            freeze: Vec::new(),
            sentinels: None,
            judges: Vec::new(),
            shadow: None,
            acknowledged: BTreeSet::new(),
        },
        policy_hash: "0".repeat(64),
        salt: Salt([7; 32]),
        attempt: 0,
        carried: BTreeMap::new(),
        prices: None,
        created_at: AT,
        started_at: None,
        promoted_at: None,
        revoked_at: None,
        drifts: Vec::new(),
        open: BTreeSet::new(),
        state: State::Draft,
        generation: Generation(1),
    }
}

fn alice() -> Actor {
    Actor("alice".to_owned())
}

/// One step after the other, each from where the last one led.
fn steps(events: Vec<Event>) -> Vec<Decided> {
    let mut release = release();
    let step = |event: Event| {
        let step = decide(&release, &event, AT).unwrap();
        release = step.next.clone();
        step
    };
    events.into_iter().map(step).collect()
}

fn said(command: Command) -> Event {
    Event::Operator { actor: alice(), command }
}

fn records(received: &[Received]) -> Vec<LogRecord> {
    let of = |received: &Received| {
        assert!(received.head.starts_with("POST /v1/logs "), "{}", received.head);
        let request: ExportLogsServiceRequest = serde_json::from_slice(&received.body).unwrap();
        request.resource_logs[0].scope_logs[0].log_records.clone()
    };
    received.iter().flat_map(of).collect()
}

async fn told(collector: &Upstream, count: usize) -> Vec<LogRecord> {
    soon("what was decided", async {
        loop {
            let records = records(&collector.received());
            if records.len() >= count {
                return records;
            }
            collector.arrived.notified().await;
        }
    })
    .await
}

fn text(value: &Value) -> String {
    match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::BoolValue(_)
        | Value::ArrayValue(_)
        | Value::KvlistValue(_)
        | Value::BytesValue(_)
        | Value::StringValueStrindex(_) => panic!("{value:?}"),
    }
}

#[tokio::test]
async fn what_is_decided_of_a_release_is_an_event_with_its_route_stage_and_reason() {
    let theirs = Upstream::start(vec![json_answer(200, "", "{}")]).await;
    let world = World::with(vec![], vec![], to(&theirs)).await;
    let why = || "as agreed".to_owned();
    let made = steps(vec![
        said(Command::Start),
        said(Command::Advance { reason: why() }),
        said(Command::Pause),
        said(Command::Resume),
        Event::Drift { what: "it answers as another model".to_owned() },
        said(Command::Rollback { reason: "refunds are wrong".to_owned() }),
        Event::Served,
    ]);
    for step in &made {
        world.gateway.tell_decided(step, &alice(), AT);
    }
    let records = told(&theirs, made.len()).await;
    let names: Vec<&str> = records.iter().map(|record| record.event_name.as_str()).collect();
    let expected = ["started", "advanced", "paused", "resumed", "drift", "rolling_back", "rolled_back"];
    assert_eq!(names, expected.map(|name| format!("coalmine.release.{name}")));
    let grave: Vec<i32> = records.iter().map(|record| record.severity_number).collect();
    assert_eq!(grave, [9, 9, 13, 9, 13, 13, 9]);
    assert!(records.iter().all(|record| record.time_unix_nano == AT.0 * 1_000_000));
    let shown = |record: &LogRecord| {
        let body = text(record.body.as_ref().unwrap().value.as_ref().unwrap());
        let pairs = record.attributes.iter();
        let pairs: BTreeMap<String, String> =
            pairs.map(|pair| (pair.key.clone(), text(pair.value.as_ref().unwrap().value.as_ref().unwrap()))).collect();
        (body, pairs)
    };
    insta::assert_json_snapshot!([shown(&records[1]), shown(&records[5])]);
}

#[tokio::test]
async fn what_changes_nothing_is_no_event_and_more_than_fit_are_counted() {
    let theirs = Upstream::start(vec![vec![Step::Close]]).await;
    let mut world = World::with(vec![], vec![], to(&theirs)).await;
    let held = decide(&release(), &Event::Served, AT).unwrap();
    let started = steps(vec![said(Command::Start)]);
    world.gateway.tell_decided(&held, &alice(), AT);
    for _ in 0..1_030 {
        world.gateway.tell_decided(&started[0], &alice(), AT);
    }
    assert!(world.metric("coalmine_otlp_decisions_total 0") && world.metric("coalmine_otlp_decisions_dropped_total 6"));
    world.running.take().unwrap().stop(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_decision_waits_for_a_collector_and_is_lost_where_it_is_refused() {
    let later = json_answer(503, "retry-after: 0\r\n", "");
    let taken = || json_answer(200, "", "{}");
    let theirs = Upstream::start(vec![later, taken(), error(400, ""), taken()]).await;
    let mut world = World::with(vec![], vec![], to(&theirs)).await;
    let started = steps(vec![said(Command::Start)]);
    for count in [2, 3] {
        world.gateway.tell_decided(&started[0], &alice(), AT);
        told(&theirs, count).await;
    }
    world.gateway.tell_decided(&started[0], &alice(), AT);
    // what is left is told when the gateway ends
    world.running.take().unwrap().stop(Duration::from_secs(10)).await;
    assert_eq!(theirs.count(), 4);
    assert!(world.metric("coalmine_otlp_decisions_total 2") && world.metric("coalmine_otlp_decisions_dropped_total 1"));
}
