//! What a webhook says: who, what, number, bound and link.

use crate::notify::sign::{SIGNATURE_HEADER, TIMESTAMP_HEADER, signature};
use crate::ports::Letter;
use crate::settings::{Form, Webhook};
use coalmine_core::analysis::{Analysis, Finding};
use coalmine_core::id::ReleaseId;
use coalmine_core::release::effect::Notice;
use coalmine_core::release::state::{Release, RollbackCause};
use coalmine_core::time::UnixMs;
use serde::Serialize;

/// Header that makes a letter sent twice recognisable.
pub const DELIVERY_HEADER: &str = "x-coalmine-delivery";

/// What is told, with everything that a receiver may want to act on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    /// The same for every try.
    pub delivery: String,
    /// `rolled_back`, `promoted`, …
    pub event: &'static str,
    /// The release that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The incident that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// The route.
    pub route: String,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// One sentence for people.
    pub text: String,
    /// The metric that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// The canary's number, in the metric's own unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<f64>,
    /// Control's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<f64>,
    /// The bounds of the difference canary − control, as badness.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<[f64; 2]>,
    /// log of the evidence and of its line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<[f64; 2]>,
    /// Canary sessions behind the numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// The release in the dashboard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

#[derive(Serialize)]
struct Slack<'a> {
    text: &'a str,
}

/// Which notices leave the house; `None` for those that only the log tells.
#[must_use]
pub fn event_of(notice: &Notice) -> Option<&'static str> {
    match notice {
        Notice::Started { .. } | Notice::Advanced { .. } => None,
        Notice::ApprovalWanted { .. } => Some("approval_wanted"),
        Notice::Paused { .. } => Some("paused"),
        Notice::Held { .. } => Some("held"),
        Notice::Promoted { .. } => Some("promoted"),
        Notice::RolledBack { .. } => Some("rolled_back"),
        Notice::Undecided { .. } => Some("undecided"),
        Notice::StableSick { .. } => Some("stable_sick"),
        Notice::Drift { .. } => Some("drift"),
        Notice::LostData { .. } => Some("lost_data"),
        Notice::IncidentOpened { .. } => Some("incident_opened"),
        Notice::IncidentClosed { .. } => Some("incident_closed"),
    }
}

/// The id of what a notice is about.
#[must_use]
pub fn id_of(notice: &Notice) -> &str {
    if let Notice::IncidentOpened { incident, .. } | Notice::IncidentClosed { incident, .. } = notice {
        return incident.as_str();
    }
    release_of(notice).map_or("", ReleaseId::as_str)
}

/// The release that a notice is about.
#[must_use]
pub fn release_of(notice: &Notice) -> Option<&ReleaseId> {
    match notice {
        Notice::Started { release }
        | Notice::Advanced { release, .. }
        | Notice::ApprovalWanted { release, .. }
        | Notice::Paused { release, .. }
        | Notice::Held { release, .. }
        | Notice::Promoted { release }
        | Notice::RolledBack { release, .. }
        | Notice::Undecided { release }
        | Notice::StableSick { release, .. }
        | Notice::Drift { release, .. }
        | Notice::LostData { release, .. } => Some(release),
        Notice::IncidentOpened { .. } | Notice::IncidentClosed { .. } => None,
    }
}

/// Writes the message of an incident; `None` for a release's notice.
#[must_use]
pub fn incident(notice: &Notice, event: &'static str, delivery: &str, at: UnixMs) -> Option<Message> {
    let (Notice::IncidentOpened { incident, route, what } | Notice::IncidentClosed { incident, route, what }) = notice
    else {
        return None;
    };
    Some(Message {
        delivery: delivery.to_owned(),
        event,
        release: None,
        incident: Some(incident.to_string()),
        route: route.to_string(),
        at_ms: at.0,
        text: what.clone(),
        metric: None,
        canary: None,
        control: None,
        difference: None,
        evidence: None,
        n: None,
        link: None,
    })
}

