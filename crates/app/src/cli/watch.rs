//! `coalmine watch`: a live table on a terminal, a line per change when piped.

use super::Exit;
use super::args::WatchArgs;
use super::explain::explain_text;
use super::paint::Paint;
use super::{connect, say};
use anyhow::Result;
use coalmine_api::client::Client;
use coalmine_api::types::{ExplainView, ReleaseView};
use std::io::IsTerminal;
use std::time::Duration;

/// Follows one release until it is over, or until Ctrl-C.
///
/// # Errors
/// When the server does not answer, or knows no such release.
pub async fn run(args: &WatchArgs) -> Result<Exit> {
    let client = connect::client(&args.remote)?;
    let found = match &args.release {
        Some(named) => connect::find(&client, named).await?,
        None => connect::find_default(&client).await?,
    };
    let live = std::io::stdout().is_terminal() && !args.remote.json;
    let mut shown = String::new();
    loop {
        if live {
            redraw(&client.explain(&found.id).await?);
        } else {
            shown = one_line(&client, &found.id, args.remote.json, shown).await?;
        }
        if connect::is_over(&client.release(&found.id).await?.state.is) {
            return Ok(Exit::Done);
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Done),
        }
    }
}

/// Clears the screen and draws the whole page anew.
fn redraw(explained: &ExplainView) {
    let page = explain_text(explained, Paint::detect());
    say(&format!("\u{1b}[H\u{1b}[2J{page}"));
}

/// Prints a line when something changed that a person would want to know.
async fn one_line(client: &Client, id: &str, json: bool, shown: String) -> Result<String> {
    let release = client.release(id).await?;
    let key = key_of(&release);
    if key == shown {
        return Ok(shown);
    }
    if json {
        say(&format!("{}\n", serde_json::to_string(&release)?));
    } else {
        say(&format!("{}  {key}\n", coalmine_api::when::utc(release.now_ms)));
    }
    Ok(key)
}

fn key_of(r: &ReleaseView) -> String {
    let verdicts: Vec<String> =
        r.findings.iter().map(|f| format!("{} {}", f.metric, super::status::verdict_word(f.verdict).0)).collect();
    let stage = r.state.stage.map_or(String::new(), |s| format!(" stage {}", s + 1));
    let why = r.state.why.as_deref().map_or(String::new(), |w| format!(": {w}"));
    format!("{} {}{stage}{why}; {}", r.id, r.state.is.replace('_', " "), verdicts.join(", "))
}
