//! What every failing answer looks like.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why it was not done, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A stable word for programs: `unauthorized`, `not_found`, `refused`, `not_ready`, `conflict`, `invalid`,
    /// `unavailable`, `internal`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// Everything that is wrong, where there is more than one thing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}
