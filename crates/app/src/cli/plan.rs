//! `coalmine plan`: how long a release needs, whom it may harm, and what cannot be decided, before it starts.

use super::Exit;
use super::args::PlanArgs;
use super::paint::Paint;
use super::{connect, operate, plan_text, say, shutdowns};
use crate::config::{self, Machine, ReleaseSpec};
use anyhow::{Context, Result};
use coalmine_api::types::{NewRelease, PlanQuestion};
use coalmine_control::foresee::price_judges;
use coalmine_core::forecast::{Assumptions, Outlook, Traffic, foresee};
use coalmine_core::metric::{Direction, Metric};
use coalmine_core::release::policy::Acknowledged;
use coalmine_core::time::UnixMs;
use coalmine_wire::prices::Prices;
use std::time::SystemTime;

/// Looks ahead: at the route's own traffic, or at the stated one.
///
/// # Errors
/// When the file is wrong, the server does not answer, or there is nothing to forecast by.
pub async fn run(args: &PlanArgs) -> Result<Exit> {
    let outlook = if args.traffic.is_some() { alone(args)? } else { asked(args).await? };
    if args.remote.json {
        connect::print_json(&outlook)?;
    } else {
        say(&plan_text::outlook_text(&outlook, Paint::detect()));
    }
    Ok(if outlook.refusals().next().is_none() { Exit::Done } else { Exit::Failed })
}

/// At the traffic that the server has measured.
async fn asked(args: &PlanArgs) -> Result<Outlook> {
    let client = connect::client(&args.remote)?;
    let spec = acknowledging(operate::read_release(&client, &args.file).await?, args);
    let ends = shutdowns::hazards(models(&spec), shutdowns::today());
    let release =
        NewRelease { route: spec.route.to_string(), canary: spec.canary, plan: spec.plan, policy: spec.policy };
    let mut outlook = client.plan(&PlanQuestion { release, stated: stated(args) }).await?;
    outlook.hazards.extend(ends);
    Ok(outlook)
}

/// At the stated traffic, without a server.
fn alone(args: &PlanArgs) -> Result<Outlook> {
    let read =
        |file: &std::path::Path| std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()));
    let process = config::parse_process(&read(&args.config)?, &args.config, &Machine)?;
    let spec = config::parse_release(&read(&args.file)?, &args.file, &process.background(), &Machine)?;
    let spec = acknowledging(spec, args);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = UnixMs(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    let traffic = Traffic::of(None, &stated(args), now)?;
    let mut outlook = foresee(&spec.plan, &spec.policy, &traffic, 0, now);
    let own = process.prices.iter();
    let prices = own.fold(Prices::shipped(), |prices, (model, quote)| prices.with(model, quote.clone()));
    price_judges(&mut outlook, &spec.policy, &prices);
    outlook.hazards.extend(shutdowns::hazards(models(&spec), shutdowns::today()));
    Ok(outlook)
}

/// The models that a release depends on, by the keys that name them.
pub(super) fn models(spec: &ReleaseSpec) -> Vec<(String, &str)> {
    let judges =
        spec.policy.judges.iter().map(|judge| (format!("judges.{}", judge.name), judge.version.model.as_str()));
    std::iter::once(("canary.model".to_owned(), spec.canary.model.as_str())).chain(judges).collect()
}

fn acknowledging(mut spec: ReleaseSpec, args: &PlanArgs) -> ReleaseSpec {
    if args.acknowledge {
        spec.policy.acknowledged.insert(Acknowledged::Undecidable);
    }
    spec
}

fn stated(args: &PlanArgs) -> Assumptions {
    let errors = args.error_rate.map(|share| (Metric::ErrorRate, share));
    let badness = args.baseline.iter().cloned().chain(errors).map(|(metric, own)| {
        let badness = match metric.direction() {
            Direction::LowerIsBetter => own,
            Direction::HigherIsBetter => 1.0 - own,
        };
        (metric, badness)
    });
    Assumptions {
        sessions_per_hour: args.traffic,
        turns: args.turns,
        cluster: args.cluster,
        badness: badness.collect(),
        sampled: args.sampled.iter().cloned().collect(),
        cohorts: args.cohort.iter().cloned().collect(),
    }
}

/// Reads `1000/h`, `20/m`, `50000/d` as sessions per hour.
///
/// # Errors
/// When it is no rate above 0.
pub fn per_hour(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is no traffic; write sessions in a span, such as 1000/h, 20/m or 50000/d");
    let (number, unit) = text.split_once('/').ok_or_else(wrong)?;
    let hours = match unit {
        "s" => 1.0 / 3_600.0,
        "m" | "min" => 1.0 / 60.0,
        "h" => 1.0,
        "d" => 24.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.trim().replace('_', "").parse().map_err(|_| wrong())?;
    if number.is_finite() && number > 0.0 { Ok(number / hours) } else { Err(wrong()) }
}

/// Reads `2%` as a share.
///
/// # Errors
/// When it is no percentage within 0 and 100.
pub fn share(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is no share; write it in percent, such as 2%");
    let number: f64 = text.strip_suffix('%').ok_or_else(wrong)?.trim().parse().map_err(|_| wrong())?;
    if (0.0..=100.0).contains(&number) { Ok(number / 100.0) } else { Err(wrong()) }
}

/// Reads `internal=3%`.
///
/// # Errors
/// When a part of it is missing or no share.
pub fn named_share(text: &str) -> Result<(String, f64), String> {
    let (name, value) = text.rsplit_once('=').ok_or_else(|| format!("`{text}` has no `=`; write NAME=SHARE"))?;
    Ok((name.trim().to_owned(), share(value)?))
}

/// Reads `refusal_rate=4%`.
///
/// # Errors
/// When the name is no metric, or the share none.
pub fn metric_share(text: &str) -> Result<(Metric, f64), String> {
    let (name, share) = named_share(text)?;
    Ok((name.parse().map_err(|unknown: coalmine_core::metric::UnknownMetric| unknown.to_string())?, share))
}

#[cfg(test)]
mod tests {
    use super::{metric_share, named_share, per_hour, share};

    #[test]
    fn traffic_and_shares_are_read_with_their_units() {
        assert_eq!([per_hour("1000/h"), per_hour("20/m"), per_hour("24000/d")], [Ok(1000.0), Ok(1200.0), Ok(1000.0)]);
        assert!(per_hour("1000").is_err() && per_hour("-1/h").is_err() && per_hour("1/week").is_err());
        assert_eq!(share("2%"), Ok(0.02));
        assert!(share("2").is_err() && share("101%").is_err());
        assert_eq!(named_share("tag: pilot=3%"), Ok(("tag: pilot".to_owned(), 0.03)));
        assert!(metric_share("refusal_rate=4%").is_ok() && metric_share("refusals=4%").is_err());
    }
}
