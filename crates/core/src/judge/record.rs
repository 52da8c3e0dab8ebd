//! What a judge has shown in one release: counts, sums, and numbers with labels; never a word of an answer.

use crate::analysis::{ArmCounts, Interval};
use crate::judge::{Anchors, Judge, JudgeId};
use crate::key::Day;
use crate::time::{SpanMs, UnixMs};
use crate::traffic::pin::Arm;
use coalmine_stats::ppi::{self, Scores};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Answers of one arm that may wait for a label, or have one.
const ITEMS_MAX: usize = 400;
/// Failures in a row from which on …
const AWAY_FAILURES: u32 = 5;
/// … and for so long, the judge is away.
const AWAY_SINCE: SpanMs = SpanMs::minutes(5);
/// Labels of an arm from which on a corrected estimate is shown.
const LABELS_MIN: usize = 10;
/// The level of the shown intervals is 1 − this.
const ALPHA: f64 = 0.05;

/// What the judges of one release have shown, by name; kept with its totals.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JudgeRecords {
    /// Each.
    pub of: BTreeMap<String, JudgeRecord>,
}

/// What one judge has shown.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct JudgeRecord {
    /// Whose record it is; another judge under the same name begins anew.
    pub id: Option<JudgeId>,
    /// Control's answers.
    pub control: ArmScores,
    /// The canary's.
    pub canary: ArmScores,
    /// The day that is counted.
    pub day: Day,
    /// Spent on it, in US dollars.
    pub usd: f64,
    /// Asked on it.
    pub calls: u64,
    /// An answer of the judge had no known price, where a budget in dollars is to be kept.
    #[serde(default)]
    pub unpriced: bool,
    /// Failures in a row.
    #[serde(default)]
    pub failing: u32,
    /// When the first of them was.
    #[serde(default)]
    pub failing_since: UnixMs,
    /// Why the last one failed, in the words of whoever asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// The first run of the anchors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_anchors: Option<AnchorRun>,
    /// The newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchors: Option<AnchorRun>,
}

/// The answers of one arm.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ArmScores {
    /// Scored.
    pub scored: u64,
    /// Not scored, for there was no room: blind to content.
    #[serde(default)]
    pub dropped: u64,
    /// Not scored, for the judge gave no answer, or none that can be read.
    #[serde(default)]
    pub failed: u64,
    /// Not scored, for the day's budget was spent, or the judge was held.
    #[serde(default)]
    pub skipped: u64,
    /// Goodness, summed over the scored.
    pub sum: f64,
    /// Its squares.
    pub squares: f64,
    /// Those that wait for a label, or have one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<Item>,
}

/// One scored answer that a person may label.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// A hash of the request's id.
    #[serde(rename = "i")]
    pub item: u64,
    /// When it was scored.
    #[serde(rename = "t")]
    pub at: UnixMs,
    /// The judge's goodness.
    #[serde(rename = "f")]
    pub judge: f64,
    /// The human one.
    #[serde(rename = "y", default, skip_serializing_if = "Option::is_none")]
    pub label: Option<f64>,
}

/// One run of the anchors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorRun {
    /// When it ended.
    pub at: UnixMs,
    /// Scored as the label says.
    pub agreed: u32,
    /// Scored.
    pub of: u32,
}

/// Something that happened to a judge.
#[derive(Debug, Clone, PartialEq)]
pub enum Happened {
    /// It was asked, whatever came back; the price where it is known.
    Asked {
        /// US dollars; `None`: not known.
        usd: Option<f64>,
    },
    /// It scored an answer.
    Scored {
        /// Whose.
        arm: Arm,
        /// Goodness.
        value: f64,
        /// The answer as a person may label it, where it was drawn for that.
        item: Option<u64>,
    },
    /// It gave no answer, or none that can be read, and will not be asked again about this one.
    Failed {
        /// Whose answer stays without a score; nobody's where an anchor failed.
        arm: Option<Arm>,
        /// Why, in words without keys or texts.
        why: String,
    },
    /// Answers found no room.
    Dropped {
        /// Whose.
        arm: Arm,
        /// How many.
        count: u64,
    },
    /// An answer was not put to it, for it may not be asked now.
    Skipped {
        /// Whose.
        arm: Arm,
    },
    /// All anchors were scored.
    Anchored {
        /// As the labels say.
        agreed: u32,
        /// All.
        of: u32,
    },
    /// A person labelled an answer.
    Labelled {
        /// Which.
        item: u64,
        /// Goodness.
        value: f64,
    },
}

