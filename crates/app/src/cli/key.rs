//! `coalmine key`: the keys that clients show.

use super::args::{Change, KeyCreateArgs, KeyVerb, QuotaArgs};
use super::paint::{Paint, Tone};
use super::{Exit, connect, say};
use crate::config;
use anyhow::Result;
use coalmine_api::types::{IssuedView, KeyView, NewKeyBody, QuotaView, RotateBody};
use coalmine_api::when::utc;
use coalmine_core::time::SpanMs;
use std::fmt::Write as _;

/// Runs one of its verbs.
///
/// # Errors
/// When the server does not answer, or refuses.
pub async fn run(verb: &KeyVerb) -> Result<Exit> {
    match verb {
        KeyVerb::Create(args) => create(args).await,
        KeyVerb::List { all, remote } => {
            let mut keys = connect::client(remote)?.keys().await?;
            keys.retain(|key| *all || key.state == "good");
            if remote.json {
                connect::print_json(&keys)?;
            } else {
                say(&list_text(&keys, Paint::detect()));
            }
            Ok(Exit::Done)
        }
        KeyVerb::Rotate { name, grace, remote } => {
            let issued = connect::client(remote)?.rotate_key(name, &RotateBody { grace_ms: grace.0 }).await?;
            let what = match grace.0 {
                0 => "rotated; its earlier secrets are good no more".to_owned(),
                _ => format!("rotated; its earlier secret stays good for {grace}"),
            };
            tell_secret(&issued, &what, remote.json)
        }
        KeyVerb::Limit { name, quota, remote } => {
            let client = connect::client(remote)?;
            let changed = changed(client.key(name).await?.quota, quota);
            tell(&client.limit_key(name, &changed).await?, remote.json)
        }
        KeyVerb::Revoke { name, remote } => tell(&connect::client(remote)?.revoke_key(name).await?, remote.json),
    }
}

async fn create(args: &KeyCreateArgs) -> Result<Exit> {
    let new = NewKeyBody {
        name: args.name.clone(),
        customer: args.customer.clone(),
        unlisted_customer: args.unlisted_customer,
        routes: (!args.routes.is_empty()).then(|| args.routes.clone()),
        expires_in_ms: args.expires.map(|life| life.0),
        quota: changed(QuotaView::default(), &args.quota),
    };
    let issued = connect::client(&args.remote)?.create_key(&new).await?;
    tell_secret(&issued, "made", args.remote.json)
}

fn changed(now: QuotaView, args: &QuotaArgs) -> QuotaView {
    fn to<T>(now: Option<T>, change: Option<Change<T>>) -> Option<T> {
        match change {
            None => now,
            Some(Change::To(bound)) => Some(bound),
            Some(Change::None) => None,
        }
    }
    QuotaView {
        requests_per_minute: to(now.requests_per_minute, args.requests_per_minute),
        tokens_per_minute: to(now.tokens_per_minute, args.tokens_per_minute),
        concurrent: to(now.concurrent, args.concurrent),
        usd_per_day: to(now.usd_per_day, args.per_day),
        usd_per_month: to(now.usd_per_month, args.per_month),
    }
}

fn tell_secret(issued: &IssuedView, what: &str, json: bool) -> Result<Exit> {
    if json {
        connect::print_json(issued)?;
    } else {
        say(&secret_text(issued, what));
    }
    Ok(Exit::Done)
}

fn secret_text(issued: &IssuedView, what: &str) -> String {
    let IssuedView { key, secret } = issued;
    format!(
        "key {}: {what}. The new secret is shown this once, and kept by nobody:\n\n  {secret}\n\n\
        Clients send it as `authorization: Bearer …` or as `x-api-key: …`; an SDK's `api_key` does.\n",
        key.name
    )
}

fn tell(key: &KeyView, json: bool) -> Result<Exit> {
    if json {
        connect::print_json(key)?;
    } else {
        let pending = if key.committed { "" } else { "; it holds, and is written when the store answers again" };
        say(&format!("key {}: {}, {}{pending}\n", key.name, key.state, bounds(&key.quota)));
    }
    Ok(if key.committed { Exit::Done } else { Exit::Pending })
}

/// A line for each key, and one for what bounds it.
fn list_text(keys: &[KeyView], paint: Paint) -> String {
    if keys.is_empty() {
        return "there is no key; `coalmine key create NAME` makes one\n".to_owned();
    }
    let width = keys.iter().map(|key| key.name.len()).max().unwrap_or(0).max(4);
    let head =
        format!("{:<width$}  {:<8}  {:<13}  {:>9}  {:>12}  BOUNDS", "KEY", "STATE", "SECRET", "TODAY", "THIS MONTH");
    let mut text = format!("{}\n", paint.tone(Tone::Strong, &head));
    for key in keys {
        let state = format!("{:<8}", key.state);
        let state = if key.state == "good" { state } else { paint.tone(Tone::Bad, &state) };
        let prefix = key.secrets.last().map_or("-", |secret| secret.prefix.as_str());
        let (today, month) = (format!("${:.2}", key.today.usd), format!("${:.2}", key.month.usd));
        let _ = writeln!(
            text,
            "{:<width$}  {state}  {:<13}  {today:>9}  {month:>12}  {}",
            key.name,
            format!("{prefix}…"),
            bounds(&key.quota),
        );
        for line in notes(key) {
            let _ = writeln!(text, "{:<width$}  {line}", "");
        }
    }
    text
}

