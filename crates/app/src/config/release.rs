//! `releases/*.yaml` as the core's plan, policy and canary.

use crate::config::check::check;
use crate::config::fault::{At, Complaint, Faults, nearest};
use crate::config::guardrails;
use crate::config::process::unread;
use crate::config::read::{Fields, Reading};
use crate::config::scalar;
use crate::config::secret::Surroundings;
use crate::config::table::release::RELEASE;
use crate::config::tree::{self, Value};
use crate::config::version::{self, Place, listed};
use coalmine_core::cohort::Cohort;
use coalmine_core::id::{CustomerId, ProviderName, RouteName};
use coalmine_core::release::plan::{Gate, Plan, Stage};
use coalmine_core::release::policy::{Ages, Budget, OnRollback, OnUndecided, Policy, Tripwire};
use coalmine_core::time::SpanMs;
use coalmine_core::version::{Version, VersionId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What a release file is read against: the routes as they are now, and the names it may use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Background {
    /// The routes.
    pub routes: BTreeMap<RouteName, RouteBackground>,
    /// The configured providers.
    pub providers: BTreeSet<ProviderName>,
    /// Named sets of customers.
    pub cohorts: BTreeMap<String, BTreeSet<CustomerId>>,
    /// Customers by tag.
    pub tags: BTreeMap<String, BTreeSet<CustomerId>>,
}

/// One route as a release file needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteBackground {
    /// The version in service: the store's, where the store knows the route.
    pub stable: Version,
    /// The scores that the application sends back; empty: any.
    pub feedback: BTreeSet<String>,
}

/// A release file, read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseSpec {
    /// The route.
    pub route: RouteName,
    /// The stable version that the canary was made from.
    pub stable: VersionId,
    /// The whole canary: stable with what the file changes.
    pub canary: Version,
    /// The stages.
    pub plan: Plan,
    /// The criteria.
    pub policy: Policy,
}

/// Reads a release file. `file` names it in errors, and its folder is where relative paths start;
/// nothing but `around` is read.
///
/// # Errors
/// Everything that is wrong with the file, in the order of the file.
pub fn parse_release(
    text: &str,
    file: &Path,
    background: &Background,
    around: &dyn Surroundings,
) -> Result<ReleaseSpec, Faults> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let reading = Reading::default();
    let (node, faults) = tree::parse(text);
    let broken = !faults.is_empty();
    reading.extend(faults);
    let spec = match &node {
        Some(node) => {
            reading.extend(check(node, &RELEASE));
            let fields = reading.fields(&RELEASE, "", node);
            fields.and_then(|fields| Reader { background, place: Place { folder, around } }.release(&fields))
        }
        None if broken => None,
        None => {
            let mend = "write at least `release`, `canary` and `stages`; `coalmine config keys` lists all keys";
            reading.fault(At { line: 1, column: 1 }, "", Complaint::new("the file is empty", mend), None);
            None
        }
    };
    let mut faults = reading.into_faults();
    match spec {
        Some(spec) if faults.is_empty() => Ok(spec),
        Some(_) | None => {
            if faults.is_empty() {
                faults.push(unread());
            }
            Err(Faults::new(file, faults))
        }
    }
}

struct Reader<'a> {
    background: &'a Background,
    place: Place<'a>,
}

