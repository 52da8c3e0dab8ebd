//! A regression of chosen size, laid on stable's own sessions: `error_rate +1pp`, `refusal_rate x2`, `cost x1.2`,
//! `ttft +200ms`, `feedback.correct -5pp`.
//!
//! Rates and scores are spoilt by chance: each request that is good becomes bad with the probability that moves the
//! mean by what was asked (and the other way round for an improvement), so the data's own clusters and drift stay.
//! Times and amounts are multiplied or shifted.

use crate::backtest::BacktestError;
use crate::backtest::data::{Data, Session};
use crate::luck::Luck;
use coalmine_core::evidence::badness::{Reading, reading};
use coalmine_core::metric::{Direction, Kind, Metric};
use coalmine_core::tally::{CancelPoint, Cause, Check, Ending, Outcome, Usage};
use std::fmt;

/// A regression (or an improvement) of chosen size.
#[derive(Debug, Clone, PartialEq)]
pub struct Injection {
    written: String,
    /// Which metric.
    pub metric: Metric,
    change: Change,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    /// Of the number as people read it; shares of 1, or milliseconds.
    Shift(f64),
    /// Of the number as people read it.
    Times(f64),
}

/// An injection measured against the sessions that it is laid on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Dose<'a> {
    /// A good request becomes bad with this probability.
    Spoil(&'a Metric, f64),
    /// A bad one becomes good.
    Mend(&'a Metric, f64),
    /// A time or an amount becomes this many times as large, plus this.
    Scale(&'a Metric, f64, f64),
}

impl Injection {
    /// Reads `METRIC CHANGE`. `cost`, `ttft`, `latency` and `tokens` stand for their metrics.
    ///
    /// # Errors
    /// [`BacktestError::Injection`], which says what would be right.
    pub fn parse(text: &str) -> Result<Self, BacktestError> {
        let fail = |what: String| BacktestError::Injection { written: text.trim().to_owned(), what };
        let mut words = text.split_whitespace();
        let (Some(name), Some(change), None) = (words.next(), words.next(), words.next()) else {
            return Err(fail("write a metric and a change: `error_rate +1pp`, `cost x1.2`".to_owned()));
        };
        let full = match name {
            "cost" => "cost_per_session",
            "ttft" => "ttft_p95",
            "latency" => "latency_p95",
            "tokens" => "output_tokens",
            "error" | "errors" => "error_rate",
            "refusal" | "refusals" => "refusal_rate",
            other => other,
        };
        let metric: Metric = full.parse().map_err(|_| {
            let known: Vec<String> = Metric::BUILT_IN.iter().map(ToString::to_string).collect();
            fail(format!("there is no metric `{name}`; there are {} and feedback.NAME", known.join(", ")))
        })?;
        let change = change_of(&metric, change).map_err(fail)?;
        Ok(Self { written: format!("{metric} {}", text.split_whitespace().nth(1).unwrap_or_default()), metric, change })
    }

    /// Whether it makes the metric worse.
    #[must_use]
    pub fn is_worse(&self) -> bool {
        let up = match self.change {
            Change::Shift(by) => by > 0.0,
            Change::Times(by) => by > 1.0,
        };
        up == (self.metric.direction() == Direction::LowerIsBetter)
    }

    /// Measures it against the sessions that it will be laid on.
    pub(crate) fn dose(&self, data: &Data) -> Result<Dose<'_>, BacktestError> {
        let fail = |what: String| BacktestError::Injection { written: self.written.clone(), what };
        if !data.records(&self.metric) {
            return Err(fail(format!("the observations do not record {}", self.metric)));
        }
        match self.metric.kind() {
            Kind::Amount | Kind::Exceedance | Kind::Ratio => Ok(match self.change {
                Change::Times(by) => Dose::Scale(&self.metric, by, 0.0),
                Change::Shift(by) => Dose::Scale(&self.metric, 1.0, by),
            }),
            Kind::Rate | Kind::Score => self.dose_on(mean_badness(data, &self.metric)),
        }
    }

    /// Measures a rate or a score against a mean badness.
    pub(crate) fn dose_on(&self, mean: Option<f64>) -> Result<Dose<'_>, BacktestError> {
        let fail = |what: String| BacktestError::Injection { written: self.written.clone(), what };
        self.chance(mean.ok_or_else(|| fail("nothing of it is known".to_owned()))?).map_err(fail)
    }

    /// The factor of an amount; `None` of anything else.
    pub(crate) fn factor(&self) -> Option<f64> {
        match (self.metric.kind(), self.change) {
            (Kind::Amount, Change::Times(by)) => Some(by),
            (Kind::Amount | Kind::Rate | Kind::Score | Kind::Exceedance | Kind::Ratio, _) => None,
        }
    }

    fn chance(&self, bad: f64) -> Result<Dose<'_>, String> {
        let read = |bad: f64| match self.metric.direction() {
            Direction::LowerIsBetter => bad,
            Direction::HigherIsBetter => 1.0 - bad,
        };
        let now = read(bad);
        let wanted = match self.change {
            Change::Shift(by) => now + by,
            Change::Times(by) => now * by,
        };
        if !(0.0..=1.0).contains(&wanted) {
            let (now, wanted) = (now * 100.0, wanted * 100.0);
            return Err(format!("{} is {now:.2} % in the observations, and cannot become {wanted:.2} %", self.metric));
        }
        if (wanted - now).abs() < 1e-12 {
            let now = now * 100.0;
            return Err(format!("{} is {now:.2} % in the observations and would stay so; write `+1pp`", self.metric));
        }
        let wanted = read(wanted);
        Ok(if wanted > bad {
            Dose::Spoil(&self.metric, (wanted - bad) / (1.0 - bad))
        } else {
            Dose::Mend(&self.metric, (bad - wanted) / bad)
        })
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl Dose<'_> {
    /// The session with the dose; one stream of luck per session.
    pub(crate) fn lay_on(self, session: &Session, luck: &mut Luck) -> Session {
        let mut changed = session.clone();
        for turn in &mut changed.turns {
            self.on_request(&mut turn.outcome, luck);
        }
        for score in &mut changed.scores {
            match self {
                Dose::Spoil(Metric::Feedback(name), chance) if *name == score.name => {
                    if luck.uniform() < chance {
                        score.value = 0.0;
                    }
                }
                Dose::Mend(Metric::Feedback(name), chance) if *name == score.name => {
                    if luck.uniform() < chance {
                        score.value = 1.0;
                    }
                }
                Dose::Spoil(..) | Dose::Mend(..) | Dose::Scale(..) => {}
            }
        }
        changed
    }

    fn on_request(self, outcome: &mut Outcome, luck: &mut Luck) {
        match self {
            Dose::Scale(metric, times, plus) => scale(metric, outcome, times, plus),
            Dose::Spoil(metric, chance) => {
                if is_known(metric, outcome) && luck.uniform() < chance {
                    spoil(metric, outcome);
                }
            }
            Dose::Mend(metric, chance) => {
                if is_known(metric, outcome) && luck.uniform() < chance {
                    mend(metric, outcome);
                }
            }
        }
    }
}

