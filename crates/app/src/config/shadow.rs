//! The shadow among the stages of a release file: the first, in place of one with a weight.

use crate::config::fault::Complaint;
use crate::config::read::Fields;
use crate::config::scalar::Tolerance;
use crate::config::version;
use coalmine_core::id::ProviderName;
use coalmine_core::metric::Metric;
use coalmine_core::release::policy::Role;
use coalmine_core::shadow::Shadow;
use coalmine_core::shadow::preferences::Preferring;
use coalmine_core::shadow::similarity::{Bar, Similarity};
use coalmine_core::traffic::weight::WeightBp;
use coalmine_core::version::Version;
use std::collections::{BTreeMap, BTreeSet};

/// Copies that a gateway has under way, where the file does not say.
const IN_FLIGHT: u32 = 16;
/// What they may cost in a day, in US dollars, where it does not.
const USD_PER_DAY: f64 = 20.0;

/// The share of the sessions that must be near, where the file does not say.
const BAR_SHARE: WeightBp = WeightBp::new(9_000).unwrap();

/// The stage at `index` of the file, which has a `shadow`.
pub(super) fn read(stage: &Fields<'_>, index: usize, providers: &BTreeSet<ProviderName>) -> Option<Shadow> {
    if index > 0 {
        let what = "a shadow comes before anybody is exposed, and this stage is not the first";
        stage.fault("shadow", Complaint::new(what, "put it first, or remove it"), None);
    }
    let length = stage.duration("for");
    if stage.node("for").is_none() {
        let what = "a shadow does not say how long it is";
        stage.fault("shadow", Complaint::new(what, "add `for: 2h`"), None);
    }
    for (key, mend) in [
        ("weight", "remove `weight`, or put it into a stage of its own"),
        ("bake", "write `for` in its place"),
        ("cohort", "remove `cohort`; sessions are drawn from everybody"),
        ("ramp", "remove `ramp`, or put it into a stage of its own"),
        ("from", "remove `from`"),
        ("harm", "remove `harm`"),
        ("approval", "remove `approval`, or write it into the next stage"),
    ] {
        if stage.node(key).is_some() {
            let what = format!("a shadow exposes nobody, so `{key}` says nothing of it");
            stage.fault(key, Complaint::new(what, mend), None);
        }
    }
    let share = stage.share("shadow")?;
    let in_flight = stage.integer("in_flight").map_or(IN_FLIGHT, |count| u32::try_from(count).unwrap_or(u32::MAX));
    let usd_per_day = stage.money("cost_per_day").unwrap_or(USD_PER_DAY);
    let min_sessions = stage.integer("min_sessions")?;
    let preferences = stage.sections("pairs").iter().filter_map(preferring).collect();
    let similarity = match stage.node("similarity") {
        Some(_) => Some(Box::new(similarity(&stage.section("similarity")?, providers)?)),
        None => None,
    };
    Some(Shadow { share, length: length?, min_sessions, in_flight, usd_per_day, preferences, similarity })
}

/// Whose embeddings, of whom, and what is waited for.
fn similarity(fields: &Fields<'_>, providers: &BTreeSet<ProviderName>) -> Option<Similarity> {
    let model = version::model(fields, providers);
    let mut params = BTreeMap::new();
    version::merge_params(fields, &mut params);
    let share = fields.share("share");
    let bar = fields.number("min").map(|min| Bar { min, share: share.unwrap_or(BAR_SHARE) });
    if share.is_some() && fields.node("min").is_none() {
        let what = "a share of the sessions is wanted, and it is not said how near";
        fields.fault("share", Complaint::new(what, "add `min: 0.8`, or remove `share`"), None);
    }
    let (provider, model) = model?;
    Some(Similarity {
        version: Version { provider, model, prompt: None, tools: None, params, fallbacks: Vec::new() },
        sample: fields.share("sample")?,
        baseline: fields.share("baseline")?,
        bar,
    })
}

/// A judge of pairs. What is malformed beside its name was told, and keeps its default so that the rest is checked.
fn preferring(fields: &Fields<'_>) -> Option<Preferring> {
    let judge = fields.text("judge")?.value.to_owned();
    let margin = match fields.margin("margin")? {
        Tolerance::Zero => 0.0,
        Tolerance::Points(share) => share,
        Tolerance::Relative(_) => {
            let what = "a preference is a share already: a percentage of it is not what is compared";
            fields.fault("margin", Complaint::new(what, "write percentage points, such as `10pp`"), None);
            0.0
        }
    };
    let role = match fields.text("role").map(|text| text.value) {
        Some("signal") => Role::Signal,
        Some("dry_run") => Role::DryRun,
        Some(_) | None => Role::Guardrail,
    };
    let weight = fields.number("weight").unwrap_or_else(|| Metric::Judge(judge.clone()).severity());
    Some(Preferring { judge, role, margin, weight, sample: fields.share("sample")? })
}

/// What only a shadow has, in a stage that is none.
pub(super) fn refuse_its_keys(stage: &Fields<'_>) {
    for key in ["for", "in_flight", "cost_per_day", "pairs", "similarity"] {
        if stage.node(key).is_some() {
            let what = format!("`{key}` says how a shadow is, and this stage is none");
            let mend = format!("add `shadow: 20%` in place of `weight`, or remove `{key}`");
            stage.fault(key, Complaint::new(what, mend), None);
        }
    }
}

/// What every stage but a shadow has.
pub(super) fn needed<T>(stage: &Fields<'_>, key: &'static str, value: Option<T>) -> Option<T> {
    if stage.node(key).is_none() {
        let mend = match key {
            "bake" => "add it: how long at least, such as `bake: 24h`",
            _ => "add it: how much of them, such as `weight: 5%`",
        };
        stage.fault(key, Complaint::new("the key is missing", mend), None);
    }
    value
}