/// Whether a judge's scores are to be had now.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// They are.
    Scores,
    /// Its anchors were not scored yet.
    Unproven,
    /// It agrees with its anchors less than it must.
    Drifted {
        /// The newest run.
        run: AnchorRun,
        /// The share that it must agree with.
        needs: f64,
    },
    /// The day's budget is spent.
    Spent {
        /// Of which amount.
        what: &'static str,
    },
    /// A budget in dollars cannot be kept, for the price is not known.
    Unpriced,
    /// It does not answer.
    Away {
        /// Since when.
        since: UnixMs,
        /// Why.
        why: String,
    },
}

/// The means of both arms as people would have scored them, by the judge's scores and the labels together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Corrected {
    /// Labels of each arm.
    pub labels: ArmCounts,
    /// Goodness of control.
    pub control: Interval,
    /// Goodness of the canary.
    pub canary: Interval,
    /// Canary less control.
    pub difference: Interval,
    /// What one label is worth with this judge beside it, in labels alone: 1 is a judge that adds nothing.
    pub worth: ArmWorth,
}

/// A number of each arm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ArmWorth {
    /// Control's.
    pub control: f64,
    /// The canary's.
    pub canary: f64,
}

impl JudgeRecords {
    /// Counts what happened to a judge.
    pub fn absorb(&mut self, judge: &Judge, happened: &Happened, now: UnixMs) {
        let record = self.of.entry(judge.name.clone()).or_default();
        if record.id != Some(judge.id()) {
            *record = JudgeRecord { id: Some(judge.id()), ..JudgeRecord::default() };
        }
        record.absorb(happened, now);
    }

    /// Whether nothing happened to any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// The record of a judge; `None` before anything happened to it.
    #[must_use]
    pub fn get(&self, judge: &Judge) -> Option<&JudgeRecord> {
        self.of.get(&judge.name).filter(|record| record.id == Some(judge.id()))
    }
}

impl JudgeRecord {
    fn absorb(&mut self, happened: &Happened, now: UnixMs) {
        let today = Day::of(now);
        if self.day != today {
            (self.day, self.usd, self.calls, self.unpriced) = (today, 0.0, 0, false);
        }
        match happened {
            Happened::Asked { usd } => {
                self.calls += 1;
                self.usd += usd.unwrap_or(0.0);
                self.unpriced |= usd.is_none();
            }
            Happened::Scored { arm, value, item } => {
                self.failing = 0;
                if let Some(scores) = self.arm_mut(*arm) {
                    scores.add(*value, *item, now);
                }
            }
            Happened::Failed { arm, why } => {
                if self.failing == 0 {
                    self.failing_since = now;
                }
                self.failing = self.failing.saturating_add(1);
                self.fault = Some(why.clone());
                if let Some(scores) = arm.and_then(|arm| self.arm_mut(arm)) {
                    scores.failed += 1;
                }
            }
            Happened::Dropped { arm, count } => {
                if let Some(scores) = self.arm_mut(*arm) {
                    scores.dropped += count;
                }
            }
            Happened::Skipped { arm } => {
                if let Some(scores) = self.arm_mut(*arm) {
                    scores.skipped += 1;
                }
            }
            Happened::Anchored { agreed, of } => {
                self.failing = 0;
                let run = AnchorRun { at: now, agreed: *agreed, of: *of };
                self.first_anchors.get_or_insert(run);
                self.anchors = Some(run);
            }
            Happened::Labelled { item, value } => {
                let all = self.control.items.iter_mut().chain(&mut self.canary.items);
                if let Some(found) = all.into_iter().find(|found| found.item == *item) {
                    found.label = Some(*value);
                }
            }
        }
    }

    fn arm_mut(&mut self, arm: Arm) -> Option<&mut ArmScores> {
        match arm {
            Arm::Stable => None,
            Arm::Control => Some(&mut self.control),
            Arm::Canary => Some(&mut self.canary),
        }
    }

    /// The answer that was drawn for a label.
    #[must_use]
    pub fn item(&self, item: u64) -> Option<&Item> {
        self.control.items.iter().chain(&self.canary.items).find(|found| found.item == item)
    }

    /// When the anchors are to be scored next; `None` where there are none.
    #[must_use]
    pub fn anchors_due(&self, judge: &Judge) -> Option<UnixMs> {
        let anchors = judge.anchors.as_ref()?;
        Some(self.anchors.map_or(UnixMs(0), |run| run.at + anchors.every))
    }

