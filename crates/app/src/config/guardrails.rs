//! Guardrails and signals: what a margin means under which metric, and the default checks of a
//! release whose file names none.

use crate::config::fault::{Complaint, nearest};
use crate::config::read::Fields;
use crate::config::release::RouteBackground;
use crate::config::scalar::{self, Bound, Tolerance};
use crate::config::version::listed;
use coalmine_core::metric::{Direction, Kind, Metric};
use coalmine_core::release::policy::{Guardrail, Margin, NoData, NoDataThen, Role};
use coalmine_core::time::SpanMs;
use coalmine_core::version::{Change, Part};
use std::collections::BTreeSet;

/// The margin of every proven harm.
const NONE: Margin = Margin { ratio: 1.0, shift: 0.0 };
/// How long a metric may be silent by default.
const GRACE: SpanMs = SpanMs::minutes(30);

/// The guardrails and signals of a file; the defaults for `changed` where it lists no guardrail.
pub(crate) fn read(
    fields: &Fields<'_>,
    route: Option<&RouteBackground>,
    changed: Option<&[Change]>,
) -> Option<Vec<Guardrail>> {
    let listed = fields.sections("guardrails");
    if fields
        .node("guardrails")
        .is_some_and(|node| matches!(&node.value.value, crate::config::tree::Value::List(items) if items.is_empty()))
    {
        let what = "a release without guardrails could never be rolled back by itself";
        let mend = "list some, or remove the key: then the difference of the versions decides";
        fields.fault("guardrails", Complaint::new(what, mend), None);
    }
    let signals = fields.sections("signals");
    let mut read: Vec<Option<Guardrail>> = listed.iter().map(|one| guardrail(one, Role::Guardrail, route)).collect();
    read.extend(signals.iter().map(|one| guardrail(one, Role::Signal, route)));
    once_each(listed.iter().chain(&signals), &read);
    let mut all = read.into_iter().collect::<Option<Vec<Guardrail>>>()?;
    if listed.is_empty() {
        let own: BTreeSet<Metric> = all.iter().map(|one| one.metric.clone()).collect();
        let defaults = defaults(changed?).into_iter().filter(|one| !own.contains(&one.metric));
        all.splice(0..0, defaults.collect::<Vec<_>>());
    }
    Some(all)
}

/// What is watched where the file names nothing: errors, speed, cost and giving up always, and
/// what the changed parts can break.
fn defaults(changed: &[Change]) -> Vec<Guardrail> {
    let parts: BTreeSet<Part> = changed.iter().map(|change| change.part).collect();
    let answers = [Part::Model, Part::Prompt, Part::Params].iter().any(|part| parts.contains(part));
    let calls = answers || parts.contains(&Part::Tools);
    let watched = [
        (Metric::ErrorRate, true),
        (Metric::TtftP95, true),
        (Metric::CostPerSession, true),
        (Metric::CancelBeforeFirstByte, true),
        (Metric::RefusalRate, answers),
        (Metric::EmptyRate, answers),
        (Metric::TruncatedRate, answers),
        (Metric::ToolCallValid, calls),
        (Metric::SchemaValid, calls),
    ];
    let one = |metric: Metric| {
        let promote = default_margin(&metric);
        Guardrail {
            role: Role::Guardrail,
            rollback: default_rollback(&metric, promote),
            promote,
            limit: None,
            weight: metric.severity(),
            // Not every route calls tools or asks for a schema, and not every model has a price.
            no_data: NoData { then: default_silence(&metric), grace: GRACE },
            metric,
        }
    };
    watched.into_iter().filter(|(_, applies)| *applies).map(|(metric, _)| one(metric)).collect()
}

fn default_silence(metric: &Metric) -> NoDataThen {
    match metric {
        Metric::ErrorRate | Metric::TtftP95 | Metric::LatencyP95 | Metric::Feedback(_) => NoDataThen::Hold,
        Metric::CostPerSession
        | Metric::OutputTokens
        | Metric::RefusalRate
        | Metric::EmptyRate
        | Metric::TruncatedRate
        | Metric::ToolCallValid
        | Metric::SchemaValid
        | Metric::CancelBeforeFirstByte => NoDataThen::Warn,
    }
}

/// The tolerance of a metric whose guardrail states none.
pub(crate) fn default_margin(metric: &Metric) -> Margin {
    match (metric, metric.kind()) {
        (Metric::ErrorRate, _) => Margin { shift: 0.005, ..NONE },
        (_, Kind::Rate) => Margin { shift: 0.01, ..NONE },
        (_, Kind::Score) => Margin { shift: 0.02, ..NONE },
        (_, Kind::Exceedance | Kind::Amount) => Margin { ratio: 1.1, ..NONE },
    }
}

/// Half of the margin for rates and scores, equal for times and amounts (`statistics.md`, section 8, rule 6).
fn default_rollback(metric: &Metric, promote: Margin) -> Margin {
    match metric.kind() {
        Kind::Rate | Kind::Score => Margin { shift: promote.shift / 2.0, ..promote },
        Kind::Exceedance | Kind::Amount => promote,
    }
}