/// Writes the message of a release. `analysis` is the look behind the notice, where there was one.
#[must_use]
pub fn message(
    notice: &Notice,
    event: &'static str,
    delivery: String,
    release: &Release,
    analysis: Option<&Analysis>,
    at: UnixMs,
) -> Message {
    let finding = about(notice, analysis);
    Message {
        delivery,
        event,
        release: Some(release.id.to_string()),
        incident: None,
        route: release.route.to_string(),
        at_ms: at.0,
        text: sentence(notice, release),
        metric: finding.map(|f| f.metric.to_string()),
        canary: finding.and_then(|f| f.canary).filter(|x| x.is_finite()),
        control: finding.and_then(|f| f.control).filter(|x| x.is_finite()),
        difference: finding.and_then(|f| f.difference).map(|d| [d.low, d.high]),
        evidence: finding.map(|f| [f.rollback.log, f.rollback.line]),
        n: finding.map(|f| f.n.canary),
        link: None,
    }
}

/// Addresses, shapes and signs a message for one webhook.
///
/// # Errors
/// When a number cannot be written as JSON.
pub fn letter(message: &Message, webhook: &Webhook, at: UnixMs) -> Result<Letter, serde_json::Error> {
    let link = webhook.link_base.as_ref().zip(message.release.as_ref()).map(|(base, release)| {
        let base = base.trim_end_matches('/');
        format!("{base}/releases/{release}")
    });
    let body = match webhook.form {
        Form::Fields => serde_json::to_string(&Message { link, ..message.clone() })?,
        Form::Slack => {
            let link = link.map_or(String::new(), |link| format!(" <{link}|open>"));
            serde_json::to_string(&Slack { text: &format!("{}{link}", message.text) })?
        }
    };
    let timestamp_s = at.0 / 1_000;
    let mut headers = vec![(TIMESTAMP_HEADER, timestamp_s.to_string()), (DELIVERY_HEADER, message.delivery.clone())];
    if let Some(secret) = &webhook.secret {
        headers.push((SIGNATURE_HEADER, signature(secret, timestamp_s, &body)));
    }
    Ok(Letter { url: webhook.url.reveal().to_owned(), headers, body })
}

/// The finding that a notice is about: the guilty one, the limit's, or the one nearest to its line.
fn about<'a>(notice: &Notice, analysis: Option<&'a Analysis>) -> Option<&'a Finding> {
    let findings = &analysis?.findings;
    let named = match notice {
        Notice::RolledBack {
            why: RollbackCause::Guardrail { metrics, .. } | RollbackCause::Shadow { metrics, .. },
            ..
        } => metrics.first(),
        Notice::RolledBack { why: RollbackCause::Limit { metric, .. } | RollbackCause::NoData { metric }, .. } => {
            Some(metric)
        }
        Notice::RolledBack {
            why:
                RollbackCause::Sentinel { .. }
                | RollbackCause::Tripwire { .. }
                | RollbackCause::Undecided
                | RollbackCause::Operator { .. },
            ..
        }
        | Notice::Started { .. }
        | Notice::Advanced { .. }
        | Notice::ApprovalWanted { .. }
        | Notice::Paused { .. }
        | Notice::Held { .. }
        | Notice::Promoted { .. }
        | Notice::Undecided { .. }
        | Notice::StableSick { .. }
        | Notice::Drift { .. }
        | Notice::LostData { .. }
        | Notice::IncidentOpened { .. }
        | Notice::IncidentClosed { .. } => None,
    };
    match named {
        Some(name) => findings.iter().find(|finding| finding.metric.to_string() == *name),
        None => None,
    }
}

fn sentence(notice: &Notice, release: &Release) -> String {
    let (id, route) = (&release.id, &release.route);
    match notice {
        Notice::Started { .. } => format!("{id} started on {route}"),
        Notice::Advanced { stage, .. } => format!("{id} advanced to {stage}"),
        Notice::ApprovalWanted { of, .. } => format!("{id} waits for the word of {of}"),
        Notice::Paused { why, .. } => format!("{id} stands still: {why}"),
        Notice::Held { why, .. } => format!("{id} is held: {why}"),
        Notice::Promoted { .. } => format!("{id} was promoted: {} is the stable of {route}", release.canary),
        Notice::RolledBack { why, .. } => format!("{id} was rolled back on {route}: {}", why.describe()),
        Notice::Undecided { .. } => {
            format!("{id} is undecided after {}; promote, roll back, or resume", release.policy.max_duration)
        }
        Notice::StableSick { what, .. } => format!("{id}: {what}"),
        Notice::Drift { what, .. } => format!("{id}: {what}"),
        Notice::LostData { what, .. } => format!("{id} lost data: {what}"),
        Notice::IncidentOpened { what, .. } | Notice::IncidentClosed { what, .. } => what.clone(),
    }
}
