//! Answers that wait for a human label. They are listed by the id that the client was told of its request; what was
//! said, people find in their own logs, for Coalmine keeps none of it. Whoever labels is as blind as the judge: neither
//! arm nor score is told.

use crate::control::Control;
use crate::error::ControlError;
use coalmine_core::id::ReleaseId;
use coalmine_core::judge::{Happened, Item, Judge};
use coalmine_core::time::UnixMs;

/// One answer that a person may label.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelling {
    /// The judge's name.
    pub judge: String,
    /// 16 hex digits; names it where its request's id is not known here any more.
    pub item: String,
    /// The request's id, `cmr_…`, as the client was told; `None` after a restart.
    pub request_id: Option<String>,
    /// When it was scored.
    pub at: UnixMs,
    /// The label, as a goodness in 0..=1.
    pub label: Option<f64>,
}

/// By which an answer is found again: a hash of its request's id.
pub(crate) fn item_of(request_id: Option<&str>, turn: u64) -> u64 {
    request_id.map_or(turn, hash)
}

fn hash(request_id: &str) -> u64 {
    let mut low = [0; 8];
    low.copy_from_slice(&blake3::hash(request_id.as_bytes()).as_bytes()[..8]);
    u64::from_le_bytes(low)
}

impl Control {
    /// The answers of a release that wait for a label, and those that have one; the oldest first.
    ///
    /// # Errors
    /// When there is no such release.
    pub fn labels(&self, release: &ReleaseId) -> Result<Vec<Labelling>, ControlError> {
        let judges = self.judges_of(release)?;
        let bench = self.bench();
        let mut found = Vec::new();
        for judge in &judges {
            let record = bench.record(release, judge).unwrap_or_default();
            found.extend(record.control.items.iter().chain(&record.canary.items).map(|item: &Item| Labelling {
                judge: judge.name.clone(),
                item: format!("{:016x}", item.item),
                request_id: bench.request(item.item).map(str::to_owned),
                at: item.at,
                label: item.label,
            }));
        }
        found.sort_by(|a, b| (a.at, &a.item).cmp(&(b.at, &b.item)));
        Ok(found)
    }

    /// Labels an answer, by its request's id or its item; a second label replaces the first. `value` is a goodness.
    ///
    /// # Errors
    /// When there is no such release, or no such answer was drawn for a label.
    pub fn label(&self, release: &ReleaseId, judge: Option<&str>, which: &str, value: f64) -> Result<(), ControlError> {
        if !(0.0..=1.0).contains(&value) {
            return Err(ControlError::BadLabel(format!("{value} is not within 0 and 1, where 1 is good")));
        }
        let is_item = which.len() == 16 && which.bytes().all(|b| b.is_ascii_hexdigit());
        let item = u64::from_str_radix(which, 16).ok().filter(|_| is_item).unwrap_or_else(|| hash(which));
        let judges = self.judges_of(release)?;
        let now = self.clock.now();
        let mut bench = self.bench();
        let named = |one: &&Judge| judge.is_none_or(|name| name == one.name);
        let drawn = |one: &&Judge| bench.record(release, one).is_some_and(|record| record.item(item).is_some());
        let found: Vec<&Judge> = judges.iter().filter(named).filter(drawn).collect();
        if found.is_empty() {
            return Err(ControlError::BadLabel(format!(
                "no scored answer of release {release} that was drawn for a label has this id; `coalmine label list {release}` lists them"
            )));
        }
        for judge in found {
            bench.note(release, judge, Happened::Labelled { item, value }, now);
        }
        Ok(())
    }

    fn judges_of(&self, release: &ReleaseId) -> Result<Vec<Judge>, ControlError> {
        let known = self.known();
        let found = known.releases.get(release).ok_or_else(|| ControlError::UnknownRelease(release.clone()))?;
        Ok(found.release.policy.judged().map(|(judge, _)| judge.clone()).collect())
    }
}
