//! Does the corrected estimate of a judge cover the truth where the judge alone does not?
//!
//! `cargo run --profile quick -p coalmine-stats --example judge_coverage -- ../shared/data/replay/prime_gpt4.jsonl`
//!
//! Reads recorded answers with known truth (`version`, `output`, `correct`) and lets a mechanical judge score them that
//! is fooled as models are: it passes what is long enough to look like reasoning. Of each version 400 answers are drawn
//! with replacement, 60 of them with their label; 2 000 times over. Truth is the share of correct ones in the record.
#![expect(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used, reason = "an example for the terminal")]

use coalmine_stats::ppi::{self, Estimate};
use serde_json::Value;
use std::collections::BTreeMap;

const RUNS: u32 = 2_000;
const JUDGED: usize = 400;
const LABELLED: usize = 60;

/// SplitMix64.
struct Luck(u64);

impl Luck {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((u128::from(z ^ (z >> 31)) * n as u128) >> 64).unwrap()
    }
}

/// Draws of one version: pairs with labels, and scores without.
fn draw(rows: &[(f64, f64)], luck: &mut Luck) -> (Vec<(f64, f64)>, Vec<f64>) {
    let mut one = || rows[luck.below(rows.len())];
    let labelled = (0..LABELLED).map(|_| one()).collect();
    let rest = (LABELLED..JUDGED).map(|_| one().1).collect();
    (labelled, rest)
}

/// What the judge alone says.
fn alone(labelled: &[(f64, f64)], rest: &[f64]) -> Estimate {
    let scores: Vec<(f64, f64)> =
        labelled.iter().map(|(_, f)| *f).chain(rest.iter().copied()).map(|f| (f, 0.0)).collect();
    ppi::estimate(&scores, &[]).unwrap()
}

fn covers(estimate: &Estimate, truth: f64) -> u32 {
    let (low, high) = estimate.interval(0.05);
    u32::from(low <= truth && truth <= high)
}

fn main() {
    let Some(file) = std::env::args().nth(1) else {
        eprintln!("name a file of recorded answers; nothing was measured");
        return;
    };
    let Ok(text) = std::fs::read_to_string(&file) else {
        eprintln!("skipped: {file} cannot be read, so nothing was measured");
        return;
    };
    let mut versions: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for row in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let (output, version) = (row["output"].as_str().unwrap_or_default(), row["version"].as_str().unwrap());
        let correct = row["correct"].as_f64().or(row["correct"].as_bool().map(|is| f64::from(u8::from(is)))).unwrap();
        versions.entry(version.to_owned()).or_default().push((correct, f64::from(u8::from(output.len() > 200))));
    }
    let mean = |rows: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| rows.iter().map(of).sum::<f64>() / rows.len() as f64;
    let mut luck = Luck(7);
    for (version, rows) in &versions {
        let (truth, judge) = (mean(rows, |row| row.0), mean(rows, |row| row.1));
        let (mut naive, mut corrected, mut gain) = (0, 0, 0.0);
        for _ in 0..RUNS {
            let (labelled, rest) = draw(rows, &mut luck);
            naive += covers(&alone(&labelled, &rest), truth);
            let estimate = ppi::estimate(&labelled, &rest).unwrap();
            corrected += covers(&estimate, truth);
            gain += estimate.gain;
        }
        let share = |count: u32| 100.0 * f64::from(count) / f64::from(RUNS);
        println!(
            "{version}: n {}, true {truth:.3}, judge {judge:.3}: 95 % interval covers {:.1} % alone, {:.1} % corrected, label worth {:.2}",
            rows.len(),
            share(naive),
            share(corrected),
            gain / f64::from(RUNS)
        );
    }
    if let [(_, control), (_, canary)] = versions.iter().collect::<Vec<_>>().as_slice() {
        let truth = mean(canary, |row| row.0) - mean(control, |row| row.0);
        let (mut naive, mut corrected) = (0, 0);
        for _ in 0..RUNS {
            let ((ya, fa), (yb, fb)) = (draw(control, &mut luck), draw(canary, &mut luck));
            naive += covers(&ppi::difference(&alone(&yb, &fb), &alone(&ya, &fa)), truth);
            let (a, b) = (ppi::estimate(&ya, &fa).unwrap(), ppi::estimate(&yb, &fb).unwrap());
            corrected += covers(&ppi::difference(&b, &a), truth);
        }
        let share = |count: u32| 100.0 * f64::from(count) / f64::from(RUNS);
        println!(
            "difference, true {truth:+.3}: covers {:.1} % alone, {:.1} % corrected",
            share(naive),
            share(corrected)
        );
    }
}
