//! Judges: how each stands in a release, answers that wait for a label, and one answer judged by hand.

use crate::types::{CountsView, IntervalView};
use coalmine_control::judges::labels::Labelling;
use coalmine_core::analysis::JudgeFinding;
use coalmine_core::judge::Corrected;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One judge at the last look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JudgeView {
    /// Its name; the metric is `judge.NAME`.
    pub name: String,
    /// Who it is, `j_…`: model, parameters, rubric, scale and the form of prompt and parser. Pinned for the release.
    pub id: String,
    /// Who answers, `provider/model`.
    pub model: String,
    /// Why no scores are to be had of it now.
    pub held: Option<String>,
    /// Answers scored.
    pub scored: CountsView,
    /// Answers that found no room, blind to what they say.
    pub dropped: CountsView,
    /// Answers on which it gave no score that can be read.
    pub failed: CountsView,
    /// Answers that were not put to it, for it was held.
    pub skipped: CountsView,
    /// Spent today (UTC), in US dollars.
    pub usd_today: f64,
    /// Asked today.
    pub calls_today: u64,
    /// Anchors of the newest run that it scored as the labels say.
    pub anchors_agreed: Option<u32>,
    /// All of them.
    pub anchors: Option<u32>,
    /// Answers that wait for a label.
    pub unlabelled: u64,
    /// What people would have scored, from ten labels an arm on. Shown; it decides nothing.
    pub corrected: Option<CorrectedView>,
    /// A sentence with numbers.
    pub reason: String,
}

/// What people would have scored, as goodness in 0..=1 with 95 % intervals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CorrectedView {
    /// Labels.
    pub labels: CountsView,
    /// Control.
    pub control: IntervalView,
    /// The canary.
    pub canary: IntervalView,
    /// Canary less control.
    pub difference: IntervalView,
    /// What one of control's labels is worth with this judge beside it; 1 is a judge that adds nothing.
    pub worth_control: f64,
    /// The same of the canary's.
    pub worth_canary: f64,
}

/// An answer that a person may label. Neither arm nor score is told: whoever labels is blind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LabelView {
    /// The judge.
    pub judge: String,
    /// Names it where its request's id is not known here any more.
    pub item: String,
    /// The request's id as the client was told.
    pub request_id: Option<String>,
    /// When it was scored, in milliseconds since 1970.
    pub at_ms: u64,
    /// The label: 0 is bad, 1 is good.
    pub label: Option<f64>,
}

/// A label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelBody {
    /// The request's id, or the item.
    pub answer: String,
    /// 0 is bad, 1 is good.
    pub label: f64,
    /// Of one judge; without it of all that scored the answer.
    #[serde(default)]
    pub judge: Option<String>,
}

/// One answer to be judged by hand, outside of all releases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JudgeQuestion {
    /// The judge as a policy has it, as JSON text.
    pub judge: String,
    /// What was asked.
    pub question: String,
    /// What was answered.
    pub answer: String,
    /// For a judge of pairs: what was answered otherwise. It is asked in both orders; the value is the goodness of `answer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JudgedView {
    /// `scored`, `unreadable` (no verdict), `refused` (the provider refuses the judge), `trouble` (say nothing, ask again).
    pub outcome: String,
    /// 0 is bad, 1 is good.
    pub value: Option<f64>,
    /// Why, in the judge's words, or why there is no score.
    pub reason: String,
    /// By the price table.
    pub usd: Option<f64>,
}

impl From<&JudgeFinding> for JudgeView {
    fn from(finding: &JudgeFinding) -> Self {
        Self {
            name: finding.name.clone(),
            id: finding.id.to_string(),
            model: finding.model.clone(),
            held: finding.held.clone(),
            scored: finding.scored.into(),
            dropped: finding.dropped.into(),
            failed: finding.failed.into(),
            skipped: finding.skipped.into(),
            usd_today: finding.usd_today,
            calls_today: finding.calls_today,
            anchors_agreed: finding.anchors.map(|(agreed, _)| agreed),
            anchors: finding.anchors.map(|(_, of)| of),
            unlabelled: finding.unlabelled,
            corrected: finding.corrected.as_ref().map(Into::into),
            reason: finding.reason.clone(),
        }
    }
}

impl From<&Corrected> for CorrectedView {
    fn from(corrected: &Corrected) -> Self {
        Self {
            labels: corrected.labels.into(),
            control: corrected.control.into(),
            canary: corrected.canary.into(),
            difference: corrected.difference.into(),
            worth_control: corrected.worth.control,
            worth_canary: corrected.worth.canary,
        }
    }
}

impl From<Labelling> for LabelView {
    fn from(one: Labelling) -> Self {
        Self { judge: one.judge, item: one.item, request_id: one.request_id, at_ms: one.at.0, label: one.label }
    }
}