impl Reader<'_> {
    /// Every part is read, whatever is wrong with the others, so that all faults are told.
    fn release(&self, fields: &Fields<'_>) -> Option<ReleaseSpec> {
        let route = self.route(fields);
        let canary = route.and_then(|(_, route)| self.canary(fields, &route.stable));
        let stages = self.stages(fields);
        let changed = route.zip(canary.as_ref()).map(|((_, route), canary)| route.stable.diff(canary).changed);
        let policy = policy(fields, route.map(|(_, route)| route), changed.as_deref());
        let (name, route) = route?;
        Some(ReleaseSpec {
            route: name.clone(),
            stable: route.stable.id(),
            canary: canary?,
            plan: Plan { stages: stages? },
            policy: policy?,
        })
    }

    fn route(&self, fields: &Fields<'_>) -> Option<(&RouteName, &RouteBackground)> {
        let written = fields.text("release")?.value;
        let found = self.background.routes.get_key_value(&RouteName::from(written));
        if found.is_none() {
            let known: Vec<&str> = self.background.routes.keys().map(RouteName::as_str).collect();
            let what = format!("there is no route {}", scalar::shown(written));
            let near = nearest(written, known.iter().copied());
            fields.fault("release", Complaint::new(what, format!("name one of {}", listed(&known))), near);
        }
        found
    }

    fn canary(&self, fields: &Fields<'_>, stable: &Version) -> Option<Version> {
        let section = fields.node("canary").and_then(|_| fields.section("canary"))?;
        let canary = version::changed(&section, stable, &self.background.providers, self.place)?;
        if canary == *stable {
            let what = format!("the canary is the same as the route's stable version {}", stable.id());
            let mend =
                "change its model, prompt, tools or params; if it was promoted already, there is nothing to release";
            fields.fault("canary", Complaint::new(what, mend), None);
        }
        Some(canary)
    }

    fn stages(&self, fields: &Fields<'_>) -> Option<Vec<Stage>> {
        let sections = fields.sections("stages");
        if sections.is_empty() && fields.node("stages").is_some() {
            let complaint = Complaint::new("there is no stage", "add one: `- { weight: 5%, bake: 24h }`");
            fields.fault("stages", complaint, None);
        }
        let stages: Vec<Option<Stage>> = sections.iter().map(|stage| self.stage(stage)).collect();
        never_falls(&sections, &stages);
        stages.into_iter().collect()
    }

    fn stage(&self, fields: &Fields<'_>) -> Option<Stage> {
        let cohort = self.cohort(fields);
        let gate = fields.text("approval").map_or(Gate::Automatic, |whose| Gate::Approval(whose.value.to_owned()));
        Some(Stage {
            cohort: cohort?,
            weight: fields.share("weight")?,
            bake: fields.duration("bake")?,
            min_sessions: fields.integer("min_sessions")?,
            gate,
        })
    }

    fn cohort(&self, fields: &Fields<'_>) -> Option<Cohort> {
        let Some(node) = fields.node("cohort") else { return Some(Cohort::All) };
        let (label, known, written) = match &node.value.value {
            Value::Scalar { text, .. } => (text.clone(), &self.background.cohorts, text.as_str()),
            Value::Map(_) => {
                let tag = fields.section("cohort")?.text("tag")?.value;
                (format!("tag: {tag}"), &self.background.tags, tag)
            }
            Value::List(_) => return None,
        };
        if let Some(customers) = known.get(written) {
            return Some(Cohort::Named { name: label, customers: customers.clone() });
        }
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        let kind = if matches!(node.value.value, Value::Map(_)) { "customer has the tag" } else { "cohort is called" };
        let what = format!("no {kind} {}", scalar::shown(written));
        let mend = format!("name one of {}, or add it to coalmine.yaml", listed(&names));
        fields.fault("cohort", Complaint::new(what, mend), nearest(written, names.iter().copied()));
        None
    }
}