fn is_known(metric: &Metric, outcome: &Outcome) -> bool {
    metric.kind() == Kind::Rate && matches!(reading(metric, outcome, None), Reading::Is(_))
}

fn mean_badness(data: &Data, metric: &Metric) -> Option<f64> {
    let (mut sum, mut n) = (0.0, 0_u64);
    let mut add = |bad: f64| {
        sum += bad;
        n += 1;
    };
    for session in &data.stable {
        if let Metric::Feedback(name) = metric {
            session.scores.iter().filter(|score| score.name == *name).for_each(|score| add(1.0 - score.value));
        } else {
            let known = session.turns.iter().filter_map(|turn| reading(metric, &turn.outcome, None).known());
            known.for_each(&mut add);
        }
    }
    (n > 0).then(|| sum / n as f64)
}

fn spoil(metric: &Metric, outcome: &mut Outcome) {
    match metric {
        Metric::ErrorRate => {
            // Failed before anything was delivered: no content, no bill, nothing to judge.
            outcome.ending = Ending::Failed(Cause::Server);
            outcome.status = 500;
            outcome.ttft_ms = None;
            outcome.usage = Usage::default();
            outcome.cost_usd = Some(0.0);
        }
        Metric::CancelBeforeFirstByte => {
            outcome.ending = Ending::Cancelled(CancelPoint::BeforeFirstByte);
            outcome.ttft_ms = None;
        }
        Metric::ClientAbort => outcome.ending = Ending::Cancelled(CancelPoint::MidAnswer),
        Metric::RefusalRate => outcome.refusal = Check::Yes,
        Metric::EmptyRate => outcome.empty = Check::Yes,
        Metric::TruncatedRate => outcome.truncated = Check::Yes,
        Metric::ToolCallValid => outcome.tool_calls_bad = outcome.tool_calls,
        Metric::SchemaValid => outcome.schema_broken = Check::Yes,
        Metric::FencedJson => outcome.detected.fenced_json = Check::Yes,
        Metric::RepeatedCall => outcome.detected.repeated_call = Check::Yes,
        Metric::Repetition => outcome.detected.repetition = Check::Yes,
        Metric::LanguageMismatch => outcome.detected.other_language = Check::Yes,
        Metric::CacheHit => outcome.usage.cached = Some(0),
        Metric::TtftP95
        | Metric::LatencyP95
        | Metric::TtftP50
        | Metric::TtftP99
        | Metric::LatencyP50
        | Metric::LatencyP99
        | Metric::CostPerSession
        | Metric::CostPerRequest
        | Metric::CostPerTask
        | Metric::OutputTokens
        | Metric::InputTokens
        | Metric::ToolCalls
        | Metric::CostAboveCap
        | Metric::OutputTokensAboveCap
        | Metric::InputTokensAboveCap
        | Metric::ToolCallsAboveCap
        | Metric::LongAnswer
        | Metric::ShortAnswer
        | Metric::NewOpening
        | Metric::Abandoned
        | Metric::NotContinued
        | Metric::Feedback(_)
        | Metric::ThumbsDown(_)
        | Metric::Judge(_) => {}
    }
}

