//! The rules that other tools decide by, in our own words, so that they can be measured beside ours.
//!
//! **Nothing here is in the way of a decision.** The `promise` example runs them on the same worlds as [`crate::betting`].
//!
//! | rule | module | used by | what it does not bound |
//! |---|---|---|---|
//! | threshold per interval, with a limit of failures | [`interval_rule`] | rollout controllers | anything: false alarms grow with time |
//! | z test at every look | [`moments`] | hand-made dashboards | false alarms over many looks |
//! | mSPRT | [`moments`] | experimentation platforms | rare rates: normal approximation |
//! | one-sided asymptotic confidence sequence | [`asymptotic`] | experimentation platforms | rare rates: a falsely tight upper bound |
//! | O'Brien–Fleming bounds at planned looks | [`group_sequential`] | clinical trials | looks that were not planned |
//! | Mann–Whitney on per-interval points | [`mann_whitney`] | automated canary analysis | repeated looks; small shifts |
//! | fixed samples | [`fixed_sample`] | everyone | any second look |

pub mod asymptotic;
pub mod fixed_sample;
pub mod group_sequential;
pub mod interval_rule;
pub mod mann_whitney;
pub mod moments;
