//! The findings of the sentinels: what each may do, what its newest round says, and why in words.

use crate::analysis::look::Look;
use crate::analysis::{SentinelFinding, SentinelVerdict, Standing};
use crate::sentinel::purse::INSUFFICIENT;
use crate::sentinel::record::{Latest, Outcome, Record};
use crate::sentinel::{Criticality, Sentinel, Sentinels, Tries, tries_to_confirm};
use crate::time::SpanMs;

/// A round may be so much later than due before it is missed.
const LATE: SpanMs = SpanMs::minutes(5);

/// One finding per sentinel, in the order of the suite.
pub(super) fn findings(look: &Look<'_>) -> Vec<SentinelFinding> {
    let Some(suite) = &look.release.policy.sentinels else { return Vec::new() };
    suite.sentinels.iter().map(|sentinel| Reading::of(look, suite, sentinel).finding()).collect()
}

struct Reading<'a> {
    look: &'a Look<'a>,
    suite: &'a Sentinels,
    sentinel: &'a Sentinel,
    record: Option<&'a Record>,
    /// The round that is told: a confirmed failure stands.
    told: Option<&'a Latest>,
}

impl<'a> Reading<'a> {
    fn of(look: &'a Look<'a>, suite: &'a Sentinels, sentinel: &'a Sentinel) -> Self {
        let record = look.ledger.totals().sentinels.of.get(&sentinel.name);
        let told = record.and_then(|record| record.confirmed.as_ref().or(record.latest.as_ref()));
        Self { look, suite, sentinel, record, told }
    }

    fn finding(&self) -> SentinelFinding {
        let (standing, verdict) = (self.standing(), self.verdict());
        SentinelFinding {
            name: self.sentinel.name.clone(),
            standing,
            verdict,
            stable: self.told.map(|round| round.stable.clone()).unwrap_or_default(),
            canary: self.told.map(|round| round.canary.clone()).unwrap_or_default(),
            at: self.told.map(|round| round.began_at),
            reason: self.reason(standing),
        }
    }

    fn standing(&self) -> Standing {
        match self.sentinel.criticality {
            Criticality::Watched => Standing::Watched,
            Criticality::Gate => Standing::Gate,
            Criticality::Critical if self.record.is_some_and(|r| r.is_qualified(self.suite.qualify)) => {
                Standing::Critical
            }
            Criticality::Critical if self.outcome() == Some(Outcome::StableFailed) => Standing::Disqualified,
            Criticality::Critical => Standing::Qualifying,
        }
    }

    fn outcome(&self) -> Option<Outcome> {
        self.told.map(|round| round.outcome)
    }

    fn verdict(&self) -> SentinelVerdict {
        let Some(round) = self.told.filter(|_| !self.is_stale()) else { return SentinelVerdict::Unknown };
        match round.outcome {
            Outcome::Passed => SentinelVerdict::Passed,
            Outcome::CanaryFailed => SentinelVerdict::Failed,
            Outcome::BothFailed => SentinelVerdict::BothFailed,
            Outcome::Unclear => SentinelVerdict::Unclear,
            Outcome::StablePassed | Outcome::StableFailed | Outcome::Unknown => SentinelVerdict::Unknown,
        }
    }

    /// A pass of long ago is no pass. A confirmed failure stays one, and the gate is asked once.
    fn is_stale(&self) -> bool {
        let confirmed = self.record.is_some_and(|record| record.confirmed.is_some());
        let borne = SpanMs(self.sentinel.every.0.saturating_mul(3)) + LATE;
        let age = self.told.map(|round| self.look.now.since(round.began_at));
        !confirmed && self.sentinel.criticality != Criticality::Gate && age.is_some_and(|age| age > borne)
    }

    fn reason(&self, standing: Standing) -> String {
        let Some(round) = self.told else { return "not asked yet".to_owned() };
        if self.is_stale() {
            let age = self.look.now.since(round.began_at).rounded();
            return format!("its newest round is {age} old, and it is due every {}", self.sentinel.every);
        }
        let both = || {
            let Latest { stable, canary, .. } = round;
            let (s, c) = (stable.known(), canary.known());
            format!("{}/{s} passed on stable, {}/{c} on canary", stable.passed, canary.passed)
        };
        match round.outcome {
            Outcome::StablePassed | Outcome::StableFailed => self.qualifying(standing, round),
            Outcome::Passed if standing == Standing::Gate => format!("{} passed on canary", of(&round.canary)),
            Outcome::CanaryFailed if standing == Standing::Gate => {
                format!("{} passed on canary{}", of(&round.canary), fault(&round.canary))
            }
            Outcome::Passed => both(),
            Outcome::CanaryFailed => format!("{}{}", both(), fault(&round.canary)),
            Outcome::BothFailed => {
                let fault = fault(&round.stable);
                format!("{}: an outage of what both depend on, or drift; nobody is accused{fault}", both())
            }
            Outcome::Unclear => {
                format!("{}: not passed, and {}{}", both(), self.unconfirmed(), fault(&round.canary))
            }
            Outcome::Unknown => {
                let trouble = round.canary.fault.as_ref().or(round.stable.fault.as_ref());
                if let Some(spent) = trouble.filter(|trouble| trouble.starts_with(INSUFFICIENT)) {
                    return spent.clone();
                }
                format!("providers were in trouble, which says nothing of the answer{}", because(trouble))
            }
        }
    }

    fn qualifying(&self, standing: Standing, round: &Latest) -> String {
        let passed = self.record.map_or(0, |record| record.passed_in_a_row);
        match standing {
            Standing::Disqualified => {
                format!("stable itself passes {}{}, so it accuses nobody", of(&round.stable), fault(&round.stable))
            }
            Standing::Critical | Standing::Qualifying | Standing::Watched | Standing::Gate => {
                format!("{passed} of {} qualifying rounds passed on stable", self.suite.qualify)
            }
        }
    }

    fn unconfirmed(&self) -> String {
        let (policy, attempt) = (&self.look.release.policy, self.look.release.attempt);
        match tries_to_confirm(policy, attempt, self.sentinel, self.record) {
            Some(tries) => format!("no failure until {tries} tries in a row fail while stable passes"),
            None => "too flaky on stable for a failure to be confirmed".to_owned(),
        }
    }
}

/// `3/3`.
fn of(tries: &Tries) -> String {
    format!("{}/{}", tries.passed, tries.known())
}

fn fault(tries: &Tries) -> String {
    because(tries.fault.as_ref())
}

fn because(fault: Option<&String>) -> String {
    fault.map_or(String::new(), |fault| format!(" ({fault})"))
}