fn mend(metric: &Metric, outcome: &mut Outcome) {
    match metric {
        Metric::ErrorRate | Metric::CancelBeforeFirstByte | Metric::ClientAbort => outcome.ending = Ending::Complete,
        Metric::RefusalRate => outcome.refusal = Check::No,
        Metric::EmptyRate => outcome.empty = Check::No,
        Metric::TruncatedRate => outcome.truncated = Check::No,
        Metric::ToolCallValid => outcome.tool_calls_bad = 0,
        Metric::SchemaValid => outcome.schema_broken = Check::No,
        Metric::FencedJson => outcome.detected.fenced_json = Check::No,
        Metric::RepeatedCall => outcome.detected.repeated_call = Check::No,
        Metric::Repetition => outcome.detected.repetition = Check::No,
        Metric::LanguageMismatch => outcome.detected.other_language = Check::No,
        Metric::CacheHit => outcome.usage.cached = outcome.usage.input,
        Metric::TtftP95
        | Metric::LatencyP95
        | Metric::TtftP50
        | Metric::TtftP99
        | Metric::LatencyP50
        | Metric::LatencyP99
        | Metric::CostPerSession
        | Metric::CostPerRequest
        | Metric::CostPerTask
        | Metric::OutputTokens
        | Metric::InputTokens
        | Metric::ToolCalls
        | Metric::CostAboveCap
        | Metric::OutputTokensAboveCap
        | Metric::InputTokensAboveCap
        | Metric::ToolCallsAboveCap
        | Metric::LongAnswer
        | Metric::ShortAnswer
        | Metric::NewOpening
        | Metric::Abandoned
        | Metric::NotContinued
        | Metric::Feedback(_)
        | Metric::ThumbsDown(_)
        | Metric::Judge(_) => {}
    }
}

fn scale(metric: &Metric, outcome: &mut Outcome, times: f64, plus: f64) {
    let change = |number: f64| (number * times + plus).max(0.0);
    match metric {
        Metric::TtftP50 | Metric::TtftP95 | Metric::TtftP99 => {
            let before_ms = outcome.ttft_ms;
            outcome.ttft_ms = before_ms.map(change);
            // What comes later ends later.
            outcome.latency_ms += outcome.ttft_ms.unwrap_or(0.0) - before_ms.unwrap_or(0.0);
        }
        Metric::LatencyP50 | Metric::LatencyP95 | Metric::LatencyP99 => outcome.latency_ms = change(outcome.latency_ms),
        Metric::CostPerSession | Metric::CostPerRequest | Metric::CostPerTask => {
            outcome.cost_usd = outcome.cost_usd.map(change);
        }
        Metric::OutputTokens => outcome.usage.output = outcome.usage.output.map(|n| change(n as f64).round() as u64),
        Metric::InputTokens => outcome.usage.input = outcome.usage.input.map(|n| change(n as f64).round() as u64),
        Metric::ToolCalls => outcome.tool_calls = change(f64::from(outcome.tool_calls)).round() as u32,
        Metric::ErrorRate
        | Metric::CostAboveCap
        | Metric::OutputTokensAboveCap
        | Metric::InputTokensAboveCap
        | Metric::ToolCallsAboveCap
        | Metric::RefusalRate
        | Metric::EmptyRate
        | Metric::TruncatedRate
        | Metric::ToolCallValid
        | Metric::SchemaValid
        | Metric::FencedJson
        | Metric::RepeatedCall
        | Metric::Repetition
        | Metric::LanguageMismatch
        | Metric::CacheHit
        | Metric::CancelBeforeFirstByte
        | Metric::ClientAbort
        | Metric::LongAnswer
        | Metric::ShortAnswer
        | Metric::NewOpening
        | Metric::Abandoned
        | Metric::NotContinued
        | Metric::Feedback(_)
        | Metric::ThumbsDown(_)
        | Metric::Judge(_) => {}
    }
}

