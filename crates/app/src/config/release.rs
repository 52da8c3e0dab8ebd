//! `releases/*.yaml` as the core's plan, policy and canary.

use crate::config::check::check;
use crate::config::fault::{At, Complaint, Faults, nearest};
use crate::config::guardrails::{self, Watched};
use crate::config::judge::parse_judge;
use crate::config::people;
use crate::config::process::unread;
use crate::config::read::{Fields, Placed, Reading, scalar_text};
use crate::config::scalar;
use crate::config::secret::Surroundings;
use crate::config::shadow;
use crate::config::suite::{self, Purpose};
use crate::config::table::release::RELEASE;
use crate::config::tree::{self, Node, Value};
use crate::config::version::{self, Answering, Place, listed};
use crate::config::zone;
use coalmine_core::cohort::Cohort;
use coalmine_core::id::{CustomerId, ProviderName, RouteName};
use coalmine_core::judge::Judge;
use coalmine_core::release::check::{Fault as PlanFault, Misfit};
use coalmine_core::release::plan::{Gate, Plan, Ramp, Stage};
use coalmine_core::release::policy::{
    Acknowledged, Ages, Budget, FreezeWindow, OnRollback, OnUndecided, Policy, Tripwire,
};
use coalmine_core::sentinel::{Judging, OfflineGate, Sentinel, Sentinels};
use coalmine_core::shadow::Shadow;
use coalmine_core::tally::Presence;
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::weight::WeightBp;
use coalmine_core::version::{Version, VersionId};
use coalmine_wire::prices::Prices;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Rounds that a sentinel qualifies in, where the file does not say.
const QUALIFY: u32 = 3;
/// Questions about answers in a day, where a release says nothing.
const CALLS: u64 = 2_000;

/// What a release file is read against: the routes as they are now, and the names it may use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Background {
    /// The routes.
    pub routes: BTreeMap<RouteName, RouteBackground>,
    /// The configured providers.
    pub providers: BTreeSet<ProviderName>,
    /// The parameters that each takes, where that is known.
    #[serde(default)]
    pub params: BTreeMap<ProviderName, BTreeSet<String>>,
    /// Named sets of customers.
    pub cohorts: BTreeMap<String, BTreeSet<CustomerId>>,
    /// Customers by tag.
    pub tags: BTreeMap<String, BTreeSet<CustomerId>>,
    /// Models that the configuration prices, over the shipped prices. Where stable or canary has no
    /// price, cost is not watched by default.
    #[serde(default)]
    pub priced: BTreeSet<String>,
    /// Webhooks that suites may name.
    #[serde(default)]
    pub assessors: BTreeSet<String>,
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
            fields
                .and_then(|fields| Reader { background, place: Place { folder, around }, root: node }.release(&fields))
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
    root: &'a Node,
}

/// The stages that could be read, with the index of each in the file.
#[derive(Default)]
struct Stages {
    shadow: Option<Shadow>,
    stages: Vec<Stage>,
    indices: Vec<usize>,
    complete: bool,
}

