//! A world and a release as a plain-text file: one fact a line, `#` begins a comment.
//!
//! ```text
//! sessions 2000/h                 # also: swing 50% (over a day)
//! turns 4                         # also: think 45s, cluster 30% (turns that share their session's luck)
//! tools 30%                       # turns with tools; also: patience 8s, constant_id 30%, scored 5m
//! customer acme 10% refusal 8%    # a share of the sessions is one customer's; whichever version answers
//! region eu 60% error 1%           # a share of the sessions comes in there; also: `streams 30% …`
//! openers 50% refusal 0%          # a share of the sessions begins with the same words
//! cache 2000 slower 4 dearer 2    # a version's cache is warm after so many requests
//! noise 30%                       # each arm's rates differ from minute to minute, each by itself
//! stable error 0.5% refusal 2% tool_bad 1% ttft 500ms answer 3s cost $0.01 solved 80%
//! canary refusal 4%               # begins as stable is; also: hang, first_refusal, leave, stop, rate_solved, rate_unsolved
//! canary good 70% other_language 3%   # what judges and detectors see; also: empty, truncated, schema_bad, fenced, repeated_call,
//!                                 # repetition, chars 600, new_opening, cached, quits, reask, retry, tool_fail
//! schemas 20%                     # turns that ask for an answer in a JSON Schema
//! scored_as correct               # the task's score comes back as `feedback.correct` too
//! alike 60%                       # of what can go wrong with a copy, what goes wrong as with its original
//! from 2h to 3h both error 30%    # `to` may be left out; also: stable, canary
//! from 0h to 6h both error 1%..3% # slides
//! from 1h to 2h store down        # also: `reports lost`, `scores lost`, `sentinels lost`, `judges down`, `judges drift 40%`
//! from 1h region eu ceiling 1%    # the most that the canary gets at that region's gateway
//! at 45m restart
//! at 2h swapped                   # other models answer under the same names; what they do stands in `from` lines
//! stage 5% bake 30m min 100       # also: `stage acme 50% bake …`, a customer's sessions alone
//! ramp adaptive harm 5/min from 1% to 50% bake 1h min 100   # instead of a last stage
//! hold_back 2%                    # after the promotion, while the old stable is kept: `keep 48h`
//! guard error_rate margin 0.5pp   # also: rollback_margin 0pp, max 5%, weight 30%, unit bucket_mean
//! signal ttft_p95 margin 20%      # holds, and rolls nothing back
//! sentinel refund canary pass 0%  # critical; also: stable 98%, flaky 2%, every 10m; `sentinels 200 …`: so many alike
//! judge helpful false_pass 10%    # a judge of answers (scale binary, 1-5 or pairs); also: false_fail, turns, budget $5, calls 2000,
//!                                 # anchors 20 every 6h agree 70%, cost $0.002; of pairs: by_place, ties
//! guard judge.helpful margin 2pp sample 50% control 5%   # whose sessions it sees
//! shadow 20% for 2h min 100       # before the first stage; also: in_flight 16, budget $20
//! pairs better margin 10pp sample 50%   # a judge of pairs reads the shadow's
//! tripwire 5                      # failures in a row
//! rates 1% 5%                     # false rollback, false promotion
//! ages 60s 15m 30m                # first, session, whole; also: bucket 60s
//! undecided hold                  # also: max_duration 72h
//! without weights                 # beside the shipped verdict, one that leaves this rule out
//! history 2h
//! until 24h
//! after_end 1h                    # the loop goes on looking so long
//! step 1m
//! ```

mod quality;

use crate::meddling::Meddling;
use crate::report::SimOutcome;
use crate::run::{SimError, run};
use crate::sentinels;
use crate::world::{Cache, Change, Crowd, Fault, Part, Side, Truth, Users, Who, World};
use coalmine_control::view::NewRelease;
use coalmine_core::cohort::Cohort;
use coalmine_core::id::{CustomerId, RouteName};
use coalmine_core::judge::Sampling;
use coalmine_core::metric::{Kind, Metric, is_feedback_name};
use coalmine_core::release::plan::{Gate, Plan, Ramp, Stage};
use coalmine_core::release::policy::{
    Ages, Budget, Guardrail, Margin, OnRollback, OnUndecided, Policy, Role, Tripwire, Unit,
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
    /// The route and the two versions, where a release file names them.
    pub versions: Option<Versions>,
}

