//! Routes that people answer: what a file may say of them, and what it cannot. What people have no number of is refused
//! by name: it would be watched for ever and never found.

use crate::config::fault::Complaint;
use crate::config::guardrails::Watched;
use crate::config::process::ProviderKind;
use crate::config::read::Fields;
use crate::config::tree::{self, Node};
use coalmine_core::metric::Metric;
use coalmine_core::release::policy::Role;
use coalmine_core::shadow::Shadow;
use coalmine_core::traffic::weight::WeightBp;
use coalmine_core::version::{PEOPLE, Version};

/// A provider is people by its kind and by its name alike, so that a version says so by itself.
pub(super) fn provider(fields: &Fields<'_>, kind: ProviderKind) {
    let name = fields.path.rsplit('.').next().unwrap_or_default();
    match (kind, name == PEOPLE) {
        (ProviderKind::People, true) => {
            for key in fields.section.keys.iter().map(|key| key.name).filter(|key| *key != "kind") {
                if fields.node(key).is_some() {
                    let what = format!("nobody is asked over the wire where people answer, so `{key}` says nothing");
                    fields.fault(key, Complaint::new(what, "remove it"), None);
                }
            }
        }
        (ProviderKind::People, false) => {
            let mend = "write `people: { kind: people }`";
            fields.fault("kind", Complaint::new("a provider of kind `people` has another name", mend), None);
        }
        (ProviderKind::OpenAi | ProviderKind::Anthropic, true) => {
            let mend = "give it another name, or write `people: { kind: people }`";
            fields.fault("kind", Complaint::new("the name `people` is that of people who answer", mend), None);
        }
        (ProviderKind::OpenAi | ProviderKind::Anthropic, false) => {}
    }
}

/// A version of people has a name and nothing else.
pub(super) fn version(fields: &Fields<'_>) {
    for key in ["prompt", "tools", "params", "fallbacks"] {
        if fields.node(key).is_some() {
            let what = format!("people answer, and are given no `{key}`");
            fields.fault(key, Complaint::new(what, "remove it, or name a model"), None);
        }
    }
}

/// Whether people can be compared in a metric.
const fn is_of_people(metric: &Metric) -> bool {
    matches!(metric, Metric::ErrorRate | Metric::Feedback(_) | Metric::ThumbsDown(_))
}

/// What a release cannot ask where people are one of the two.
pub(super) fn release(
    fields: &Fields<'_>,
    root: &Node,
    (stable, canary): (&Version, Option<&Version>),
    watched: &mut Watched,
    shadow: Option<&mut Shadow>,
) {
    if canary.is_some_and(Version::is_people) {
        let mend = "name a model of another provider as its `model`";
        fields.fault(
            "canary",
            Complaint::new("the canary is people, who cannot be given shares of traffic", mend),
            None,
        );
    }
    if !stable.is_people() {
        return;
    }
    if fields.node("guardrails").is_none() {
        watched.guardrails.retain(|own| is_of_people(&own.metric) || own.role == Role::Signal);
    }
    for key in ["sentinels", "gate"] {
        if fields.node(key).is_some() {
            let what = format!("`{key}` asks stable too, and people cannot be asked by a machine");
            fields.fault(
                key,
                Complaint::new(what, "remove it; `coalmine sentinel run` asks the canary by itself"),
                None,
            );
        }
    }
    refuse_metrics(fields, root, watched);
    let Some(similarity) = shadow.and_then(|shadow| shadow.similarity.as_mut()) else { return };
    similarity.baseline = WeightBp::ZERO;
    let stages = fields.sections("stages");
    for similarity in
        stages.iter().filter(|stage| stage.node("similarity").is_some()).filter_map(|s| s.section("similarity"))
    {
        if similarity.node("baseline").is_some() && similarity.share("baseline") != Some(WeightBp::ZERO) {
            let what = "people are not asked a second time";
            similarity.fault("baseline", Complaint::new(what, "remove `baseline`"), None);
        }
    }
}

fn refuse_metrics(fields: &Fields<'_>, root: &Node, watched: &Watched) {
    let (mut guardrails, mut signals) = (watched.guardrail_paths.iter(), watched.signal_paths.iter());
    for own in &watched.guardrails {
        let path = match own.role {
            Role::Signal => signals.next(),
            Role::Guardrail | Role::DryRun => guardrails.next(),
        };
        let Some(path) = path.filter(|_| !is_of_people(&own.metric)) else { continue };
        let key = format!("{path}.metric");
        let what = format!("people have no `{}` that a canary could be held against", own.metric);
        let mend = "watch error_rate, feedback.NAME or thumbs_down.NAME, and let a judge of `pairs` read the answers";
        fields.reading.fault(tree::locate(root, &key), &key, Complaint::new(what, mend), None);
    }
}