impl Reader<'_> {
    /// Every part is read, whatever is wrong with the others, so that all faults are told.
    fn release(&self, fields: &Fields<'_>) -> Option<ReleaseSpec> {
        let route = self.route(fields);
        let canary = route.and_then(|(_, route)| self.canary(fields, &route.stable));
        let changed = route.zip(canary.as_ref()).map(|((_, route), canary)| {
            let shipped = Prices::shipped();
            let priced = |v: &Version| self.background.priced.contains(&v.model) || shipped.of(&v.model).is_some();
            let prices = if priced(&route.stable) && priced(canary) { Presence::Present } else { Presence::Absent };
            (route.stable.diff(canary), prices)
        });
        let mut stages = self.stages(fields);
        let changed = changed.as_ref().map(|(diff, prices)| (diff, *prices));
        let mut watched = guardrails::read(fields, route.map(|(_, route)| route), changed);
        if let Some((_, route)) = route {
            let versions = (&route.stable, canary.as_ref());
            people::release(fields, self.root, versions, &mut watched, stages.shadow.as_mut());
        }
        let now = self.place.around.now();
        let mut policy = policy(
            fields,
            &watched,
            self.sentinels(fields),
            self.judges(fields, &watched, stages.shadow.as_ref()),
            now,
        );
        policy.shadow.clone_from(&stages.shadow);
        let plan = Plan { stages: stages.stages.clone() };
        for misfit in coalmine_core::release::check::check(&plan, &policy) {
            self.misfit(fields, misfit, &stages, &watched);
        }
        let (name, route) = route?;
        Some(ReleaseSpec { route: name.clone(), stable: route.stable.id(), canary: canary?, plan, policy })
    }

    /// Tells what the core says of a plan or policy, at its place; not of what could not be read.
    fn misfit(&self, fields: &Fields<'_>, misfit: Misfit, stages: &Stages, watched: &Watched) {
        let whole_plan = matches!(
            misfit.fault,
            PlanFault::NoStage
                | PlanFault::LastStageWithoutControl
                | PlanFault::FirstStageAsksApproval
                | PlanFault::TooShort { .. }
        );
        let key = in_file(self.root, &misfit.key, stages, watched);
        let unknown = (whole_plan && !stages.complete)
            || (misfit.fault == PlanFault::NoGuardrail && !watched.complete)
            || fields.reading.is_told(&key);
        if unknown {
            return;
        }
        let text = misfit.fault.to_string();
        let (what, mend) = text.rsplit_once("; ").unwrap_or((&text, "see docs/configuration.md"));
        fields.reading.fault(tree::locate(self.root, &key), &key, Complaint::new(what, mend), None);
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
        let canary = {
            let Background { providers, params, .. } = self.background;
            version::changed(&section, stable, &Answering { providers, params }, self.place)?
        };
        if canary == *stable {
            let what = format!("the canary is the same as the route's stable version {}", stable.id());
            let mend =
                "change its model, prompt, tools or params; if it was promoted already, there is nothing to release";
            fields.fault("canary", Complaint::new(what, mend), None);
        }
        Some(canary)
    }

    fn stages(&self, fields: &Fields<'_>) -> Stages {
        let mut read = Stages { complete: true, ..Stages::default() };
        for (index, stage) in fields.sections("stages").iter().enumerate() {
            if stage.node("shadow").is_some() {
                read.shadow = shadow::read(stage, index, &self.background.providers);
                read.complete &= read.shadow.is_some();
                continue;
            }
            shadow::refuse_its_keys(stage);
            match self.stage(stage).map(|read| ramped(stage, read)) {
                Some(rungs) => {
                    read.indices.extend(rungs.iter().map(|_| index));
                    read.stages.extend(rungs);
                }
                None => read.complete = false,
            }
        }
        read
    }

    fn stage(&self, fields: &Fields<'_>) -> Option<Stage> {
        let cohort = self.cohort(fields);
        let gate = fields.text("approval").map_or(Gate::Automatic, |whose| Gate::Approval(whose.value.to_owned()));
        Some(Stage {
            cohort: cohort?,
            weight: shadow::needed(fields, "weight", fields.share("weight"))?,
            bake: shadow::needed(fields, "bake", fields.duration("bake"))?,
            min_sessions: fields.integer("min_sessions")?,
            gate,
        })
    }

    /// The sentinels and the offline gate, each read from its suite.
    fn sentinels(&self, fields: &Fields<'_>) -> Option<Sentinels> {
        let (written, gate) = (fields.node("sentinels"), fields.node("gate"));
        if written.is_none() && gate.is_none() {
            return None;
        }
        let section = written.as_ref().and_then(|_| fields.section("sentinels"));
        let named = match written.map(|node| &node.value.value) {
            Some(Value::Scalar { .. }) => fields.text("sentinels"),
            Some(Value::Map(_) | Value::List(_)) => section.as_ref().and_then(|section| section.text("suite")),
            None => None,
        };
        let suite = named.as_ref().map_or(String::new(), |named| named.value.to_owned());
        let mut all = named.and_then(|named| self.suite(fields, &named, Purpose::Sentinels)).unwrap_or_default();
        let judging = judging(section.as_ref());
        let qualify = section.and_then(|section| section.integer("qualify"));
        let gate = gate.and_then(|_| fields.section("gate")).and_then(|gate| {
            let named = gate.text("suite")?;
            all.extend(self.suite(fields, &named, Purpose::Gate).unwrap_or_default());
            Some(OfflineGate { suite: named.value.to_owned(), pass_share: gate.share("pass")?.share() })
        });
        let qualify = qualify.and_then(|rounds| u32::try_from(rounds).ok()).unwrap_or(QUALIFY);
        Some(Sentinels { suite, sentinels: all.into(), qualify, judging, gate })
    }

    /// The judges that are watched, each read from its file: pinned as they are now.
    fn judges(&self, fields: &Fields<'_>, watched: &Watched, shadow: Option<&Shadow>) -> Vec<Judge> {
        let named = fields.entries("judges");
        let mut judges = Vec::new();
        let scoring = watched.guardrails.iter().filter_map(|guardrail| Some((guardrail.metric.judge()?, "guardrails")));
        let comparing = shadow.iter().flat_map(|shadow| &shadow.preferences).map(|one| (one.judge.as_str(), "stages"));
        let mut seen = BTreeSet::new();
        for (name, list) in scoring.chain(comparing).filter(|(name, _)| seen.insert(*name)) {
            let written = named.iter().find(|(own, _)| *own == name).and_then(|(_, node)| scalar_text(node.clone()));
            let path = written.map_or_else(|| format!("judges/{name}.yaml"), |placed| placed.value.to_owned());
            let file = self.place.folder.join(&path);
            let read = self.place.file(&path).and_then(|text| {
                let read = parse_judge(name, &text, &file, &self.background.providers, self.place.around);
                read.map_err(|faults| {
                    let first = faults.faults.first().map_or(String::new(), |fault| {
                        format!(", the first in line {}: {}; {}", fault.at.line, fault.what, fault.mend)
                    });
                    let mend = format!("`coalmine judge check {path}` tells all");
                    Complaint::new(format!("the judge {path} has {} faults{first}", faults.faults.len()), mend)
                })
            });
            match read {
                Ok(judge) => judges.push(judge),
                Err(complaint) => {
                    let (at, key) = fields.place(list);
                    fields.reading.fault(at, &key, complaint, None);
                }
            }
        }
        judges
    }

    fn suite(&self, fields: &Fields<'_>, named: &Placed<&str>, purpose: Purpose) -> Option<Vec<Sentinel>> {
        match suite::load(self.place, named.value, &self.background.providers, &self.background.assessors) {
            Ok(suite) => Some(suite.sentinels(purpose)),
            Err(complaint) => {
                fields.reading.fault(named.at, &named.path, complaint, None);
                None
            }
        }
    }

    fn cohort(&self, fields: &Fields<'_>) -> Option<Cohort> {
        let Some(node) = fields.node("cohort") else { return Some(Cohort::All) };
        let (label, kind, known, written) = match &node.value.value {
            Value::Scalar { text, .. } => (text.clone(), "cohort is called", &self.background.cohorts, text.as_str()),
            Value::Map(_) => {
                let tag = fields.section("cohort")?.text("tag")?.value;
                (format!("tag: {tag}"), "customer has the tag", &self.background.tags, tag)
            }
            Value::List(_) => return None,
        };
        if let Some(customers) = known.get(written) {
            return Some(Cohort::Named { name: label, customers: customers.clone() });
        }
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        let what = format!("no {kind} {}", scalar::shown(written));
        let mend = format!("name one of {}, or add it to coalmine.yaml", listed(&names));
        fields.fault("cohort", Complaint::new(what, mend), nearest(written, names.iter().copied()));
        None
    }
}

