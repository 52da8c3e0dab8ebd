//! A world and a release as a plain-text file: one fact a line, `#` begins a comment.
//!
//! ```text
//! sessions 2000/h                 # also: turns 4, think 45s, cluster 30%, swing 50%, tools 30%, leave 20%
//! stable error 0.5% refusal 2% tool_bad 1% ttft 500ms answer 3s cost $0.01 solved 80%
//! canary refusal 4%               # begins as stable is
//! from 2h to 3h both error 30%    # `to` may be left out
//! from 1h to 2h store down        # also: `reports lost`
//! at 45m restart
//! stage 5% bake 30m min 100
//! guard error_rate margin 0.5pp   # also: max 5%
//! rates 1% 5%                     # false rollback, false promotion
//! history 2h
//! until 24h
//! step 1m
//! ```

use crate::report::SimOutcome;
use crate::run::{SimError, run};
use crate::world::{Change, Fault, Part, Side, Truth, Users, World};
use coalmine_control::view::NewRelease;
use coalmine_core::cohort::Cohort;
use coalmine_core::id::RouteName;
use coalmine_core::metric::{Kind, Metric};
use coalmine_core::release::plan::{Gate, Plan, Stage};
use coalmine_core::release::policy::{
    Ages, Budget, Guardrail, Margin, OnRollback, OnUndecided, Policy, Role, Tripwire,
};
use coalmine_core::time::SpanMs;
use coalmine_core::traffic::weight::WeightBp;
use coalmine_core::version::Version;
use std::collections::{BTreeMap, BTreeSet};

/// A world and the release that is tried in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// What is true.
    pub world: World,
    /// The stages.
    pub plan: Plan,
    /// The criteria.
    pub policy: Policy,
    /// How often the loop looks.
    pub step: SpanMs,
}

/// A line that says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ScriptError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong and how to mend it.
    pub what: String,
}

impl Scenario {
    /// Reads a file.
    ///
    /// # Errors
    /// The first line that cannot be read.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let mut scenario = Self::empty();
        let mut canary_said = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
            if words.is_empty() {
                continue;
            }
            scenario.read(&words, &mut canary_said).map_err(|what| ScriptError { line: index + 1, what })?;
        }
        scenario.world.canary = scenario.world.stable.clone();
        for (part, value) in canary_said {
            scenario.world.canary.set(part, value);
        }
        Ok(scenario)
    }

    /// Runs it with a seed.
    ///
    /// # Errors
    /// When the control plane refuses the release.
    pub async fn run(&self, seed: u64) -> Result<SimOutcome, SimError> {
        let version = |model: &str| Version {
            provider: "simulated".into(),
            model: model.to_owned(),
            prompt: None,
            tools: None,
            params: BTreeMap::new(),
        };
        let release = NewRelease {
            route: RouteName::from("assistant"),
            canary: version("canary"),
            plan: self.plan.clone(),
            policy: self.policy.clone(),
        };
        run(&self.world, &version("stable"), release, self.step, seed).await
    }

    fn empty() -> Self {
        Self {
            world: World {
                users: Users::default(),
                stable: Truth::default(),
                canary: Truth::default(),
                changes: Vec::new(),
                faults: Vec::new(),
                history: SpanMs::hours(2),
                until: SpanMs::hours(24),
            },
            plan: Plan { stages: Vec::new() },
            policy: empty_policy(),
            step: SpanMs::minutes(1),
        }
    }

    fn read(&mut self, words: &[&str], canary_said: &mut Vec<(Part, f64)>) -> Result<(), String> {
        let users = &mut self.world.users;
        match words {
            ["sessions", rate] => users.sessions_per_hour = per_hour(rate)?,
            ["turns", n] => users.turns_mean = number(n)?,
            ["think", span] => users.think_ms = span_of(span)?.0 as f64,
            ["cluster", share] => users.cluster = share_of(share)?,
            ["swing", share] => users.swing = share_of(share)?,
            ["tools", share] => users.tools = share_of(share)?,
            ["leave", share] => users.leave_after_bad = share_of(share)?,
            ["stable", facts @ ..] => {
                for (part, value) in truths(facts)? {
                    self.world.stable.set(part, value);
                }
            }
            ["canary", facts @ ..] => canary_said.extend(truths(facts)?),
            ["from", from, "to", to, what @ ..] => self.happen(span_of(from)?, span_of(to)?, what)?,
            ["from", from, what @ ..] => self.happen(span_of(from)?, SpanMs(u64::MAX), what)?,
            ["at", at, "restart"] => self.world.faults.push(Fault::Restart { at: span_of(at)? }),
            ["stage", weight, "bake", bake, "min", min] => self.plan.stages.push(stage(weight, bake, min)?),
            ["guard", metric, rest @ ..] => self.policy.guardrails.push(guardrail(metric, rest)?),
            ["tripwire", n] => {
                let failures = n.parse().map_err(|_| format!("`{n}` is not a number of failures"))?;
                self.policy.tripwires.push(Tripwire::ConsecutiveFailures(failures));
            }
            ["rates", rollback, promotion] => {
                self.policy.false_rollback_rate = share_of(rollback)?;
                self.policy.false_promotion_rate = share_of(promotion)?;
            }
            ["history", span] => self.world.history = span_of(span)?,
            ["until", span] => self.world.until = span_of(span)?,
            ["step", span] => self.step = span_of(span)?,
            ["undecided", then] => self.policy.on_undecided = undecided(then)?,
            ["max_duration", span] => self.policy.max_duration = span_of(span)?,
            [word, ..] => return Err(format!("`{word}` is not known here; the head of this module lists what is")),
            [] => {}
        }
        Ok(())
    }

    fn happen(&mut self, from: SpanMs, to: SpanMs, what: &[&str]) -> Result<(), String> {
        match what {
            ["store", "down"] => self.world.faults.push(Fault::StoreDown { from, to }),
            ["reports", "lost"] => self.world.faults.push(Fault::ReportsLost { from, to }),
            [side, facts @ ..] => {
                let side = match *side {
                    "stable" => Side::Stable,
                    "canary" => Side::Canary,
                    "both" => Side::Both,
                    other => return Err(format!("`{other}` is neither stable, canary nor both")),
                };
                for (part, value) in truths(facts)? {
                    self.world.changes.push(Change { from, to, side, part, value });
                }
            }
            [] => return Err("it does not say what happens".to_owned()),
        }
        Ok(())
    }
}

