//! The store's own past, as the server tells it.

use crate::cli::args::Remote;
use crate::cli::connect;
use anyhow::{Context, Result, bail};
use coalmine_api::types::RecordingView;
use coalmine_core::release::policy::Ages;
use coalmine_core::time::{SpanMs, UnixMs};
use coalmine_core::traffic::weight::WeightBp;
use coalmine_sim::backtest::Past;

/// The recorded evidence of a release (or of its route's), and the release's name.
///
/// # Errors
/// When the server does not answer, or the release has no evidence yet.
pub(super) async fn recording(remote: &Remote, named: &str) -> Result<(Past, String)> {
    let client = connect::client(remote)?;
    let release = connect::find(&client, named).await?.id;
    let past = past_of(client.evidence(&release).await?)?;
    Ok((past, release))
}

fn past_of(view: RecordingView) -> Result<Past> {
    let (Some(started_at), Some(yardstick)) = (view.started_at_ms, view.yardstick) else {
        bail!("release {} has no evidence yet: nothing was measured before its warm-up was over", view.release);
    };
    if view.sealed.is_empty() {
        bail!(
            "release {} has no sealed bucket yet; wait until its first sessions have reached their age",
            view.release
        );
    }
    let [first, session, whole] = view.ages_ms.map(SpanMs);
    let weights: Option<Vec<WeightBp>> = view.weights_bp.into_iter().map(WeightBp::new).collect();
    Ok(Past {
        created_at: UnixMs(view.created_at_ms),
        started_at: UnixMs(started_at),
        bucket: SpanMs(view.bucket_ms.max(1)),
        ages: Ages { first, session, whole },
        weights: weights.context("the server tells a weight above 100 %")?,
        yardstick,
        sealed: view.sealed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use coalmine_core::evidence::Yardstick;

    #[test]
    fn a_release_without_evidence_is_told() {
        let view = RecordingView {
            release: "support-agent-7".to_owned(),
            created_at_ms: 1,
            started_at_ms: Some(2),
            bucket_ms: 60_000,
            ages_ms: [60_000, 900_000, 1_800_000],
            weights_bp: vec![500],
            yardstick: Some(Yardstick::default()),
            sealed: Vec::new(),
        };
        let none = past_of(RecordingView { yardstick: None, ..view.clone() }).unwrap_err().to_string();
        assert!(none.contains("before its warm-up was over"), "{none}");
        assert!(past_of(view).unwrap_err().to_string().contains("no sealed bucket yet"));
    }
}