fn guardrail(fields: &Fields<'_>, role: Role, route: Option<&RouteBackground>) -> Option<Guardrail> {
    let metric = scalar::metric(fields.text("metric")?.value).ok()?;
    known_feedback(fields, &metric, route);
    let promote = match fields.margin("margin") {
        Some(stated) => margin(fields, "margin", &metric, stated)?,
        None => default_margin(&metric),
    };
    let rollback = match fields.margin("rollback_margin") {
        Some(stated) => margin(fields, "rollback_margin", &metric, stated)?,
        None => default_rollback(&metric, promote),
    };
    if rollback.shift > promote.shift || rollback.ratio > promote.ratio {
        let what = "the rollback margin is wider than the margin that promotion must prove";
        let mend = "write at most the margin; half of it is usual for rates";
        fields.fault("rollback_margin", Complaint::new(what, mend), None);
    }
    let limit = match role {
        Role::Guardrail => limit(fields, &metric),
        Role::Signal | Role::DryRun => None,
    };
    let (then, grace) = scalar::no_data(fields.text("no_data")?.value).ok()?;
    let weight = match role {
        Role::Guardrail => fields.number("weight"),
        Role::Signal | Role::DryRun => None,
    };
    let role = if fields.switch("dry_run")? { Role::DryRun } else { role };
    Some(Guardrail {
        role,
        promote,
        rollback,
        limit,
        weight: weight.unwrap_or(metric.severity()),
        no_data: NoData { then, grace: grace.unwrap_or(GRACE) },
        metric,
    })
}

/// A route that lists its feedback has no other.
fn known_feedback(fields: &Fields<'_>, metric: &Metric, route: Option<&RouteBackground>) {
    let (Metric::Feedback(name), Some(route)) = (metric, route) else { return };
    if route.feedback.is_empty() || route.feedback.contains(name) {
        return;
    }
    let known: Vec<&str> = route.feedback.iter().map(String::as_str).collect();
    let near = nearest(name, known.iter().copied());
    let what = format!("the route has no feedback `{name}`");
    let mend = format!("name one of {}, or add it to the route's `feedback`", listed(&known));
    fields.fault("metric", Complaint::new(what, mend), near);
}

/// What a stated tolerance means under a metric.
fn margin(fields: &Fields<'_>, key: &'static str, metric: &Metric, stated: Tolerance) -> Option<Margin> {
    match (metric.kind(), stated) {
        (_, Tolerance::Zero) => Some(NONE),
        (Kind::Rate | Kind::Score, Tolerance::Points(shift)) => Some(Margin { shift, ..NONE }),
        (Kind::Exceedance | Kind::Amount, Tolerance::Relative(part)) => Some(Margin { ratio: 1.0 + part, ..NONE }),
        (Kind::Rate | Kind::Score, Tolerance::Relative(part)) => {
            let what = format!("`{metric}` is a share already: a percentage of it is not what is compared");
            let points = trim(part * 100.0);
            fields.fault(key, Complaint::new(what, format!("write percentage points, such as `{points}pp`")), None);
            None
        }
        (Kind::Exceedance | Kind::Amount, Tolerance::Points(points)) => {
            let what = format!("`{metric}` is not a share: percentage points do not apply");
            let percent = trim(points * 100.0);
            fields.fault(
                key,
                Complaint::new(what, format!("write a part of stable's value, such as `{percent}%`")),
                None,
            );
            None
        }
    }
}

/// A number without digits that came from arithmetic.
fn trim(n: f64) -> f64 {
    (n * 1e6).round() / 1e6
}

/// The absolute bound, as a badness: a share for rates, scores and what more is better of;
/// milliseconds for times, dollars or tokens for amounts.
fn limit(fields: &Fields<'_>, metric: &Metric) -> Option<f64> {
    let (key, other) = match metric.direction() {
        Direction::LowerIsBetter => ("max", "min"),
        Direction::HigherIsBetter => ("min", "max"),
    };
    if fields.node(other).is_some() {
        let better = if key == "max" { "less" } else { "more" };
        let what = format!("of `{metric}` {better} is better: `{other}` bounds nothing");
        fields.fault(other, Complaint::new(what, format!("write `{key}`")), None);
    }
    let bound = fields.bound(key)?;
    let expected = match (metric, metric.kind(), bound) {
        (_, Kind::Rate | Kind::Score, Bound::Share(share)) => {
            let higher = metric.direction() == Direction::HigherIsBetter;
            return Some(if higher { 1.0 - share } else { share });
        }
        (Metric::CostPerSession, _, Bound::Usd(usd)) => return Some(usd),
        (Metric::OutputTokens, _, Bound::Plain(tokens)) => return Some(tokens),
        // Milliseconds far below 2^53.
        #[expect(clippy::cast_precision_loss, reason = "at most ten years in milliseconds")]
        (_, Kind::Exceedance, Bound::Duration(span)) => return Some(span.0 as f64),
        (_, Kind::Rate | Kind::Score, _) => "a share such as 2%",
        (_, Kind::Exceedance, _) => "a duration such as 1.5s",
        (Metric::CostPerSession, _, _) => "US dollars such as $0.20",
        (_, Kind::Amount, _) => "a number",
    };
    let what = format!("the bound of `{metric}` is not {expected}");
    fields.fault(key, Complaint::new(what, format!("write {expected}")), None);
    None
}

/// Each metric is watched once.
fn once_each<'f, 'r: 'f>(sections: impl Iterator<Item = &'f Fields<'r>>, read: &[Option<Guardrail>]) {
    let mut seen = BTreeSet::new();
    for (fields, one) in sections.zip(read) {
        let Some(one) = one else { continue };
        if !seen.insert(&one.metric) {
            let what = format!("`{}` is watched twice", one.metric);
            fields.fault("metric", Complaint::new(what, "keep one of them, as guardrail or as signal"), None);
        }
    }
}