fn change_of(metric: &Metric, text: &str) -> Result<Change, String> {
    let number = |digits: &str, what: &str| {
        let read = digits.parse::<f64>().ok().filter(|n| n.is_finite());
        read.ok_or_else(|| format!("`{text}` has no number {what}"))
    };
    if let Some(digits) = text.strip_prefix(['x', '×']) {
        let times = number(digits, "after x")?;
        return if times >= 0.0 { Ok(Change::Times(times)) } else { Err("nothing is below 0".to_owned()) };
    }
    if !text.starts_with(['+', '-', '−']) {
        return Err(format!("`{text}` is no change; write `+1pp`, `x2` or `+200ms`"));
    }
    let text = text.replace('−', "-");
    match metric.kind() {
        Kind::Rate | Kind::Score => {
            let digits = text.strip_suffix("pp").or_else(|| text.strip_suffix('%'));
            let digits = digits.ok_or_else(|| format!("`{text}` is no change of a share; write `+1pp` or `x2`"))?;
            Ok(Change::Shift(number(digits, "before pp")? / 100.0))
        }
        Kind::Exceedance => {
            let digits = text.strip_suffix("ms");
            let digits = digits.ok_or_else(|| format!("`{text}` is no change of a time; write `+200ms` or `x1.5`"))?;
            Ok(Change::Shift(number(digits, "before ms")?))
        }
        Kind::Amount | Kind::Ratio => Err(format!("`{text}` is no change of an amount; write `x1.2`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::data::Labels;

    fn data() -> Data {
        let mut text = String::new();
        for i in 0..1_000 {
            let (error, score) = (i % 50 == 0, f64::from(i % 5) / 4.0);
            text.push_str(&format!(
                "{{\"version\":\"stable\",\"error\":{error},\"ttft_ms\":100,\"latency_ms\":300,\"cost_usd\":0.01,\
                 \"scores\":{{\"ok\":{score}}}}}\n"
            ));
        }
        Data::read(text.as_bytes(), &Labels::default()).unwrap()
    }

    fn mean_after(data: &Data, written: &str, metric: &Metric) -> f64 {
        let injection = Injection::parse(written).unwrap();
        let dose = injection.dose(data).unwrap();
        let mut luck = Luck::new(5);
        let spoilt = Data { stable: data.stable.iter().map(|s| dose.lay_on(s, &mut luck)).collect(), ..data.clone() };
        mean_badness(&spoilt, metric).unwrap()
    }

    #[test]
    fn the_mean_moves_by_what_was_asked() {
        let data = data();
        let near = |is: f64, wanted: f64| assert!((is - wanted).abs() < 0.02, "{is} is not {wanted}");
        near(mean_after(&data, "error_rate +10pp", &Metric::ErrorRate), 0.12);
        near(mean_after(&data, "error_rate x5", &Metric::ErrorRate), 0.10);
        near(mean_after(&data, "error_rate -2pp", &Metric::ErrorRate), 0.0);
        let ok = Metric::Feedback("ok".to_owned());
        near(mean_after(&data, "feedback.ok -20pp", &ok), 0.7);
        near(mean_after(&data, "feedback.ok x0.5", &ok), 0.75);
        near(mean_after(&data, "feedback.ok +20pp", &ok), 0.3);
    }

    #[test]
    fn times_and_amounts_are_scaled() {
        let data = data();
        let one = |written: &str| {
            let injection = Injection::parse(written).unwrap();
            injection.dose(&data).unwrap().lay_on(&data.stable[1], &mut Luck::new(1)).turns[0].outcome.clone()
        };
        assert_eq!(one("cost x1.2").cost_usd, Some(0.012));
        let late = one("ttft +50ms");
        assert_eq!((late.ttft_ms, late.latency_ms), (Some(150.0), 350.0));
    }

    #[test]
    fn worse_is_told_from_better() {
        let worse = |text: &str| Injection::parse(text).unwrap().is_worse();
        assert!(
            worse("error_rate +1pp") && worse("cost x1.2") && worse("feedback.ok -1pp") && worse("feedback.ok x0.9")
        );
        assert!(!worse("error_rate x0.5") && !worse("feedback.ok +1pp") && !worse("ttft -10ms"));
    }

    #[test]
    fn what_cannot_be_injected_is_told() {
        let told = |text: &str| Injection::parse(text).unwrap_err().to_string();
        assert!(told("error_rate").contains("write a metric and a change"));
        assert!(told("eror +1pp").contains("there is no metric `eror`"));
        assert!(told("error_rate 1pp").contains("is no change; write `+1pp`"));
        assert!(told("error_rate +1").contains("is no change of a share"));
        assert!(told("cost +1pp").contains("write `x1.2`"));
        let data = data();
        let refused = |text: &str| Injection::parse(text).unwrap().dose(&data).unwrap_err().to_string();
        assert!(refused("error_rate +99pp").contains("cannot become 101.00 %"));
        assert!(refused("refusal_rate +1pp").contains("do not record refusal_rate"));
        assert!(refused("error_rate x1").contains("would stay so"));
    }
}