fn truths(facts: &[&str]) -> Result<Vec<(Part, f64)>, String> {
    if !facts.len().is_multiple_of(2) {
        return Err("facts come in pairs: `error 0.5%`".to_owned());
    }
    facts.chunks_exact(2).map(|pair| truth(pair[0], pair[1])).collect()
}

fn truth(name: &str, value: &str) -> Result<(Part, f64), String> {
    let ms = |value| span_of(value).map(|span| span.0 as f64);
    Ok(match name {
        "error" => (Part::Error, share_of(value)?),
        "hang" => (Part::Hang, share_of(value)?),
        "refusal" => (Part::Refusal, share_of(value)?),
        "tool_bad" => (Part::ToolBad, share_of(value)?),
        "solved" => (Part::Solved, share_of(value)?),
        "ttft" => (Part::Ttft, ms(value)?),
        "answer" => (Part::Answer, ms(value)?),
        "cost" => (Part::Cost, number(value.trim_start_matches('$'))?),
        other => return Err(format!("`{other}` is nothing that a version has")),
    })
}

fn stage(weight: &str, bake: &str, min: &str) -> Result<Stage, String> {
    let bp = (share_of(weight)? * 10_000.0).round() as u16;
    Ok(Stage {
        cohort: Cohort::All,
        weight: WeightBp::new(bp).ok_or_else(|| format!("`{weight}` is more than everybody"))?,
        bake: span_of(bake)?,
        min_sessions: min.parse().map_err(|_| format!("`{min}` is not a number of sessions"))?,
        gate: Gate::Automatic,
    })
}

fn guardrail(metric: &str, rest: &[&str]) -> Result<Guardrail, String> {
    let metric: Metric = metric.parse().map_err(|error| format!("{error}"))?;
    let mut guardrail = Guardrail::with_defaults(metric, Role::Guardrail);
    let margin = |value: f64, kind: Kind| match kind {
        Kind::Rate | Kind::Score => Margin { ratio: 1.0, shift: value },
        Kind::Exceedance | Kind::Amount => Margin { ratio: 1.0 + value, shift: 0.0 },
    };
    let mut rest = rest;
    while let [key, value, more @ ..] = rest {
        let share = share_of(value)?;
        match *key {
            "margin" => {
                guardrail.promote = margin(share, guardrail.metric.kind());
                guardrail.rollback =
                    coalmine_core::release::defaults::rollback_margin(&guardrail.metric, guardrail.promote);
            }
            "rollback_margin" => guardrail.rollback = margin(share, guardrail.metric.kind()),
            "max" => guardrail.limit = Some(share),
            other => return Err(format!("`{other}` is neither margin, rollback_margin nor max")),
        }
        rest = more;
    }
    if rest.is_empty() { Ok(guardrail) } else { Err(format!("`{}` has no value", rest.join(" "))) }
}

