//! `coalmine incidents`: what is wrong with routes, release or not.

use super::args::IncidentsVerb;
use super::paint::{Paint, Tone};
use super::{Exit, connect, say};
use anyhow::{Result, bail};
use coalmine_api::client::Client;
use coalmine_api::types::{IncidentBody, IncidentView};
use coalmine_api::when::utc;
use std::fmt::Write as _;

/// Runs one of its verbs.
///
/// # Errors
/// When the server does not answer, knows no such incident, or refuses.
pub async fn run(verb: &IncidentsVerb) -> Result<Exit> {
    match verb {
        IncidentsVerb::List { all, route, remote } => {
            let mut incidents = connect::client(remote)?.incidents().await?;
            incidents.retain(|one| *all || one.state != "closed");
            incidents.retain(|one| route.as_ref().is_none_or(|route| one.route == *route));
            if remote.json {
                connect::print_json(&incidents)?;
            } else if incidents.is_empty() {
                say(&none_text(*all));
            } else {
                say(&list_text(&incidents, Paint::detect()));
            }
        }
        IncidentsVerb::Show { incident, remote } => {
            let client = connect::client(remote)?;
            let found = client.incident(&find(&client, incident).await?).await?;
            tell(&found, remote.json)?;
        }
        IncidentsVerb::Ack { incident, note, remote } => {
            let client = connect::client(remote)?;
            let body = IncidentBody { note: note.clone() };
            tell(&client.acknowledge_incident(&find(&client, incident).await?, &body).await?, remote.json)?;
        }
        IncidentsVerb::Close { incident, note, remote } => {
            let client = connect::client(remote)?;
            let body = IncidentBody { note: note.clone() };
            tell(&client.close_incident(&find(&client, incident).await?, &body).await?, remote.json)?;
        }
    }
    Ok(Exit::Done)
}

/// By its id, the beginning of one, or the route that has one open.
async fn find(client: &Client, named: &str) -> Result<String> {
    let all = client.incidents().await?;
    choose(&all, named)
}

fn choose(all: &[IncidentView], named: &str) -> Result<String> {
    if let Some(exact) = all.iter().find(|one| one.id == named) {
        return Ok(exact.id.clone());
    }
    let digits = named.strip_prefix("inc_").unwrap_or(named);
    let begins = |one: &&IncidentView| digits.len() >= 4 && one.id["inc_".len()..].starts_with(digits);
    let of_route = |one: &&IncidentView| one.route == named && one.state != "closed";
    let mut found: Vec<&IncidentView> = all.iter().filter(begins).collect();
    if found.is_empty() {
        found = all.iter().filter(of_route).collect();
    }
    match found.as_slice() {
        [one] => Ok(one.id.clone()),
        [] => bail!(
            "no incident begins with `{named}`, and no route of that name has one open; `coalmine incidents list --all` lists them"
        ),
        several => {
            let ids: Vec<&str> = several.iter().map(|one| one.id.as_str()).collect();
            bail!("`{named}` names several incidents; name one: {}", ids.join(", "))
        }
    }
}

fn tell(incident: &IncidentView, json: bool) -> Result<()> {
    if json {
        connect::print_json(incident)?;
    } else {
        say(&show_text(incident, Paint::detect()));
    }
    Ok(())
}

fn none_text(all: bool) -> String {
    if all { "there was no incident\n".to_owned() } else { "no incident is open\n".to_owned() }
}

fn list_text(incidents: &[IncidentView], paint: Paint) -> String {
    let width = incidents.iter().map(|one| one.route.len()).max().unwrap_or(0).max(5);
    let head = format!("{:<16}  {:<width$}  {:<12}  {:<12}  OPENED", "INCIDENT", "ROUTE", "STATE", "KIND");
    let mut text = format!("{}\n", paint.tone(Tone::Strong, &head));
    for one in incidents {
        let _ = writeln!(
            text,
            "{:<16}  {:<width$}  {}  {:<12}  {}\n  {}",
            one.id,
            one.route,
            paint.tone(tone(&one.state), &format!("{:<12}", one.state)),
            one.kind,
            utc(one.opened_at_ms),
            one.what
        );
    }
    text
}

fn show_text(one: &IncidentView, paint: Paint) -> String {
    let mut text = format!(
        "{}  {}\n  {}\n  route {}, {}\n",
        paint.tone(Tone::Strong, &one.id),
        paint.tone(tone(&one.state), &one.state),
        one.what,
        one.route,
        one.subject
    );
    for step in &one.journal {
        let note = if step.note.is_empty() { String::new() } else { format!(": {}", step.note) };
        let _ = writeln!(text, "  {}  {:<12}  by {}{note}", utc(step.at_ms), step.state, step.by);
    }
    text
}

/// A line for each open incident, as `coalmine status` begins with.
#[must_use]
pub fn open_text(incidents: &[IncidentView], paint: Paint) -> String {
    let mut text = String::new();
    for one in incidents {
        let known = if one.state == "acknowledged" { ", acknowledged" } else { "" };
        let _ = writeln!(text, "{} {}{known}: {}", paint.tone(Tone::Bad, "incident"), one.id, one.what);
    }
    text
}

fn tone(state: &str) -> Tone {
    match state {
        "open" => Tone::Bad,
        "acknowledged" => Tone::Warn,
        _ => Tone::Dim,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coalmine_api::types::IncidentStepView;

    fn incident(id: &str, route: &str, state: &str) -> IncidentView {
        let step = |at_ms, by: &str, state: &str, note: &str| IncidentStepView {
            at_ms,
            by: by.to_owned(),
            state: state.to_owned(),
            note: note.to_owned(),
        };
        let mut journal = vec![step(951_782_400_000, "coalmine", "open", "")];
        if state != "open" {
            journal.push(step(951_782_460_000, "ana", state, "asked the provider"));
        }
        IncidentView {
            id: id.to_owned(),
            route: route.to_owned(),
            state: state.to_owned(),
            kind: "model".to_owned(),
            subject: "model/openai/large".to_owned(),
            what: format!(
                "the model that answers for stable of {route} (openai/large) was large-0805, and is large-1001"
            ),
            opened_at_ms: 951_782_400_000,
            journal,
        }
    }

    #[test]
    fn incidents_are_listed_shown_and_told_in_a_line() {
        let both =
            [incident("inc_4f2a91c3d0b7", "support", "acknowledged"), incident("inc_0011aabbccdd", "sales", "open")];
        insta::assert_snapshot!(format!(
            "{}\n{}\n{}",
            list_text(&both, Paint::Plain),
            show_text(&both[0], Paint::Plain),
            open_text(&both, Paint::Plain)
        ));
    }

    #[test]
    fn one_is_named_by_its_beginning_or_by_its_route() {
        let all = [
            incident("inc_4f2a91c3d0b7", "support", "open"),
            incident("inc_4f2a00000000", "sales", "closed"),
            incident("inc_770000000000", "sales", "open"),
        ];
        let named = |name: &str| choose(&all, name).map_err(|error| error.to_string());
        assert_eq!(named("inc_4f2a91c3d0b7").unwrap(), "inc_4f2a91c3d0b7");
        assert_eq!((named("4f2a9").unwrap(), named("inc_4f2a0").unwrap()), (all[0].id.clone(), all[1].id.clone()));
        assert_eq!((named("support").unwrap(), named("sales").unwrap()), (all[0].id.clone(), all[2].id.clone()));
        assert!(named("4f2a").unwrap_err().contains("name one: inc_4f2a91c3d0b7, inc_4f2a00000000"));
        assert!(named("77").is_err() && named("billing").is_err());
    }
}
