//! What is kept of a release's evidence: classes and counts, no session and no text.

use coalmine_control::view::Recording;
use coalmine_core::evidence::{SealedBucket, Yardstick};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The sealed exposure buckets of one release, as `coalmine backtest --past` reads them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecordingView {
    /// The release.
    pub release: String,
    /// When it was created; buckets are counted from here. Milliseconds since 1970.
    pub created_at_ms: u64,
    /// When exposure began.
    pub started_at_ms: Option<u64>,
    /// Length of a bucket in milliseconds.
    pub bucket_ms: u64,
    /// Ages in milliseconds at which a session's first number, its session number and its whole number are posted.
    pub ages_ms: [u64; 3],
    /// The weights of its stages in basis points.
    pub weights_bp: Vec<u16>,
    /// What it was measured by.
    #[schema(value_type = Option<Object>)]
    pub yardstick: Option<Yardstick>,
    /// The buckets in the order of sealing, in the form in which they are stored: per metric the count of sessions in
    /// each class of badness, control and canary.
    #[schema(value_type = Vec<Object>)]
    pub sealed: Vec<SealedBucket>,
}

impl From<Recording> for RecordingView {
    fn from(recording: Recording) -> Self {
        let Recording { release, yardstick, sealed } = recording;
        let ages = release.policy.ages;
        Self {
            release: release.id.to_string(),
            created_at_ms: release.created_at.0,
            started_at_ms: release.started_at.map(|at| at.0),
            bucket_ms: release.policy.bucket.0,
            ages_ms: [ages.first.0, ages.session.0, ages.whole.0],
            weights_bp: release.plan.stages.iter().map(|stage| stage.weight.bp()).collect(),
            yardstick,
            sealed,
        }
    }
}