fn undecided(word: &str) -> Result<OnUndecided, String> {
    match word {
        "hold" => Ok(OnUndecided::Hold),
        "rollback" => Ok(OnUndecided::Rollback),
        "ask" => Ok(OnUndecided::Ask),
        "promote" => Ok(OnUndecided::Promote),
        other => Err(format!("`{other}` is neither hold, rollback, ask nor promote")),
    }
}

fn per_hour(text: &str) -> Result<f64, String> {
    number(text.strip_suffix("/h").ok_or_else(|| format!("`{text}` is not a rate; write `1000/h`"))?)
}

/// `0.5%`, or `1pp`.
fn share_of(text: &str) -> Result<f64, String> {
    let digits = text.strip_suffix('%').or_else(|| text.strip_suffix("pp"));
    Ok(number(digits.ok_or_else(|| format!("`{text}` is not a share; write `0.5%`"))?)? / 100.0)
}

fn span_of(text: &str) -> Result<SpanMs, String> {
    for (unit, ms) in [("ms", 1.0), ("s", 1e3), ("m", 6e4), ("h", 3.6e6), ("d", 8.64e7)] {
        if let Some(digits) = text.strip_suffix(unit)
            && let Ok(n) = digits.parse::<f64>()
            && n.is_finite()
            && n >= 0.0
        {
            return Ok(SpanMs((n * ms) as u64));
        }
    }
    Err(format!("`{text}` is not a span; write `90s`, `15m`, `24h`"))
}

fn number(text: &str) -> Result<f64, String> {
    let read: Option<f64> = text.parse().ok();
    read.filter(|n| n.is_finite() && *n >= 0.0).ok_or_else(|| format!("`{text}` is not a number"))
}

fn empty_policy() -> Policy {
    Policy {
        false_rollback_rate: 0.01,
        false_promotion_rate: 0.05,
        guardrails: Vec::new(),
        tripwires: Vec::new(),
        bucket: SpanMs::secs(60),
        ages: Ages::default(),
        max_duration: SpanMs::hours(72),
        on_undecided: OnUndecided::Hold,
        on_rollback: OnRollback::MoveNextTurn,
        keep: SpanMs::hours(48),
        rescue_budget: WeightBp::ZERO,
        budget: Budget::default(),
        freeze: Vec::new(),
        sentinels: None,
        acknowledged: BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_says_nothing_is_named() {
        let wrong = |line: &str| Scenario::parse(&format!("# a world\n{line}\n")).unwrap_err().to_string();
        assert_eq!(wrong("session 5/h"), "line 2: `session` is not known here; the head of this module lists what is");
        assert_eq!(wrong("canary refusal"), "line 2: facts come in pairs: `error 0.5%`");
        assert_eq!(wrong("canary refusal 4"), "line 2: `4` is not a share; write `0.5%`");
        assert_eq!(wrong("guard error_rate margin"), "line 2: `margin` has no value");
        assert_eq!(wrong("until NaNh"), "line 2: `NaNh` is not a span; write `90s`, `15m`, `24h`");
    }

    #[test]
    fn the_canary_is_what_stable_is_but_for_what_is_said_of_it() {
        let scenario = Scenario::parse("canary refusal 4%\nstable error 3%\nfrom 1h to 2h both error 50%").unwrap();
        let world = &scenario.world;
        assert!((world.canary.error - 0.03).abs() < 1e-12);
        assert!((world.canary.refusal - 0.04).abs() < 1e-12);
        let inside = world.truth(Side::Canary, Some(SpanMs::minutes(90)));
        assert!((inside.error - 0.5).abs() < 1e-12);
        assert!((world.truth(Side::Canary, Some(SpanMs::hours(2))).error - 0.03).abs() < 1e-12);
    }
}
