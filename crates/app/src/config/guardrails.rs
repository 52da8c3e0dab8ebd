//! Guardrails and signals: what a margin and a bound mean under which metric. Margins, weights and
//! silences that a file does not state, and the metrics of a file that lists none, are the core's.

use crate::config::fault::{Complaint, nearest};
use crate::config::read::Fields;
use crate::config::release::RouteBackground;
use crate::config::scalar::{self, Bound, Tolerance};
use crate::config::tree::Value;
use crate::config::version::listed;
use coalmine_core::judge::Sampling;
use coalmine_core::metric::{Direction, Kind, Metric, noticed};
use coalmine_core::release::defaults;
use coalmine_core::release::policy::{ControlArm, Guardrail, Margin, NoData, Role, Unit};
use coalmine_core::tally::Presence;
use coalmine_core::version::VersionDiff;

/// What a file watches, with the path of each in the file.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// All of them; what is malformed was told and is missing.
    pub(crate) guardrails: Vec<Guardrail>,
    /// The paths of those that are no signals, in order; none where the defaults hold.
    pub(crate) guardrail_paths: Vec<String>,
    /// The paths of the signals, in order.
    pub(crate) signal_paths: Vec<String>,
    /// Whether all that the file says, or leaves to the defaults, is here.
    pub(crate) complete: bool,
}

/// The guardrails and signals of a file; where it lists no guardrail, those of the difference.
pub(crate) fn read(
    fields: &Fields<'_>,
    route: Option<&RouteBackground>,
    changed: Option<(&VersionDiff, Presence)>,
) -> Watched {
    let mut watched = Watched { complete: true, ..Watched::default() };
    for (list, role) in [("guardrails", Role::Guardrail), ("signals", Role::Signal)] {
        for one in fields.sections(list) {
            let Some(guardrail) = guardrail(&one, role, route) else {
                watched.complete = false;
                continue;
            };
            watched.guardrails.push(guardrail);
            let paths = if role == Role::Signal { &mut watched.signal_paths } else { &mut watched.guardrail_paths };
            paths.push(one.path.clone());
        }
    }
    if fields.node("guardrails").is_some() {
        let tails = defaults::tails(&watched.guardrails);
        watched.guardrails.extend(tails);
        return watched;
    }
    let Some((diff, prices)) = changed else {
        watched.complete = false;
        return watched;
    };
    let defaults = defaults::guardrails(diff, prices).into_iter();
    let own = |metric: &Metric| watched.guardrails.iter().any(|own| own.metric == *metric);
    let free: Vec<Guardrail> = defaults.filter(|default| !own(&default.metric)).collect();
    watched.guardrails.splice(0..0, free);
    watched
}

/// One of them. What is malformed beside the metric was told, and keeps its default so that the rest
/// is checked.
fn guardrail(fields: &Fields<'_>, role: Role, route: Option<&RouteBackground>) -> Option<Guardrail> {
    let metric = scalar::metric(fields.text("metric")?.value).ok()?;
    known_feedback(fields, &metric, route);
    let mut watched = Guardrail::with_defaults(metric, role);
    let stated = |key| fields.margin(key).and_then(|stated| margin(fields, key, &watched.metric, stated));
    let (promote, rollback) = (stated("margin"), stated("rollback_margin"));
    if let Some(promote) = promote {
        watched.promote = promote;
        watched.rollback = defaults::rollback_margin(&watched.metric, promote);
    }
    watched.rollback = rollback.unwrap_or(watched.rollback);
    if let Some((then, grace)) = fields.text("no_data").and_then(|text| scalar::no_data(text.value).ok()) {
        watched.no_data = NoData { then, grace: grace.unwrap_or(defaults::GRACE) };
    }
    watched.age = fields.duration("age");
    watched.sample = sample(fields).or(watched.sample);
    watched.control = match fields.text("control").map(|text| text.value) {
        Some("matched") => ControlArm::Matched,
        Some(_) | None => ControlArm::All,
    };
    watched.unit = match fields.text("unit").map(|text| text.value) {
        Some("bucket_mean") => Unit::BucketMean,
        Some(_) | None => Unit::Session,
    };
    if role == Role::Guardrail {
        watched.limit = limit(fields, &watched.metric);
        watched.weight = fields.number("weight").unwrap_or(watched.weight);
        watched.role = if fields.switch("dry_run") == Some(true) { Role::DryRun } else { role };
    }
    Some(watched)
}

/// The sessions that a judge scores: one share for both arms, or one for each.
fn sample(fields: &Fields<'_>) -> Option<Sampling> {
    match &fields.node("sample")?.value.value {
        Value::Scalar { .. } => fields.share("sample").map(|share| Sampling { control: share, canary: share }),
        Value::Map(_) => {
            let each = fields.section("sample")?;
            Some(Sampling { control: each.share("control")?, canary: each.share("canary")? })
        }
        Value::List(_) => None,
    }
}

/// A route that lists its feedback has no other.
fn known_feedback(fields: &Fields<'_>, metric: &Metric, route: Option<&RouteBackground>) {
    let (Some(name), Some(route)) = (metric.needs_feedback(), route) else { return };
    if route.feedback.is_empty() || route.feedback.contains(name) || noticed::ALL.contains(&name) {
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
        (_, Tolerance::Zero) => Some(Margin::NONE),
        (Kind::Rate | Kind::Score, Tolerance::Points(shift)) => Some(Margin { shift, ..Margin::NONE }),
        (Kind::Exceedance | Kind::Amount | Kind::Ratio, Tolerance::Relative(part)) => {
            Some(Margin { ratio: 1.0 + part, ..Margin::NONE })
        }
        (Kind::Rate | Kind::Score, Tolerance::Relative(part)) => {
            let what = format!("`{metric}` is a share already: a percentage of it is not what is compared");
            let points = trim(part * 100.0);
            fields.fault(key, Complaint::new(what, format!("write percentage points, such as `{points}pp`")), None);
            None
        }
        (Kind::Exceedance | Kind::Amount | Kind::Ratio, Tolerance::Points(points)) => {
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
            return Some(if higher { trim(1.0 - share) } else { share });
        }
        (Metric::CostPerSession, _, Bound::Usd(usd)) | (_, Kind::Ratio, Bound::Usd(usd)) => return Some(usd),
        (_, Kind::Amount, Bound::Plain(amount)) if *metric != Metric::CostPerSession => return Some(amount),
        // Milliseconds far below 2^53.
        #[expect(clippy::cast_precision_loss, reason = "at most ten years in milliseconds")]
        (_, Kind::Exceedance, Bound::Duration(span)) => return Some(span.0 as f64),
        (_, Kind::Rate | Kind::Score, _) => "a share such as 2%",
        (_, Kind::Exceedance, _) => "a duration such as 1.5s",
        (Metric::CostPerSession, _, _) | (_, Kind::Ratio, _) => "US dollars such as $0.20",
        (_, Kind::Amount, _) => "a number",
    };
    let what = format!("the bound of `{metric}` is not {expected}");
    fields.fault(key, Complaint::new(what, format!("write {expected}")), None);
    None
}