/// Whose release is played.
#[derive(Debug, Clone, PartialEq)]
pub struct Versions {
    /// The route.
    pub route: RouteName,
    /// Its stable version.
    pub stable: Version,
    /// The canary.
    pub canary: Version,
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
    /// The first line that cannot be read, or a stage of a customer that does not exist.
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
        let named = |model: &str| Version {
            provider: "simulated".into(),
            model: model.to_owned(),
            prompt: None,
            tools: None,
            params: BTreeMap::new(),
            fallbacks: Vec::new(),
        };
        let Versions { route, stable, canary } = self.versions.clone().unwrap_or_else(|| Versions {
            route: RouteName::from("assistant"),
            stable: named("stable"),
            canary: named("canary"),
        });
        let release = NewRelease { route, canary, plan: self.plan.clone(), policy: self.policy.clone() };
        Box::pin(run(&self.world, &stable, release, self.step, seed)).await
    }

    fn empty() -> Self {
        Self {
            world: World {
                users: Users::default(),
                stable: Truth::default(),
                canary: Truth::default(),
                changes: Vec::new(),
                swaps: Vec::new(),
                faults: Vec::new(),
                history: SpanMs::hours(2),
                until: SpanMs::hours(24),
                after_end: SpanMs::ZERO,
                noise: 0.0,
                cache: None,
                without: None,
                judges: BTreeMap::new(),
            },
            plan: Plan { stages: Vec::new() },
            policy: empty_policy(),
            step: SpanMs::minutes(1),
            versions: None,
        }
    }

    fn read(&mut self, words: &[&str], canary_said: &mut Vec<(Part, f64)>) -> Result<(), String> {
        let world = &mut self.world;
        match words {
            ["stable", facts @ ..] => {
                for (part, value) in truths(facts)? {
                    world.stable.set(part, value);
                }
            }
            ["canary", facts @ ..] => canary_said.extend(truths(facts)?),
            ["leave", share] => world.stable.leave = share_of(share)?,
            ["noise", share] => world.noise = share_of(share)?,
            ["cache", warms, "slower", slower, "dearer", dearer] => {
                world.cache = Some(Cache { warms: number(warms)?, slower: number(slower)?, dearer: number(dearer)? });
            }
            ["from", from, "to", to, what @ ..] => self.happen(span_of(from)?, span_of(to)?, what)?,
            ["from", from, what @ ..] => self.happen(span_of(from)?, SpanMs(u64::MAX), what)?,
            ["at", at, "restart"] => world.faults.push(Fault::Restart { at: span_of(at)? }),
            ["at", at, "swapped"] => world.swaps.push(span_of(at)?),
            ["without", rule] => world.without = Some(rule.parse()?),
            ["history", span] => world.history = span_of(span)?,
            ["until", span] => world.until = span_of(span)?,
            ["after_end", span] => world.after_end = span_of(span)?,
            ["step", span] => self.step = span_of(span)?,
            ["judge", name, facts @ ..] => {
                let (judge, errs) = quality::judge(name, facts)?;
                world.judges.insert(judge.name.clone(), errs);
                self.policy.judges.push(judge);
            }
            ["stage", customer, weight, "bake", bake, "min", min] => {
                let stage = Stage { cohort: self.customer(customer)?, ..stage(weight, bake, min)? };
                self.plan.stages.push(stage);
            }
            ["stage", weight, "bake", bake, "min", min] => self.plan.stages.push(stage(weight, bake, min)?),
            ["ramp", "adaptive", "harm", harm, rest @ ..] => self.plan.stages.extend(ramp(harm, rest)?),
            _ if self.read_users(words)? || self.read_policy(words)? => {}
            [] => {}
            [word, ..] => return Err(not_known(word)),
        }
        Ok(())
    }

    /// Whether the line is about who comes.
    fn read_users(&mut self, words: &[&str]) -> Result<bool, String> {
        let users = &mut self.world.users;
        match words {
            ["sessions", rate] => users.sessions_per_hour = per_hour(rate)?,
            ["turns", n] => users.turns_mean = number(n)?,
            ["think", span] => users.think_ms = span_of(span)?.0 as f64,
            ["cluster", share] => users.cluster = share_of(share)?,
            ["swing", share] => users.swing = share_of(share)?,
            ["tools", share] => users.tools = share_of(share)?,
            ["patience", span] => users.patience_ms = Some(span_of(span)?.0 as f64),
            ["constant_id", share] => users.constant_id = share_of(share)?,
            ["schemas", share] => users.schemas = share_of(share)?,
            ["alike", share] => users.alike = share_of(share)?,
            ["scored_as", name] => {
                if !is_feedback_name(name) {
                    return Err(format!(
                        "`{name}` is no name of a score; write small letters, digits, `_`, `.` or `-`"
                    ));
                }
                users.scores.insert((*name).to_owned());
            }
            ["scored", span] => users.scored_after = span_of(span)?,
            ["customer", name, share, facts @ ..] => {
                let who = Who::Customer((*name).to_owned());
                users.crowds.push(Crowd { who, share: share_of(share)?, facts: truths(facts)? });
            }
            ["region", name, share, facts @ ..] => {
                let who = Who::Region((*name).to_owned());
                users.crowds.push(Crowd { who, share: share_of(share)?, facts: truths(facts)? });
            }
            ["streams", share, facts @ ..] => {
                users.crowds.push(Crowd { who: Who::Streams, share: share_of(share)?, facts: truths(facts)? });
            }
            ["openers", share, facts @ ..] => {
                users.crowds.push(Crowd { who: Who::SameOpener, share: share_of(share)?, facts: truths(facts)? });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether the line is about the criteria.
    fn read_policy(&mut self, words: &[&str]) -> Result<bool, String> {
        let policy = &mut self.policy;
        match words {
            ["guard", metric, rest @ ..] => policy.guardrails.push(guardrail(metric, Role::Guardrail, rest)?),
            ["signal", metric, rest @ ..] => policy.guardrails.push(guardrail(metric, Role::Signal, rest)?),
            ["hold_back", share] => policy.hold_back = WeightBp::rounded(share_of(share)? * 10_000.0),
            ["keep", span] => policy.keep = span_of(span)?,
            ["tripwire", n] => {
                let failures = n.parse().map_err(|_| format!("`{n}` is not a number of failures"))?;
                policy.tripwires.push(Tripwire::ConsecutiveFailures(failures));
            }
            ["rates", rollback, promotion] => {
                policy.false_rollback_rate = share_of(rollback)?;
                policy.false_promotion_rate = share_of(promotion)?;
            }
            ["ages", first, session, whole] => {
                policy.ages = Ages { first: span_of(first)?, session: span_of(session)?, whole: span_of(whole)? };
            }
            ["sentinel", name, facts @ ..] => sentinels::add(policy, &[(*name).to_owned()], facts)?,
            ["sentinels", count, facts @ ..] => {
                let count: usize = count.parse().map_err(|_| format!("`{count}` is not a number of sentinels"))?;
                let names: Vec<String> = (1..=count).map(|i| format!("sentinel-{i}")).collect();
                sentinels::add(policy, &names, facts)?;
            }
            ["shadow", share, facts @ ..] => policy.shadow = Some(quality::shadow(share, facts)?),
            ["pairs", judge, facts @ ..] => quality::pairs(policy, judge, facts)?,
            ["bucket", span] => policy.bucket = span_of(span)?,
            ["undecided", then] => policy.on_undecided = undecided(then)?,
            ["max_duration", span] => policy.max_duration = span_of(span)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A customer's sessions, as a cohort.
    fn customer(&self, name: &str) -> Result<Cohort, String> {
        let who = Who::Customer(name.to_owned());
        if !self.world.users.crowds.iter().any(|crowd| crowd.who == who) {
            return Err(format!("there is no customer `{name}`; write `customer {name} 10%` above the stage"));
        }
        Ok(Cohort::Named { name: name.to_owned(), customers: BTreeSet::from([CustomerId::from(name)]) })
    }

    fn happen(&mut self, from: SpanMs, to: SpanMs, what: &[&str]) -> Result<(), String> {
        match what {
            ["store", "down"] => self.world.faults.push(Fault::StoreDown { from, to }),
            ["sentinels", "lost"] => self.world.faults.push(Fault::SentinelsLost { from, to }),
            ["judges", "down"] => self.world.faults.push(Fault::JudgesDown { from, to }),
            ["judges", "drift", share] => {
                self.world.faults.push(Fault::JudgesDrift { from, to, turned: quality::weight(share)? });
            }
            ["scores", "lost"] => self.world.faults.push(Fault::ScoresLost { from, to }),
            ["reports", "lost"] => self.world.faults.push(Fault::ReportsLost { from, to }),
            ["reports", how] => self.world.faults.push(Fault::Meddled { from, to, how: meddling(how)? }),
            ["region", name, "ceiling", share] => {
                let who = Who::Region((*name).to_owned());
                let crowd = self.world.users.crowds.iter().position(|crowd| crowd.who == who);
                let crowd =
                    crowd.ok_or_else(|| format!("there is no region `{name}`; write `region {name} 50%` above"))?;
                let at_most = WeightBp::rounded(share_of(share)? * 10_000.0);
                self.world.faults.push(Fault::Ceiling { from, to, crowd, at_most });
            }
            [side, facts @ ..] => {
                let side = match *side {
                    "stable" => Side::Stable,
                    "canary" => Side::Canary,
                    "both" => Side::Both,
                    other => return Err(format!("`{other}` is neither stable, canary nor both")),
                };
                self.world.changes.extend(changes(from, to, side, facts)?);
            }
            [] => return Err("it does not say what happens".to_owned()),
        }
        Ok(())
    }
}

/// The words that begin a line.
const LINES: &str = "sessions, swing, turns, think, cluster, tools, schemas, patience, constant_id, scored, scored_as, alike, \
    customer, region, streams, openers, cache, noise, leave, stable, canary, from, at, stage, ramp, shadow, pairs, judge, guard, signal, \
    sentinel, sentinels, tripwire, rates, ages, bucket, undecided, hold_back, keep, max_duration, without, history, until, \
    after_end, step";
/// What a version has.
const FACTS: &str = "error, hang, refusal, first_refusal, tool_bad, ttft, answer, cost, solved, leave, stop, \
    rate_solved, rate_unsolved, good, empty, truncated, schema_bad, fenced, repeated_call, repetition, other_language, chars, \
    new_opening, cached, quits, reask, retry, tool_fail";
const IN_PAIRS: &str = "facts come in pairs: `error 0.5%`";

fn meddling(word: &str) -> Result<Meddling, String> {
    let found = Meddling::ALL.into_iter().find(|(name, _)| *name == word);
    let words = || Meddling::ALL.map(|(name, _)| name).join(", ");
    found.map(|(_, how)| how).ok_or_else(|| format!("reports can be lost, {}; not `{word}`", words()))
}

fn truths(facts: &[&str]) -> Result<Vec<(Part, f64)>, String> {
    if !facts.len().is_multiple_of(2) {
        return Err(IN_PAIRS.to_owned());
    }
    facts.chunks_exact(2).map(|pair| truth(pair[0], pair[1])).collect()
}

/// Facts for a while; `1%..3%` slides from the one to the other.
fn changes(from: SpanMs, to: SpanMs, side: Side, facts: &[&str]) -> Result<Vec<Change>, String> {
    if !facts.len().is_multiple_of(2) {
        return Err(IN_PAIRS.to_owned());
    }
    let change = |pair: &[&str]| {
        let (begin, end) = pair[1].split_once("..").map_or((pair[1], None), |(begin, end)| (begin, Some(end)));
        let (part, value) = truth(pair[0], begin)?;
        let slides_to = end.map(|end| truth(pair[0], end)).transpose()?.map(|(_, value)| value);
        if slides_to.is_some() && to == SpanMs(u64::MAX) {
            return Err(format!("`{}` slides without an end; write `from … to …`", pair[1]));
        }
        Ok(Change { from, to, side, part, value, slides_to })
    };
    facts.chunks_exact(2).map(change).collect()
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
        "first_refusal" => (Part::FirstRefusal, share_of(value)?),
        "leave" => (Part::Leave, share_of(value)?),
        "stop" => (Part::Stop, share_of(value)?),
        "rate_solved" => (Part::RateSolved, share_of(value)?),
        "rate_unsolved" => (Part::RateUnsolved, share_of(value)?),
        "chars" => (Part::Chars, number(value)?),
        "good" => (Part::Good, share_of(value)?),
        "empty" => (Part::Empty, share_of(value)?),
        "truncated" => (Part::Truncated, share_of(value)?),
        "schema_bad" => (Part::SchemaBad, share_of(value)?),
        "fenced" => (Part::Fenced, share_of(value)?),
        "repeated_call" => (Part::RepeatedCall, share_of(value)?),
        "repetition" => (Part::Repetition, share_of(value)?),
        "other_language" => (Part::OtherLanguage, share_of(value)?),
        "new_opening" => (Part::NewOpening, share_of(value)?),
        "cached" => (Part::Cached, share_of(value)?),
        "quits" => (Part::Quits, share_of(value)?),
        "reask" => (Part::Reask, share_of(value)?),
        "retry" => (Part::Retry, share_of(value)?),
        "tool_fail" => (Part::ToolFail, share_of(value)?),
        other => return Err(format!("`{other}` is nothing that a version has; write one of {FACTS}")),
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

/// `5/min`, then any of `from 1%`, `to 50%`, `bake 1h`, `min 100`.
fn ramp(harm: &str, rest: &[&str]) -> Result<Vec<Stage>, String> {
    let harm = harm.strip_suffix("/min").ok_or_else(|| format!("`{harm}` is not a harm; write `5/min`"))?;
    let ramp = Ramp { harm_per_minute: number(harm)? };
    let (mut from, mut to, mut bake, mut min) = ("1%", "50%", "1h", "100");
    let mut rest = rest;
    while let [key, value, more @ ..] = rest {
        match *key {
            "from" => from = value,
            "to" => to = value,
            "bake" => bake = value,
            "min" => min = value,
            other => return Err(format!("`{other}` is neither from, to, bake nor min")),
        }
        rest = more;
    }
    let floor = WeightBp::rounded(share_of(from)? * 10_000.0);
    if rest.is_empty() {
        Ok(stage(to, bake, min)?.climbed_from(floor, ramp))
    } else {
        Err(format!("`{}` has no value", rest.join(" ")))
    }
}

fn guardrail(metric: &str, role: Role, rest: &[&str]) -> Result<Guardrail, String> {
    let metric: Metric = metric.parse().map_err(|error| format!("{error}"))?;
    let mut guardrail = Guardrail::with_defaults(metric, role);
    let margin = |value: f64, kind: Kind| match kind {
        Kind::Rate | Kind::Score => Margin { ratio: 1.0, shift: value },
        Kind::Exceedance | Kind::Amount | Kind::Ratio => Margin { ratio: 1.0 + value, shift: 0.0 },
    };
    let mut rest = rest;
    while let [key, value, more @ ..] = rest {
        rest = more;
        if *key == "unit" {
            guardrail.unit = unit(value)?;
            continue;
        }
        let share = share_of(value)?;
        match *key {
            "margin" => {
                guardrail.promote = margin(share, guardrail.metric.kind());
                guardrail.rollback =
                    coalmine_core::release::defaults::rollback_margin(&guardrail.metric, guardrail.promote);
            }
            "rollback_margin" => guardrail.rollback = margin(share, guardrail.metric.kind()),
            "max" => guardrail.limit = Some(share),
            "weight" => guardrail.weight = share,
            "sample" if guardrail.sample.is_some() => {
                let share = quality::weight(value)?;
                guardrail.sample = Some(Sampling { control: share, canary: share });
            }
            "control" if guardrail.sample.is_some() => {
                let control = quality::weight(value)?;
                guardrail.sample = guardrail.sample.map(|sample| Sampling { control, ..sample });
            }
            "sample" | "control" => {
                return Err(format!("`{key}` is for judges; {} sees every session", guardrail.metric));
            }
            other => {
                return Err(format!(
                    "`{other}` is neither margin, rollback_margin, max, weight, unit, nor of a judge sample and control"
                ));
            }
        }
    }
    if rest.is_empty() { Ok(guardrail) } else { Err(format!("`{}` has no value", rest.join(" "))) }
}

fn unit(word: &str) -> Result<Unit, String> {
    match word {
        "session" => Ok(Unit::Session),
        "bucket_mean" => Ok(Unit::BucketMean),
        other => Err(format!("`{other}` is neither session nor bucket_mean")),
    }
}

/// A line that was not read: of a known word, its shape; of another, the words that there are.
fn not_known(word: &str) -> String {
    let shape = match word {
        "sessions" => "sessions 1000/h",
        "cache" => "cache 2000 slower 4 dearer 2",
        "at" => "at 45m restart` or `at 2h swapped",
        "stage" => "stage 5% bake 30m min 100",
        "rates" => "rates 1% 5%",
        "ages" => "ages 60s 15m 30m",
        "without" => "without weights",
        "judge" => "judge helpful false_pass 10%",
        "shadow" => "shadow 20% for 2h",
        "pairs" => "pairs better margin 10pp",
        "from" => "from 1h to 2h both error 30%",
        word if LINES.split(", ").any(|known| known.trim() == word) => {
            return format!("`{word}` takes one value; write `{word} VALUE`");
        }
        word => return format!("`{word}` begins no line; write one of {LINES}"),
    };
    format!("this line of `{word}` has another shape; write `{shape}`")
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
pub(crate) fn share_of(text: &str) -> Result<f64, String> {
    let digits = text.strip_suffix('%').or_else(|| text.strip_suffix("pp"));
    Ok(number(digits.ok_or_else(|| format!("`{text}` is not a share; write `0.5%`"))?)? / 100.0)
}

pub(crate) fn span_of(text: &str) -> Result<SpanMs, String> {
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
        hold_back: WeightBp::ZERO,
        rescue_budget: WeightBp::ZERO,
        budget: Budget::default(),
        freeze: Vec::new(),
        sentinels: None,
        judges: Vec::new(),
        shadow: None,
        acknowledged: BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_says_nothing_is_named() {
        let wrong = |line: &str| Scenario::parse(&format!("# a world\n{line}\n")).unwrap_err().to_string();
        assert!(wrong("session 5/h").starts_with("line 2: `session` begins no line; write one of sessions, swing,"));
        assert_eq!(
            wrong("stage 5% bake 1h"),
            "line 2: this line of `stage` has another shape; write `stage 5% bake 30m min 100`"
        );
        assert_eq!(wrong("until"), "line 2: `until` takes one value; write `until VALUE`");
        assert_eq!(
            wrong("stage acme 5% bake 1h min 10"),
            "line 2: there is no customer `acme`; write `customer acme 10%` above the stage"
        );
        assert!(wrong("without luck").starts_with("line 2: `luck` is no rule that can be left out; write one of"));
        assert_eq!(wrong("from 1h both error 1%..2%"), "line 2: `1%..2%` slides without an end; write `from … to …`");
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
