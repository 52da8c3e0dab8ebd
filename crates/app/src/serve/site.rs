//! What belongs to the site and outlives a process: its secret and its clock; and what its
//! configuration says in other crates' words.

use crate::config::{Process, WebhookFormat};
use anyhow::{Context, Result, bail};
use coalmine_api::pages::{Https, Pages};
use coalmine_api::types::{SiteRoute, SiteView};
use coalmine_control::captures::CaptureSettings;
use coalmine_control::captures::redact::Redactor;
use coalmine_control::captures::seal::{KeyRing, SealKey};
use coalmine_control::clock::SystemClock;
use coalmine_control::settings::{Form, Secret, Webhook};
use coalmine_core::id::{Actor, RouteName};
use coalmine_core::sentinel::Sentinels;
use coalmine_core::time::UnixMs;
use coalmine_gateway::config::SiteSecret;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reads the site's secret, or makes it at the first start. Sessions are hashed with it: with another
/// one every session would be a stranger.
pub(super) fn secret(folder: &Path) -> Result<SiteSecret> {
    let path = folder.join("site.secret");
    let fresh: [u8; 32] = rand::random();
    let bytes = kept(&path, &fresh)?;
    let Ok(secret) = <[u8; 32]>::try_from(bytes.as_slice()) else {
        bail!(
            "{} holds {} bytes and not 32; restore it from a backup, or remove it and every session begins anew",
            path.display(),
            bytes.len()
        );
    };
    Ok(SiteSecret(secret))
}

/// The wall's clock; or the scaled one of demos and tests, whose instants grow over restarts because
/// they are counted from an origin that is kept.
pub(super) fn clock(process: &Process) -> Result<SystemClock> {
    if (process.time_scale - 1.0).abs() < f64::EPSILON {
        return Ok(SystemClock::wall());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let path = process.data_dir.join("clock.origin");
    let bytes = kept(&path, now.to_string().as_bytes())?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    let origin: u64 =
        text.trim().parse().with_context(|| format!("{} is no number of milliseconds", path.display()))?;
    let elapsed_ms = now.saturating_sub(origin) as f64 * process.time_scale;
    Ok(SystemClock::scaled(UnixMs(origin + elapsed_ms as u64), process.time_scale))
}

/// How often gateways report and the loop looks: once a second of the wall, more often where a scaled
/// clock passes many instants in it.
pub(super) fn beat(process: &Process) -> Duration {
    Duration::from_secs_f64((1.0 / process.time_scale.max(1.0).sqrt()).clamp(0.1, 1.0))
}

/// The bytes of a small file, which is made with `fresh` where it is missing. Readable by its owner only.
fn kept(path: &Path, fresh: &[u8]) -> Result<Vec<u8>> {
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(mut file) => {
            file.write_all(fresh)
                .and_then(|()| file.sync_all())
                .with_context(|| format!("writing {}", path.display()))?;
            Ok(fresh.to_vec())
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            std::fs::read(path).with_context(|| format!("reading {}", path.display()))
        }
        Err(error) => Err(error).with_context(|| format!("making {}", path.display())),
    }
}

/// Who is told of what.
pub(super) fn webhooks(process: &Process) -> Vec<Webhook> {
    let told = process.notify.iter().map(|webhook| Webhook {
        url: Secret::new(webhook.url.expose()),
        secret: webhook.secret.as_ref().map(|secret| Secret::new(secret.expose())),
        form: match webhook.format {
            WebhookFormat::Json => Form::Fields,
            WebhookFormat::Slack => Form::Slack,
        },
        link_base: process.public_url.clone(),
        on: webhook.on.clone(),
    });
    told.collect()
}

/// What the routes' stables are asked by the clock.
pub(super) fn sentinels(process: &Process) -> BTreeMap<RouteName, Sentinels> {
    let asked = process.routes.iter().filter_map(|(name, route)| Some((name.clone(), route.sentinels.clone()?)));
    asked.collect()
}

/// What is captured, and how.
pub(super) fn captures(process: &Process) -> Result<Option<CaptureSettings>> {
    let Some(written) = &process.capture else { return Ok(None) };
    let key = |secret: &crate::config::Secret| {
        SealKey::read(secret.expose()).with_context(|| format!("{} is no key of 64 hex digits", secret.reference()))
    };
    let earlier = written.earlier_keys.iter().map(key).collect::<Result<Vec<_>>>()?;
    let patterns = written.patterns.iter().map(|(name, form)| (name.as_str(), form.as_str()));
    let rules = process.routes.iter().filter_map(|(name, route)| Some((name.clone(), route.capture?)));
    Ok(Some(CaptureSettings {
        rules: rules.collect(),
        keys: KeyRing::new(key(&written.key)?, earlier),
        redactor: Redactor::new(patterns)?,
        webhook: written.webhook.clone(),
        readers: written.readers.iter().map(|name| Actor(name.clone())).collect(),
    }))
}

/// What the pages for people need: a key that ends with the process, and whether browsers come by HTTPS.
pub(super) fn pages(process: &Process) -> Pages {
    let by_proxy = process.public_url.as_ref().is_some_and(|url| url.starts_with("https:"));
    let own = process.tls.is_some() && process.admin_listen.is_none();
    Pages::new(rand::random(), if by_proxy || own { Https::Yes } else { Https::No })
}

/// What a release file is read against.
pub(super) fn view(process: &Process) -> SiteView {
    let background = process.background();
    let route = |(name, route): (&coalmine_core::id::RouteName, &crate::config::RouteBackground)| {
        (name.clone(), SiteRoute { stable: route.stable.clone(), feedback: route.feedback.clone() })
    };
    SiteView {
        routes: background.routes.iter().map(route).collect(),
        providers: background.providers,
        params: background.params,
        customers: process.customers.keys().cloned().collect(),
        cohorts: background.cohorts,
        tags: background.tags,
        priced: background.priced,
        assessors: background.assessors,
    }
}