    /// Whether its scores are to be had at `now`.
    #[must_use]
    pub fn standing(&self, judge: &Judge, now: UnixMs) -> Standing {
        if let Some(spent) = self.spent(judge, now) {
            return spent;
        }
        if self.failing >= AWAY_FAILURES && now.since(self.failing_since) >= AWAY_SINCE {
            return Standing::Away { since: self.failing_since, why: self.fault.clone().unwrap_or_default() };
        }
        match (&judge.anchors, self.anchors) {
            (None, _) => Standing::Scores,
            (Some(_), None) => Standing::Unproven,
            (Some(anchors), Some(run)) => {
                let needs = anchors.needs(self.first_anchors.unwrap_or(run));
                if run.share() < needs { Standing::Drifted { run, needs } } else { Standing::Scores }
            }
        }
    }

    /// Whether it may not be asked any more on this day.
    #[must_use]
    pub fn spent(&self, judge: &Judge, now: UnixMs) -> Option<Standing> {
        if self.day != Day::of(now) {
            return None;
        }
        if judge.usd_per_day.is_some() && self.unpriced {
            return Some(Standing::Unpriced);
        }
        if judge.usd_per_day.is_some_and(|usd| self.usd >= usd) {
            return Some(Standing::Spent { what: "budget" });
        }
        judge.calls_per_day.is_some_and(|calls| self.calls >= calls).then_some(Standing::Spent { what: "calls" })
    }

    /// What people would have scored, by the judge's scores and their labels (`coalmine_stats::ppi`); `None` below ten
    /// labels in each arm.
    #[must_use]
    pub fn corrected(&self) -> Option<Corrected> {
        let (control, canary) = (self.control.corrected()?, self.canary.corrected()?);
        let shown = |estimate: &ppi::Estimate| {
            let (low, high) = estimate.interval(ALPHA);
            Interval { low, point: estimate.mean, high }
        };
        let difference = ppi::difference(&canary, &control);
        Some(Corrected {
            labels: ArmCounts { control: self.control.labels(), canary: self.canary.labels() },
            control: shown(&control),
            canary: shown(&canary),
            difference: shown(&difference),
            worth: ArmWorth { control: control.gain, canary: canary.gain },
        })
    }
}

impl ArmScores {
    fn add(&mut self, value: f64, item: Option<u64>, now: UnixMs) {
        self.scored += 1;
        self.sum += value;
        self.squares += value * value;
        let Some(item) = item else { return };
        if self.items.len() >= ITEMS_MAX {
            // The oldest that nobody has labelled gives way: by its time, not by what it says.
            let Some(oldest) = self.items.iter().position(|item| item.label.is_none()) else { return };
            self.items.remove(oldest);
        }
        self.items.push(Item { item, at: now, judge: value, label: None });
    }

    /// Their mean goodness.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.scored > 0).then(|| self.sum / self.scored as f64)
    }

    fn labelled(&self) -> impl Iterator<Item = (f64, f64)> {
        self.items.iter().filter_map(|item| Some((item.label?, item.judge)))
    }

    fn labels(&self) -> u64 {
        self.labelled().count() as u64
    }

    fn corrected(&self) -> Option<ppi::Estimate> {
        let labelled: Vec<(f64, f64)> = self.labelled().collect();
        if labelled.len() < LABELS_MIN {
            return None;
        }
        let mut rest = Scores { n: self.scored as f64, sum: self.sum, squares: self.squares };
        labelled.iter().for_each(|(_, score)| rest.take_away(*score));
        ppi::estimate_from(&labelled, &rest).ok()
    }
}

impl Anchors {
    /// The share that a run must agree with, after the release's first.
    fn needs(&self, first: AnchorRun) -> f64 {
        self.agree.max(first.share() - self.margin)
    }
}

