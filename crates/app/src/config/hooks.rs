//! Addresses that Coalmine posts to: those that are told of a release's turns, and those that are asked about answers.

use crate::config::fault::Complaint;
use crate::config::process::Reader;
use crate::config::read::{Fields, scalar_text};
use crate::config::scalar;
use crate::config::secret::Secret;
use std::collections::BTreeSet;

/// One webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// The address.
    pub url: Secret,
    /// Signs the body.
    pub secret: Option<Secret>,
    /// The body's form.
    pub format: WebhookFormat,
    /// What it is told of, by the notices' words (`rolled_back`, …).
    pub on: BTreeSet<String>,
}

/// A webhook that is asked about answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessor {
    /// Its address.
    pub url: Secret,
    /// Sent with each question, as a bearer token.
    pub token: Option<Secret>,
}

/// The form of a webhook's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookFormat {
    /// The notice as it is.
    Json,
    /// A message for Slack.
    Slack,
}

impl Reader<'_> {
    pub(super) fn assessor(&self, fields: &Fields<'_>) -> Option<Assessor> {
        let url = self.secret_address(fields);
        let token = fields.node("token").and_then(scalar_text).map(|text| self.secret(fields, text));
        Some(Assessor { url: url?, token: token.map_or(Some(None), |token| token.map(Some))? })
    }

    /// An address that is a secret.
    fn secret_address(&self, fields: &Fields<'_>) -> Option<Secret> {
        let url = fields.text("url").and_then(|text| self.secret(fields, text));
        if url
            .as_ref()
            .is_some_and(|url| scalar::url(url.expose()).is_err() || scalar::reference(url.expose()).is_some())
        {
            let complaint =
                Complaint::new("what is found there is not an http address", "put the webhook's address there");
            fields.fault("url", complaint, None);
        }
        url
    }

    pub(super) fn webhook(&self, fields: &Fields<'_>) -> Option<Webhook> {
        let url = self.secret_address(fields);
        let secret = fields.node("secret").and_then(scalar_text).map(|text| self.secret(fields, text));
        let format = match fields.text("format")?.value {
            "json" => WebhookFormat::Json,
            "slack" => WebhookFormat::Slack,
            _ => return None,
        };
        let on = fields.words("on").into_iter().map(|text| text.value.to_owned()).collect();
        Some(Webhook { url: url?, secret: secret.map_or(Some(None), |secret| secret.map(Some))?, format, on })
    }
}
