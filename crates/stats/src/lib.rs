//! Sequential tests that stay valid at every look: numbers in, numbers out.
//!
//! A canary is compared with control while both serve. Looks are free: the chance of rolling a good canary back is
//! bounded over the whole run, however often anyone looks, and so is the chance of promoting one that is not good
//! enough. There is no clock here, no randomness, no I/O; time and random bits are arguments.
//!
//! # The way of a decision
//!
//! 1. A measured number becomes a class of badness in [0, 1] ([`histogram`]); what is frozen beforehand comes from
//!    control's past ([`centre`]).
//! 2. Per sealed bucket and arm only counts per class are kept. An e-process folds them in ([`betting`], [`limit`],
//!    [`paired`], [`counts`], [`bucket_mean`], [`sentinel`]).
//! 3. Evidence of several metrics and numbers is merged ([`merge`]) and held against ln(1/α).
//! 4. The picture is drawn from the same processes ([`interval`]).
//!
//! # Map
//!
//! | module | formula | unit | source |
//! |---|---|---|---|
//! | [`betting`] | ln e = Σ_canary ln(1 + λ(x − m − rc)) + Σ_control ln(1 − κrλ(x − c)), mixed over λ | session | Waudby-Smith & Ramdas 2023; Turner, Ly & Grünwald 2024 |
//! | [`restart`] | S_t = e_t(S_{t−1} + γ_t), γ_k = 1/(k(k+1)), the rest cash | bucket | Shin, Ramdas & Rinaldo 2024 |
//! | [`limit`] | ln e = Σ ln(1 + λ(x − b)) | session | Waudby-Smith & Ramdas 2023 |
//! | [`paired`] | the same with b = ½ + m | pair | as above |
//! | [`counts`] | ln e = k_B ln(1 + λ) + k_A ln(1 − κrλ) − λ n_B m | event, exposure | Lindon, Sanden & Shirikian 2022 |
//! | [`bucket_mean`] | one bet on the clipped difference of means | bucket | as [`limit`] |
//! | [`sentinel`] | fails·ln(p1/p0) + passes·ln((1 − p1)/(1 − p0)) | run | Wald 1945 |
//! | [`srm`] | ln B(α0 + n) − ln B(α0) − Σ n ln θ0 | assignment | Lindon & Malek 2022 |
//! | [`self_check`] | control's halves, both sides, mean of E | session | – |
//! | [`interval`] | bounds = edges of what E has rejected | badness | inversion of the above |
//! | [`merge`] | Σ wE, max wE, e-BH, all at their line | – | Vovk & Wang 2021; Wang & Ramdas 2022 |
//! | [`plan`] | n̂ = (ln 1/α + ln 1/w*) / g(λ*) | canary sessions | Kelly growth |
//! | [`ramp`] | share' = max(share, clip(H/(U·V))) | share | – |
//! | [`ppi`] | θ = mean(y − λf) + λ·mean(f) | label | Angelopoulos, Duchi & Zrnic 2023 |
//! | [`histogram`] | classes, rounding at random | – | – |
//! | [`centre`] | mean of control's past | badness | – |
//! | [`special`] | portable ln, exp, Γ, Φ | – | – |
//! | [`sketch`], [`boundary`], [`quantile`] | **for display only** | as measured | Masson et al. 2019; Howard et al. 2021, 2022 |
//! | [`rivals`] | **for comparison only**: the rules of others | – | named in each |
//!
//! # What is promised, and what is not
//!
//! Under the null P(E ever ≥ 1/α) ≤ α, exactly: no normal approximation, no variance, no minimum of samples, whatever
//! the baseline does as long as both arms share it, at any and at changing shares. It needs units that are independent
//! within a bucket given what the arms share. Not promised: what an incident on the canary's own provider means; a
//! mean beyond the cap of a winsorised amount; tomorrow. [`ppi::estimate`] and everything marked for display or
//! comparison stand outside the bound.
//!
//! Evidence is a pure function of the bucket table and the same to the last bit on every platform ([`special`]); to
//! store it as JSON without losing a bit, use a parser that reads numbers exactly (serde_json's `float_roundtrip`).

pub mod betting;
pub mod boundary;
pub mod bucket_mean;
pub mod centre;
pub mod counts;
mod grid;
pub mod histogram;
pub mod interval;
pub mod limit;
pub mod merge;
pub mod paired;
pub mod plan;
pub mod ppi;
pub mod quantile;
pub mod ramp;
pub mod restart;
pub mod rivals;
pub mod self_check;
pub mod sentinel;
pub mod sketch;
pub mod special;
pub mod srm;

/// The examples of the README are run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[derive(Debug)]
pub struct Readme;