impl AnchorRun {
    /// The share that agreed; 1 of nothing.
    #[must_use]
    pub fn share(self) -> f64 {
        if self.of == 0 { 1.0 } else { f64::from(self.agreed) / f64::from(self.of) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::example::judge;

    const DAY: u64 = 86_400_000;

    fn record(judge: &Judge, what: &[Happened]) -> JudgeRecord {
        let mut records = JudgeRecords::default();
        what.iter().for_each(|happened| records.absorb(judge, happened, UnixMs(5 * DAY)));
        records.get(judge).cloned().unwrap_or_default()
    }

    fn anchored(agreed: u32) -> Happened {
        Happened::Anchored { agreed, of: 10 }
    }

    #[test]
    fn a_spent_day_ends_at_midnight() {
        let judge = Judge { usd_per_day: Some(0.02), anchors: None, ..judge("helpful") };
        let asked = || Happened::Asked { usd: Some(0.01) };
        let record = record(&judge, &[asked(), asked()]);
        assert_eq!(record.standing(&judge, UnixMs(5 * DAY + 1)), Standing::Spent { what: "budget" });
        assert_eq!(record.standing(&judge, UnixMs(6 * DAY)), Standing::Scores);
        let by_calls = Judge { usd_per_day: None, calls_per_day: Some(2), ..judge.clone() };
        assert_eq!(record.standing(&by_calls, UnixMs(5 * DAY)), Standing::Spent { what: "calls" });
    }

    #[test]
    fn an_unknown_price_is_no_price_of_nothing() {
        let judge = Judge { usd_per_day: Some(5.0), anchors: None, ..judge("helpful") };
        let asked = record(&judge, &[Happened::Asked { usd: None }]);
        assert_eq!(asked.standing(&judge, UnixMs(5 * DAY)), Standing::Unpriced);
        let free = Judge { usd_per_day: None, ..judge };
        assert_eq!(asked.standing(&free, UnixMs(5 * DAY)), Standing::Scores);
    }

    #[test]
    fn a_judge_that_agrees_less_than_it_did_has_drifted_and_may_come_back() {
        let judge = judge("helpful");
        let now = UnixMs(5 * DAY);
        assert_eq!(JudgeRecord::default().standing(&judge, now), Standing::Unproven);
        assert_eq!(record(&judge, &[anchored(10)]).standing(&judge, now), Standing::Scores);
        assert_eq!(record(&judge, &[anchored(10), anchored(9)]).standing(&judge, now), Standing::Scores);
        let fallen = record(&judge, &[anchored(10), anchored(7)]);
        assert!(matches!(fallen.standing(&judge, now), Standing::Drifted { needs, .. } if needs > 0.8));
        assert_eq!(record(&judge, &[anchored(10), anchored(7), anchored(9)]).standing(&judge, now), Standing::Scores);
        let poor = record(&judge, &[anchored(6)]);
        assert!(matches!(poor.standing(&judge, now), Standing::Drifted { .. }), "never good enough");
    }

    #[test]
    fn a_judge_is_away_after_some_failures_over_some_time() {
        let judge = Judge { anchors: None, ..judge("helpful") };
        let failed = || Happened::Failed { arm: Some(Arm::Canary), why: "status 503".to_owned() };
        let away = record(&judge, &[failed(), failed(), failed(), failed(), failed()]);
        assert_eq!(away.standing(&judge, UnixMs(5 * DAY + 1)), Standing::Scores, "not for long yet");
        assert!(matches!(away.standing(&judge, UnixMs(5 * DAY) + AWAY_SINCE), Standing::Away { .. }));
        assert_eq!(away.canary.failed, 5);
    }

    #[test]
    fn another_judge_under_the_same_name_begins_anew() {
        let (one, mut other) = (judge("helpful"), judge("helpful"));
        other.rubric.push_str(" And be brief.");
        let mut records = JudgeRecords::default();
        records.absorb(&one, &anchored(10), UnixMs(0));
        records.absorb(&other, &Happened::Asked { usd: None }, UnixMs(0));
        assert_eq!(records.get(&one), None);
        assert_eq!(records.get(&other).unwrap().anchors, None);
    }

    #[test]
    fn labels_correct_both_arms_and_the_difference() {
        let judge = judge("helpful");
        let mut all = Vec::new();
        for arm in [Arm::Control, Arm::Canary] {
            for i in 0..200_u64 {
                // The judge is right about the canary, and one in five too kind to control.
                let good = i % 2 == 0;
                let scored = good || (arm == Arm::Control && i % 5 == 1);
                let item = (i < 60).then_some(i + 1_000 * u64::from(arm == Arm::Canary));
                all.push(Happened::Scored { arm, value: f64::from(u8::from(scored)), item });
                if let Some(item) = item {
                    all.push(Happened::Labelled { item, value: f64::from(u8::from(good)) });
                }
            }
        }
        let record = record(&judge, &all);
        let corrected = record.corrected().unwrap();
        assert_eq!(corrected.labels, ArmCounts { control: 60, canary: 60 });
        assert!((corrected.control.point - 0.5).abs() < 0.05, "{corrected:?}");
        assert!(record.control.mean().unwrap() > 0.58, "the judge alone is wrong");
        assert!(corrected.difference.low < 0.0 && corrected.difference.high > 0.0, "{corrected:?}");
        assert!(corrected.worth.canary > corrected.worth.control && corrected.worth.control > 1.0);
    }

    #[test]
    fn the_oldest_without_a_label_gives_way() {
        let mut scores = ArmScores::default();
        (0..ITEMS_MAX as u64).for_each(|i| scores.add(1.0, Some(i), UnixMs(i)));
        scores.items[0].label = Some(1.0);
        scores.add(0.0, Some(9_999), UnixMs(9_999));
        assert_eq!(scores.items.len(), ITEMS_MAX);
        assert_eq!((scores.items[0].item, scores.items[1].item), (0, 2));
    }
}
