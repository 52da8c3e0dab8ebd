//! The listener's certificate: read at the start, and again when its files change or SIGHUP comes.

use crate::config::Process;
use anyhow::{Context, Result};
use coalmine_gateway::tls::{Reloaded, Tls, TlsError};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(5);

/// The certificate that the configuration names.
pub(super) fn load(process: &Process) -> Result<Option<Arc<Tls>>> {
    let Some(files) = &process.tls else { return Ok(None) };
    let loaded = Tls::load(&files.certificate, &files.key).context("`tls` in coalmine.yaml")?;
    Ok(Some(loaded))
}

/// Looks until it is told to stop. What cannot be used is told once, and tried again.
pub(super) async fn watch(tls: Arc<Tls>, mut stopped: watch::Receiver<bool>) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return tracing::warn!(%error, "SIGHUP cannot be heard: a new certificate needs a restart"),
    };
    let mut told = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = hangup.recv() => {}
            _ = stopped.wait_for(|told| *told) => return,
        }
        let looking = Arc::clone(&tls);
        let looked = tokio::task::spawn_blocking(move || looking.reload()).await;
        match looked {
            Ok(looked) => told = tell(looked, told),
            Err(error) => tracing::error!(%error, "looking at the certificate failed"),
        }
    }
}

fn tell(looked: Result<Reloaded, TlsError>, told: Option<String>) -> Option<String> {
    match looked {
        Ok(Reloaded::Same) => told,
        Ok(Reloaded::Changed) => {
            tracing::info!("a new certificate is served");
            None
        }
        Err(error) => {
            let why = error.to_string();
            if told.as_ref() != Some(&why) {
                tracing::error!(error = %why, "the earlier certificate goes on being served");
            }
            Some(why)
        }
    }
}