/// A stage as it is, or as the rungs of its ramp.
fn ramped(fields: &Fields<'_>, stage: Stage) -> Vec<Stage> {
    if fields.text("ramp").is_none() {
        for key in ["from", "harm"] {
            if fields.node(key).is_some() {
                let what = format!("`{key}` says how a ramp rises, and this stage has none");
                fields.fault(key, Complaint::new(what, format!("add `ramp: adaptive`, or remove `{key}`")), None);
            }
        }
        return vec![stage];
    }
    let floor = fields.share("from").unwrap_or(WeightBp::rounded(100.0));
    if floor >= stage.weight {
        let what = format!("the ramp begins at {floor} and ends at {}", stage.weight);
        fields.fault("weight", Complaint::new(what, "write a larger `weight`, or a smaller `from`"), None);
    }
    let harm_per_minute = fields.per_minute("harm").unwrap_or(5.0);
    stage.climbed_from(floor, Ramp { harm_per_minute })
}

/// The core's key as the file has it: what could not be read was not counted by the core, and a
/// bound of what more is better of is `min` here.
fn in_file(root: &Node, key: &str, stages: &Stages, watched: &Watched) -> String {
    // Of a shadow, which is the first stage.
    if key.starts_with("similarity.") {
        return format!("stages[0].{key}");
    }
    let Some((list, rest)) = key.split_once('[') else { return key.to_owned() };
    let Some((index, rest)) = rest.split_once(']') else { return key.to_owned() };
    let index: usize = index.parse().unwrap_or(usize::MAX);
    let item = match list {
        "stages" => stages.indices.get(index).map(|index| format!("stages[{index}]")),
        "guardrails" => watched.guardrail_paths.get(index).cloned(),
        "signals" => watched.signal_paths.get(index).cloned(),
        // Of a shadow, which is the first stage.
        "pairs" => Some(format!("stages[0].pairs[{index}]")),
        _ => Some(format!("{list}[{index}]")),
    };
    let Some(item) = item else { return list.to_owned() };
    let key = format!("{item}{rest}");
    let min = rest == ".max" && tree::locate(root, &key) == tree::locate(root, &item);
    if min { format!("{item}.min") } else { key }
}

