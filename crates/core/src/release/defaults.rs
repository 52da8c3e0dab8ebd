//! What is watched where a release names nothing: by the parts that its version diff touches.

use crate::judge::Sampling;
use crate::metric::{Kind, Metric};
use crate::release::policy::{ControlArm, Guardrail, Margin, NoData, NoDataThen, Role, Unit};
use crate::tally::Presence;
use crate::time::SpanMs;
use crate::traffic::weight::WeightBp;
use crate::version::{Part, VersionDiff};

/// How long a metric may be silent by default: one session's whole age, and as long again.
pub const GRACE: SpanMs = SpanMs::hours(1);

/// The share of each arm's sessions that a judge sees by default.
const JUDGED: Sampling = Sampling { control: WeightBp::TENTH, canary: WeightBp::TENTH };

/// The guardrails of a release from one version to another, `prices` saying whether both have one.
///
/// Errors, time to first byte, cost (with prices) and clients that give up are always watched. A tool
/// change adds tool-call validity; a prompt change refusals and length; a change of parameters these and
/// empty and cut-off answers; a change of model or provider everything.
#[must_use]
pub fn guardrails(diff: &VersionDiff, prices: Presence) -> Vec<Guardrail> {
    let touched: Vec<Part> = diff.changed.iter().map(|change| change.part).collect();
    let watched = Metric::BUILT_IN.into_iter().filter(|metric| {
        // What lies above the cap of an amount is watched wherever the amount is.
        let of = metric.tail_of().unwrap_or_else(|| metric.clone());
        defaults(&of).watched.at(&touched) && (of != Metric::CostPerSession || prices == Presence::Present)
    });
    watched.map(|metric| Guardrail::with_defaults(metric, Role::Guardrail)).collect()
}

/// What lies above the cap of each amount that `watched` names, where it does not name that itself: a
/// capped mean hides loops (`statistics.md`, section 9, rule 9). In the role of its amount.
#[must_use]
pub fn tails(watched: &[Guardrail]) -> Vec<Guardrail> {
    let is_named = |metric: &Metric| watched.iter().any(|guardrail| guardrail.metric == *metric);
    let unnamed = |amount: &Guardrail| {
        let tail = amount.metric.tail().filter(|tail| !is_named(tail))?;
        Some(Guardrail::with_defaults(tail, amount.role))
    };
    watched.iter().filter_map(unnamed).collect()
}

impl Guardrail {
    /// A guardrail or signal with the default margins, weight and silence of its metric.
    #[must_use]
    pub fn with_defaults(metric: Metric, role: Role) -> Self {
        let promote = margin(&metric);
        Self {
            role,
            promote,
            rollback: rollback_margin(&metric, promote),
            limit: None,
            weight: metric.severity(),
            no_data: NoData { then: defaults(&metric).silence, grace: GRACE },
            age: None,
            control: ControlArm::All,
            unit: Unit::Session,
            sample: metric.judge().map(|_| JUDGED),
            metric,
        }
    }
}

/// The tolerance that promotion must prove: a shift for rates and scores, +10 % for times and amounts.
#[must_use]
pub const fn margin(metric: &Metric) -> Margin {
    match metric.kind() {
        Kind::Exceedance | Kind::Amount | Kind::Ratio => Margin { ratio: 1.1, shift: 0.0 },
        Kind::Rate | Kind::Score => Margin { ratio: 1.0, shift: defaults(metric).shift },
    }
}

/// What must be proven exceeded to roll back: half of the margin for rates and scores, all of it for
/// times and amounts (`statistics.md`, section 8, rule 6).
#[must_use]
pub const fn rollback_margin(metric: &Metric, promote: Margin) -> Margin {
    match metric.kind() {
        Kind::Rate | Kind::Score => Margin { shift: promote.shift / 2.0, ..promote },
        Kind::Exceedance | Kind::Amount | Kind::Ratio => promote,
    }
}

/// What a metric has where a release says nothing of it.
#[derive(Debug, Clone, Copy)]
struct Defaults {
    watched: Watched,
    /// The tolerance of a rate or a score.
    shift: f64,
    silence: NoDataThen,
}

