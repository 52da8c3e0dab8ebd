//! The documents of the management API. Twins of the domain's types, written by hand, so that the
//! domain can change without the API changing by accident.

pub mod capture;
pub mod error;
pub mod evidence;
pub mod incident;
pub mod journal;
pub mod judge;
pub mod key;
pub mod plan;
pub mod recording;
pub mod release;
pub mod sentinel;
pub mod shadow;
pub mod site;
pub mod upstream;
pub mod version;

pub use capture::{
    AnswerPairView, CaptureCountsView, CaptureTextView, CaptureUseView, CaptureView, CapturesView, LineView, RuleView,
    SideBySideView,
};
pub use error::Problem;
pub use evidence::{CountsView, EvidenceView, FindingView, IntervalView, QualityView, SliceView, VerdictView};
pub use incident::{IncidentBody, IncidentStepView, IncidentView, SteadyView};
pub use journal::{JournalView, ReplayView};
pub use judge::{CorrectedView, JudgeQuestion, JudgeView, JudgedView, LabelBody, LabelView};
pub use key::{IssuedView, KeyView, NewKeyBody, QuotaView, RotateBody, SecretView, UsedView};
pub use plan::{GuardrailView, NewRelease, PlanQuestion, PlanView, StageView};
pub use recording::RecordingView;
pub use release::{
    ArmCostsView, CommandBody, CommandOutcome, CostsView, EtaView, EvidencePoint, EvidenceTrack, ExplainView,
    GatewayView, PriceView, PricesView, ReleaseSummary, ReleaseView, ReportView, RouteView, ShareView, StateView,
    StatusView, TrafficView,
};
pub use sentinel::{ProbeBody, ProbeView, RulingView, SentinelView, TriesView};
pub use shadow::{CosinesView, PairedIntervalView, PairedView, PreferencesView, ShadowView, SimilarityView};
pub use site::{SiteRoute, SiteView};
pub use upstream::{AsideView, FaultView, LoadView, UpstreamView, WarmView};
pub use version::{ChangeView, VersionView};