/// What else is to be said of a key.
fn notes(key: &KeyView) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(customer) = &key.customer {
        notes.push(format!("customer {customer}"));
    }
    if let Some(routes) = &key.routes {
        notes.push(format!("only {}", routes.join(", ")));
    }
    if let Some(at) = key.expires_at_ms {
        notes.push(format!("expires {}", utc(at)));
    }
    if let (Some(at), Some(by)) = (key.revoked_at_ms, &key.revoked_by) {
        notes.push(format!("revoked {} by {by}", utc(at)));
    }
    for old in &key.secrets {
        if let Some(until) = old.valid_until_ms {
            notes.push(format!("{}… is good until {}", old.prefix, utc(until)));
        }
    }
    notes
}

fn bounds(quota: &QuotaView) -> String {
    let count = |limit: Option<u64>, of: &str| limit.map(|limit| format!("{limit} {of}"));
    let money = |limit: Option<f64>, of: &str| limit.map(|limit| format!("${limit:.2} {of}"));
    let bounds = [
        count(quota.requests_per_minute, "requests/min"),
        count(quota.tokens_per_minute, "tokens/min"),
        count(quota.concurrent, "at a time"),
        money(quota.usd_per_day, "a day"),
        money(quota.usd_per_month, "a month"),
    ];
    let bounds: Vec<String> = bounds.into_iter().flatten().collect();
    if bounds.is_empty() { "unbounded".to_owned() } else { bounds.join(", ") }
}

/// A duration, or `0`.
pub(super) fn grace(text: &str) -> Result<SpanMs, String> {
    if text == "0" { Ok(SpanMs::ZERO) } else { life(text) }
}

/// A duration.
pub(super) fn life(text: &str) -> Result<SpanMs, String> {
    config::duration(text).map_err(|wrong| format!("{}; {}", wrong.what, wrong.mend))
}

/// A whole number, or `none`.
pub(super) fn count(text: &str) -> Result<Change<u64>, String> {
    if text == "none" {
        return Ok(Change::None);
    }
    text.replace('_', "").parse().map(Change::To).map_err(|_| format!("`{text}` is no whole number, and not `none`"))
}

/// US dollars, or `none`.
pub(super) fn money(text: &str) -> Result<Change<f64>, String> {
    if text == "none" {
        return Ok(Change::None);
    }
    let written = if text.starts_with('$') { text.to_owned() } else { format!("${text}") };
    config::money(&written).map(Change::To).map_err(|wrong| format!("{}; {}", wrong.what, wrong.mend))
}

#[cfg(test)]
mod tests {
    use super::*;
    use coalmine_api::types::{SecretView, UsedView};

    fn key(name: &str) -> KeyView {
        let secret = SecretView { prefix: "ck_01234567".to_owned(), issued_at_ms: 0, valid_until_ms: None };
        KeyView {
            name: name.to_owned(),
            state: "good".to_owned(),
            secrets: vec![secret],
            customer: None,
            routes: None,
            expires_at_ms: None,
            quota: QuotaView::default(),
            today: UsedView::default(),
            month: UsedView { requests: 3, tokens: 90, usd: 12.345 },
            created_at_ms: 0,
            created_by: "ana".to_owned(),
            revoked_at_ms: None,
            revoked_by: None,
            committed: true,
        }
    }

    #[test]
    fn keys_are_listed_by_the_beginning_of_their_secrets() {
        let mut bounded = key("acme-prod");
        bounded.customer = Some("acme".to_owned());
        bounded.routes = Some(vec!["sales".to_owned(), "support".to_owned()]);
        bounded.quota = QuotaView { requests_per_minute: Some(60), usd_per_day: Some(5.0), ..QuotaView::default() };
        let until = Some(951_782_400_000);
        let old = SecretView { prefix: "ck_aaaaaaaa".to_owned(), issued_at_ms: 0, valid_until_ms: until };
        bounded.secrets.insert(0, old);
        let mut revoked = key("ci");
        revoked.state = "revoked".to_owned();
        (revoked.revoked_at_ms, revoked.revoked_by) = (Some(0), Some("ben".to_owned()));
        insta::assert_snapshot!(list_text(&[bounded, revoked], Paint::Plain));
        insta::assert_snapshot!(list_text(&[], Paint::Plain), @"there is no key; `coalmine key create NAME` makes one");
    }

    #[test]
    fn a_secret_is_told_with_what_becomes_of_it() {
        let issued = IssuedView { key: key("ci"), secret: "ck_secret".to_owned() };
        insta::assert_snapshot!(secret_text(&issued, "made"));
    }

    #[test]
    fn what_is_not_named_stays_and_none_takes_a_bound_away() {
        let now = QuotaView { concurrent: Some(4), usd_per_day: Some(1.0), ..QuotaView::default() };
        let args = QuotaArgs {
            requests_per_minute: Some(count("6_000").unwrap()),
            tokens_per_minute: None,
            concurrent: Some(count("none").unwrap()),
            per_day: None,
            per_month: Some(money("0.5").unwrap()),
        };
        let then = changed(now, &args);
        assert_eq!((then.requests_per_minute, then.concurrent), (Some(6_000), None));
        assert_eq!((then.usd_per_day, then.usd_per_month), (Some(1.0), Some(0.5)));
        for wrong in ["", "x", "-1", "1.5"] {
            assert!(count(wrong).is_err(), "{wrong}");
        }
        assert!(money("$x").is_err() && life("soon").is_err() && grace("0").unwrap() == SpanMs::ZERO);
    }
}
