//! The rules that other tools decide by, in our own words, so that they can be measured beside ours.
//!
//! **Nothing here is in the way of a decision.** The `promise` example runs them on the same worlds as
//! [`crate::betting`].
//!
//! | rule | module | what it does not bound |
//! |---|---|---|
//! | threshold per interval, with a limit of failures | [`interval_rule`] | false alarms: they grow with time |
//! | z test at every look | [`moments`] | false alarms over many looks |
//! | mSPRT | [`moments`] | rare rates: it rests on a normal approximation |
//! | one-sided asymptotic confidence sequence | [`asymptotic`] | rare rates: a falsely tight upper bound |
//! | O'Brien–Fleming bounds at planned looks | [`group_sequential`] | looks that were not planned |
//! | Mann–Whitney on points per interval | [`mann_whitney`] | repeated looks; it misses small shifts |
//! | fixed samples | [`fixed_sample`] | any second look |

pub mod asymptotic;
pub mod fixed_sample;
pub mod group_sequential;
pub mod interval_rule;
pub mod mann_whitney;
pub mod moments;