/// The criteria; what is malformed was told, and has its default here so that the rest is checked.
fn policy(
    fields: &Fields<'_>,
    watched: &Watched,
    sentinels: Option<Sentinels>,
    judges: Vec<Judge>,
    now: UnixMs,
) -> Policy {
    let tripwires = fields.section("tripwires").and_then(|wires| {
        let failures = wires.integer("consecutive_failures").and_then(|n| u32::try_from(n).ok());
        failures.map(Tripwire::ConsecutiveFailures)
    });
    let budget = fields.section("budget");
    let share = |name| fields.share(name).unwrap_or_default();
    Policy {
        false_rollback_rate: share("false_rollback_rate").share(),
        false_promotion_rate: share("false_promotion_rate").share(),
        guardrails: watched.guardrails.clone(),
        tripwires: tripwires.into_iter().collect(),
        bucket: fields.duration("bucket").unwrap_or_default(),
        ages: ages(fields),
        max_duration: fields.duration("max_duration").unwrap_or_default(),
        on_undecided: on_undecided(fields),
        on_rollback: on_rollback(fields),
        keep: fields.duration("keep").unwrap_or_default(),
        hold_back: share("hold_back"),
        rescue_budget: share("rescue_budget"),
        budget: Budget {
            harmed: budget.as_ref().and_then(|budget| budget.integer("harmed")),
            extra_cost_usd: budget.as_ref().and_then(|budget| budget.money("extra_cost")),
        },
        freeze: fields.words("freeze").into_iter().filter_map(|text| window(text.value, now)).collect(),
        sentinels,
        judges,
        shadow: None,
        acknowledged: acknowledged(fields),
    }
}

/// A freeze on the clock of its zone.
fn window(text: &str, now: UnixMs) -> Option<FreezeWindow> {
    let (window, named) = scalar::freeze(text).ok()?;
    match named {
        Some(name) => Some(FreezeWindow { zone: Some(zone::resolve(name, now)?), ..window }),
        None => Some(window),
    }
}

fn ages(fields: &Fields<'_>) -> Ages {
    let section = fields.section("ages");
    let age = |name| section.as_ref().and_then(|section| section.duration(name)).unwrap_or_default();
    Ages { first: age("first"), session: age("session"), whole: age("whole") }
}

/// Words that are not known were told.
fn acknowledged(fields: &Fields<'_>) -> BTreeSet<Acknowledged> {
    let word = |text: Placed<&str>| (text.value == "undecidable").then_some(Acknowledged::Undecidable);
    fields.words("acknowledge").into_iter().filter_map(word).collect()
}

fn on_undecided(fields: &Fields<'_>) -> OnUndecided {
    match fields.text("on_undecided").map(|text| text.value) {
        Some("rollback") => OnUndecided::Rollback,
        Some("ask") => OnUndecided::Ask,
        Some("promote") => {
            let what = "promotion without proof is not acknowledged";
            let mend = "write `on_undecided: { promote: acknowledged }`, or hold, rollback, ask";
            fields.fault("on_undecided", Complaint::new(what, mend), None);
            OnUndecided::Hold
        }
        Some(_) => OnUndecided::Hold,
        None => OnUndecided::Promote,
    }
}

fn on_rollback(fields: &Fields<'_>) -> OnRollback {
    let Some(section) = fields.section("on_rollback") else { return OnRollback::MoveNextTurn };
    let drain = section.duration("drain").unwrap_or(SpanMs::hours(2));
    if section.text("live_sessions").is_some_and(|text| text.value == "finish_on_canary") {
        return OnRollback::FinishOnCanary { drain };
    }
    if section.node("drain").is_some() {
        let what = "sessions that move at their next turn need no time to drain";
        let mend = "remove `drain`, or write `live_sessions: finish_on_canary`";
        section.fault("drain", Complaint::new(what, mend), None);
    }
    OnRollback::MoveNextTurn
}

/// What judging answers may cost in a day, by the section of the sentinels.
pub(super) fn judging(section: Option<&Fields<'_>>) -> Judging {
    Judging {
        usd_per_day: section.and_then(|section| section.money("budget")),
        calls_per_day: section.and_then(|section| section.integer("calls")).or(Some(CALLS)),
    }
}