/// A cohort's weight never falls, and does not stay: each stage must expose somebody more.
fn never_falls(sections: &[Fields<'_>], stages: &[Option<Stage>]) {
    for (i, (fields, stage)) in sections.iter().zip(stages).enumerate() {
        let Some(stage) = stage else { continue };
        let before = stages.iter().take(i).flatten().rfind(|earlier| earlier.cohort == stage.cohort);
        let Some(before) = before.filter(|before| before.weight >= stage.weight) else { continue };
        let what = format!("{} follows {}: a cohort's weight grows from stage to stage", stage.label(), before.label());
        let mend = format!("write more than {}, or remove the stage", before.weight);
        fields.fault("weight", Complaint::new(what, mend), None);
    }
}

fn policy(
    fields: &Fields<'_>,
    route: Option<&RouteBackground>,
    changed: Option<&[coalmine_core::version::Change]>,
) -> Option<Policy> {
    let guardrails = guardrails::read(fields, route, changed);
    let ages = ages(fields);
    let on_undecided = on_undecided(fields);
    let on_rollback = on_rollback(fields);
    let tripwires = fields.section("tripwires").map(|wires| {
        let failures = wires.integer("consecutive_failures").and_then(|n| u32::try_from(n).ok());
        failures.map(Tripwire::ConsecutiveFailures).into_iter().collect()
    });
    let budget = fields
        .section("budget")
        .map(|budget| Budget { harmed: budget.integer("harmed"), extra_cost_usd: budget.money("extra_cost") });
    let freeze = fields.words("freeze").into_iter().filter_map(|text| scalar::freeze(text.value).ok()).collect();
    let rollback_rate = rate(fields, "false_rollback_rate");
    let promotion_rate = rate(fields, "false_promotion_rate");
    let bucket = fields.duration("bucket").filter(|bucket| in_bounds(fields, "bucket", *bucket));
    Some(Policy {
        false_rollback_rate: rollback_rate?,
        false_promotion_rate: promotion_rate?,
        guardrails: guardrails?,
        tripwires: tripwires?,
        bucket: bucket?,
        ages: ages?,
        max_duration: fields.duration("max_duration")?,
        on_undecided: on_undecided?,
        on_rollback: on_rollback?,
        keep: fields.duration("keep")?,
        rescue_budget: fields.share("rescue_budget")?,
        budget: budget?,
        freeze,
    })
}

/// An error rate: a share below one half, above which it would promise nothing.
fn rate(fields: &Fields<'_>, name: &'static str) -> Option<f64> {
    let rate = fields.share(name)?.share();
    if rate >= 0.5 {
        fields.fault(
            name,
            Complaint::new("the rate promises nothing", "write less than 50%; 1% to 10% are usual"),
            None,
        );
    }
    Some(rate)
}

fn in_bounds(fields: &Fields<'_>, name: &'static str, bucket: SpanMs) -> bool {
    let good = (SpanMs::secs(1)..=SpanMs::hours(1)).contains(&bucket);
    if !good {
        fields.fault(
            name,
            Complaint::new("a bucket is shorter than 1s or longer than 1h", "10s to 60s are usual"),
            None,
        );
    }
    good
}

fn ages(fields: &Fields<'_>) -> Option<Ages> {
    let section = fields.section("ages")?;
    let ages = Ages {
        first: section.duration("first")?,
        session: section.duration("session")?,
        whole: section.duration("whole")?,
    };
    if ages.first == SpanMs::ZERO || ages.first >= ages.session || ages.session > ages.whole {
        let what = format!("the ages {}, {}, {} are not in order", ages.first, ages.session, ages.whole);
        fields.fault("ages", Complaint::new(what, "write first < session ≤ whole"), None);
    }
    Some(ages)
}

fn on_undecided(fields: &Fields<'_>) -> Option<OnUndecided> {
    if let Some(text) = fields.text("on_undecided") {
        return match text.value {
            "hold" => Some(OnUndecided::Hold),
            "rollback" => Some(OnUndecided::Rollback),
            "ask" => Some(OnUndecided::Ask),
            "promote" => {
                let what = "promotion without proof is not acknowledged";
                let mend = "write `on_undecided: { promote: acknowledged }`, or hold, rollback, ask";
                fields.fault("on_undecided", Complaint::new(what, mend), None);
                None
            }
            _ => None,
        };
    }
    fields.section("on_undecided")?.text("promote").map(|_| OnUndecided::Promote)
}

fn on_rollback(fields: &Fields<'_>) -> Option<OnRollback> {
    let section = fields.section("on_rollback")?;
    let drain = section.duration("drain");
    match section.text("live_sessions")?.value {
        "move_next_turn" => {
            if section.node("drain").is_some() {
                let what = "sessions that move at their next turn need no time to drain";
                let mend = "remove `drain`, or write `live_sessions: finish_on_canary`";
                section.fault("drain", Complaint::new(what, mend), None);
            }
            Some(OnRollback::MoveNextTurn)
        }
        "finish_on_canary" => Some(OnRollback::FinishOnCanary { drain: drain.unwrap_or(SpanMs::hours(2)) }),
        _ => None,
    }
}