/// When a metric is watched unasked.
#[derive(Debug, Clone, Copy)]
enum Watched {
    Always,
    /// Where one of these parts changes.
    By(&'static [Part]),
    /// Where it is named only.
    Named,
}

impl Defaults {
    const fn of(watched: Watched, shift: f64, silence: NoDataThen) -> Self {
        Self { watched, shift, silence }
    }
}

impl Watched {
    fn at(self, touched: &[Part]) -> bool {
        match self {
            Self::Always => true,
            Self::By(parts) => parts.iter().any(|part| touched.contains(part)),
            Self::Named => false,
        }
    }
}

/// Tolerances are of `statistics.md`, section 5, rule 8: errors and sessions above a cap +0.5 pp, other rates +1 pp,
/// scores −2 pp. Not every route calls tools or asks for a schema: there silence is told, and nothing waits for it.
const fn defaults(metric: &Metric) -> Defaults {
    use Part::{Model, Params, Prompt, Tools};
    match metric {
        Metric::ErrorRate => Defaults::of(Watched::Always, 0.005, NoDataThen::Hold),
        Metric::TtftP95 | Metric::CostPerSession | Metric::CancelBeforeFirstByte => {
            Defaults::of(Watched::Always, 0.01, NoDataThen::Hold)
        }
        Metric::RefusalRate | Metric::OutputTokens => {
            Defaults::of(Watched::By(&[Model, Prompt, Params]), 0.01, NoDataThen::Hold)
        }
        Metric::EmptyRate | Metric::TruncatedRate => {
            Defaults::of(Watched::By(&[Model, Params]), 0.01, NoDataThen::Hold)
        }
        Metric::ToolCallValid => Defaults::of(Watched::By(&[Model, Tools, Params]), 0.01, NoDataThen::Warn),
        Metric::FencedJson
        | Metric::RepeatedCall
        | Metric::Repetition
        | Metric::LanguageMismatch
        | Metric::LongAnswer
        | Metric::ShortAnswer
        | Metric::NewOpening => Defaults::of(Watched::Named, 0.01, NoDataThen::Warn),
        Metric::CacheHit => Defaults::of(Watched::Named, 0.05, NoDataThen::Warn),
        Metric::Abandoned | Metric::NotContinued => Defaults::of(Watched::Named, 0.02, NoDataThen::Hold),
        Metric::SchemaValid => Defaults::of(Watched::By(&[Model]), 0.01, NoDataThen::Warn),
        Metric::LatencyP95 => Defaults::of(Watched::By(&[Model]), 0.01, NoDataThen::Hold),
        Metric::CostAboveCap
        | Metric::OutputTokensAboveCap
        | Metric::InputTokensAboveCap
        | Metric::ToolCallsAboveCap => Defaults::of(Watched::Named, 0.005, NoDataThen::Hold),
        Metric::Feedback(_) | Metric::Judge(_) => Defaults::of(Watched::Named, 0.02, NoDataThen::Hold),
        Metric::TtftP50
        | Metric::TtftP99
        | Metric::LatencyP50
        | Metric::LatencyP99
        | Metric::InputTokens
        | Metric::CostPerRequest
        | Metric::CostPerTask
        | Metric::ToolCalls
        | Metric::ClientAbort
        | Metric::ThumbsDown(_) => Defaults::of(Watched::Named, 0.01, NoDataThen::Hold),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Change;

    fn names(parts: &[Part], prices: Presence) -> String {
        let change = |part: &Part| Change { part: *part, from: String::new(), to: String::new() };
        let diff = VersionDiff { changed: parts.iter().map(change).collect() };
        let names: Vec<String> = guardrails(&diff, prices).iter().map(|g| g.metric.to_string()).collect();
        names.join(" ")
    }

    #[test]
    fn the_diff_decides_what_is_watched() {
        let always = "error_rate ttft_p95 cost_per_session";
        assert_eq!(names(&[], Presence::Present), format!("{always} cost_above_cap cancel_before_first_byte"));
        let tools = format!("{always} cost_above_cap tool_call_valid cancel_before_first_byte");
        assert_eq!(names(&[Part::Tools], Presence::Present), tools);
        let prompt = format!(
            "{always} output_tokens cost_above_cap output_tokens_above_cap refusal_rate cancel_before_first_byte"
        );
        assert_eq!(names(&[Part::Prompt], Presence::Present), prompt);
        let all = "error_rate ttft_p95 latency_p95 cost_per_session output_tokens cost_above_cap \
                   output_tokens_above_cap refusal_rate empty_rate truncated_rate tool_call_valid schema_valid \
                   cancel_before_first_byte";
        assert_eq!(names(&[Part::Model], Presence::Present), all);
        assert!(!names(&[Part::Model], Presence::Absent).contains("cost"), "an unknown price is no data");
    }

    #[test]
    fn a_default_rollback_margin_is_half_of_a_rate_and_all_of_a_time() {
        let errors = Guardrail::with_defaults(Metric::ErrorRate, Role::Guardrail);
        assert_eq!((errors.promote.shift, errors.rollback.shift), (0.005, 0.0025));
        let slow = Guardrail::with_defaults(Metric::TtftP95, Role::Guardrail);
        assert_eq!((slow.promote.ratio, slow.rollback), (1.1, slow.promote));
    }
}
