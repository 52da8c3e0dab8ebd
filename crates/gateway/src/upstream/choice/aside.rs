//! Why an address is aside, since when, and when it is tried again: for people, and no part of any choice.

use super::{Choice, bit};
use crate::sync::lock;
use crate::upstream::breaker::Why;
use coalmine_core::time::UnixMs;

/// How an address came to be aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Aside {
    pub(crate) reason: Reason,
    pub(crate) since: UnixMs,
    /// What there was of it: in a row, or among `answers`.
    pub(crate) failures: u64,
    /// The answers that a share was taken of.
    pub(crate) answers: Option<u64>,
    pub(crate) times: Option<Times>,
    /// Requests that tried it since, and found it no better.
    pub(crate) tries: u64,
    /// When a request may try it; `None`: not by a request, or one does.
    pub(crate) again: Option<UnixMs>,
}

/// Who put it aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Its own answers, or its siblings' better ones.
    Answers(Why),
    /// Looks at its health.
    Looks,
}

impl Reason {
    /// As written in metrics and in the log.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Answers(why) => why.as_str(),
            Self::Looks => "unwell",
        }
    }
}

/// Why an address is put aside, and what there was of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) why: Why,
    /// In a row, or among `answers`; of one that hangs, the sessions that wait.
    pub(super) failures: u64,
    pub(super) answers: Option<u64>,
    pub(super) times: Option<Times>,
}

/// How slow one was that is slower than its siblings, to the first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) own_ms: u64,
    /// The middle one of its siblings.
    pub(crate) siblings_ms: u64,
}

/// What is remembered of one address.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Remembered {
    put_aside: Option<(Found, UnixMs)>,
    tries: u64,
    unwell_since: Option<UnixMs>,
    /// Looks in a row that found it unwell.
    bad_looks: u64,
}

impl Remembered {
    pub(super) fn put_aside(&mut self, found: Found, now: UnixMs) {
        self.put_aside = Some((found, now));
        self.tries = 0;
    }

    /// A request that was to show how it is found it no better.
    pub(super) fn tried(&mut self) {
        self.tries = self.tries.saturating_add(1);
    }

    pub(super) fn back(&mut self) {
        self.put_aside = None;
    }

    pub(super) fn looked_well(&mut self) {
        self.bad_looks = 0;
    }

    pub(super) fn looked_bad(&mut self) {
        self.bad_looks = self.bad_looks.saturating_add(1);
    }

    pub(super) fn found_unwell(&mut self, now: UnixMs) {
        self.unwell_since = Some(now);
    }

    pub(super) fn found_well(&mut self) {
        self.unwell_since = None;
    }
}

impl Choice {
    /// Why an address is not asked; `None` where it is. What looks say of it comes first, for no request tries it meanwhile.
    pub(crate) fn aside(&self, at: usize) -> Option<Aside> {
        let changing = lock(&self.changing);
        let told = changing.remembered[at];
        if changing.unwell & bit(at) != 0 {
            let (reason, since) = (Reason::Looks, told.unwell_since?);
            return Some(Aside {
                reason,
                since,
                failures: told.bad_looks,
                answers: None,
                times: None,
                tries: 0,
                again: None,
            });
        }
        let (Found { why, failures, answers, times }, since) = told.put_aside?;
        let breaker = &self.seats[at].breaker;
        let again = breaker.again_at().filter(|_| !breaker.is_probed());
        Some(Aside { reason: Reason::Answers(why), since, failures, answers, times, tries: told.tries, again })
    }
}
