//! Golden vectors: numbers that independent packages produced, named with each vector.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;

use coalmine_stats::betting::{Bucket, Design, EProcess, Onset, Side};
use coalmine_stats::boundary::{self, Sides, Tuning};
use coalmine_stats::counts::{Events, Rates};
use coalmine_stats::interval::{Difference, Opening};
use coalmine_stats::limit::Bound;
use coalmine_stats::plan::{Forecast, optimum};
use coalmine_stats::restart::LateOnset;
use coalmine_stats::rivals::{asymptotic, fixed_sample, group_sequential, mann_whitney};
use coalmine_stats::sentinel::{Sentinel, tries};
use coalmine_stats::{merge, quantile, sketch, srm};
use serde_json::Value;

/// One family of vectors, by how their ids begin, and what checks one.
type Check = fn(&str, &Value, &Value, f64);

/// Every family. A vector that no family owns fails `every_vector_is_exercised`.
const FAMILIES: [(&str, Check); 20] = [
    ("tsb", two_sample),
    ("mix", mixture),
    ("design", growth_optimal),
    ("lr", likelihood_ratio),
    ("cs", confidence_sequence),
    ("restart", late_onset),
    ("merge", merged),
    ("cf", boundaries),
    ("gb", asymptotic_sequence),
    ("srm", sample_ratio),
    ("pois", event_counts),
    ("pair", paired),
    ("sent", sentinels),
    ("pw", sample_size),
    ("wil", wilson),
    ("mw", ranks),
    ("dd", sketches),
    ("obf", group_sequential_bounds),
    ("own-restart", restart_of_both_accounts),
    ("own-mix", restarted_process),
];

fn vectors() -> Vec<Value> {
    let files = [include_str!("golden/stats_golden.json"), include_str!("golden/own.json")];
    files.iter().flat_map(|file| read(file)["vectors"].as_array().unwrap().clone()).collect()
}

fn read(file: &str) -> Value {
    serde_json::from_str(file).unwrap()
}

fn family(id: &str) -> &str {
    id.rsplit_once('-').unwrap().0
}

/// Runs all vectors of a family and says how many there were.
fn run(name: &str) -> usize {
    let (_, check) = FAMILIES.iter().find(|(family, _)| *family == name).unwrap();
    let found: Vec<Value> = vectors().into_iter().filter(|v| family(v["id"].as_str().unwrap()) == name).collect();
    for vector in &found {
        check(vector["id"].as_str().unwrap(), &vector["input"], &vector["expected"], vector["tol"].as_f64().unwrap());
    }
    found.len()
}

#[test]
fn every_vector_is_exercised() {
    let all = vectors();
    let ids: BTreeSet<&str> = all.iter().map(|vector| vector["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), all.len(), "ids are unique");
    let owned = |id: &&str| FAMILIES.iter().any(|(name, _)| *name == family(id));
    let orphans: Vec<&&str> = ids.iter().filter(|id| !owned(id)).collect();
    assert!(orphans.is_empty(), "no check owns {orphans:?}");
    let exercised: usize = FAMILIES.iter().map(|(name, _)| run(name)).sum();
    assert_eq!(exercised, all.len());
    assert_eq!(read(include_str!("golden/stats_golden.json"))["vectors"].as_array().unwrap().len(), 42);
}

macro_rules! families {
    ($($test:ident: $name:literal is $count:literal;)*) => {
        $(
            #[test]
            fn $test() {
                assert_eq!(run($name), $count);
            }
        )*
    };
}

families! {
    tsb_two_sample_bets: "tsb" is 11;
    mix_mixtures: "mix" is 1;
    design_growth_optimal_bets: "design" is 1;
    lr_block_likelihood_ratio: "lr" is 1;
    cs_confidence_sequences: "cs" is 1;
    restart_late_onset: "restart" is 1;
    merge_weighted_mean: "merge" is 1;
    cf_boundaries: "cf" is 10;
    gb_asymptotic_confidence_sequence: "gb" is 3;
    srm_sample_ratio: "srm" is 3;
    pois_event_counts: "pois" is 1;
    pair_paired: "pair" is 1;
    sent_sentinels: "sent" is 2;
    pw_sample_size: "pw" is 1;
    wil_wilson: "wil" is 1;
    mw_mann_whitney: "mw" is 1;
    dd_sketch: "dd" is 1;
    obf_group_sequential: "obf" is 1;
    own_restart_accounts: "own-restart" is 2;
    own_mix_restarted_process: "own-mix" is 1;
}

#[track_caller]
fn near(id: &str, got: f64, expected: &Value, tol: f64) {
    let expected = expected.as_f64().unwrap();
    assert!((got - expected).abs() <= tol, "{id}: got {got}, expected {expected} within {tol}");
}

fn number(input: &Value, key: &str) -> f64 {
    input[key].as_f64().unwrap_or_else(|| panic!("{key} is missing in {input}"))
}

fn integer(input: &Value, key: &str) -> u64 {
    input[key].as_u64().unwrap_or_else(|| panic!("{key} is missing in {input}"))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn integers(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|x| x.as_u64().unwrap()).collect()
}

/// The input of another vector, which some refer to.
fn input_of(id: &str) -> Value {
    vectors().into_iter().find(|vector| vector["id"] == id).unwrap()["input"].clone()
}

fn tables(input: &Value) -> Vec<(Vec<u64>, Vec<u64>)> {
    let table = |bucket: &Value| (integers(&bucket["hist_control"]), integers(&bucket["hist_canary"]));
    input["buckets"].as_array().unwrap().iter().map(table).collect()
}

fn design(side: Side, centre: f64, ratio: f64, shift: f64) -> Design {
    Design { side, centre, ratio, shift, odds: 1.0 / 19.0, hint: None, onset: Onset::FromStart }
}

fn two_sample(id: &str, input: &Value, expected: &Value, tol: f64) {
    let values = numbers(&input["x"]);
    let design = design(Side::Rollback, number(input, "c"), number(input, "r"), number(input, "m"));
    let log_e = |(control, canary): &(Vec<u64>, Vec<u64>)| {
        design.log_factor(&Bucket { values: &values, control, canary }, number(input, "lambda_")).unwrap()
    };
    near(id, tables(input).iter().map(log_e).sum(), expected, tol);
}

fn mixture(id: &str, input: &Value, expected: &Value, tol: f64) {
    let of = input_of(input["buckets"].as_str().unwrap());
    let values = numbers(&of["x"]);
    let design = Design {
        odds: number(input, "kappa_plan"),
        ..design(Side::Rollback, number(input, "c"), number(input, "r"), number(input, "m"))
    };
    let mut process = EProcess::new(design).unwrap();
    for (control, canary) in &tables(&of) {
        process.seal(&Bucket { values: &values, control, canary }).unwrap();
    }
    near(id, process.log_e(), expected, tol);
}

fn growth_optimal(id: &str, input: &Value, expected: &Value, tol: f64) {
    let design = Design { odds: number(input, "kappa"), ..design(Side::Rollback, number(input, "c"), 1.0, 0.0) };
    let forecast = Forecast::yes_no(number(input, "pa"), number(input, "pb")).unwrap();
    let best = optimum(&design, &forecast).unwrap();
    near(id, best.lambda, &expected["lambda_star"], tol);
    near(id, best.growth, &expected["g"], tol);
}

fn likelihood_ratio(id: &str, input: &Value, expected: &Value, tol: f64) {
    let arm = |n: &str, k: &str| [integer(input, n) - integer(input, k), integer(input, k)];
    let bucket = Bucket { values: &[0.0, 1.0], control: &arm("na", "ka"), canary: &arm("nb", "kb") };
    let design = design(Side::Rollback, number(input, "c"), 1.0, 0.0);
    near(id, design.log_factor(&bucket, number(input, "lambda_")).unwrap(), expected, tol);
}

fn confidence_sequence(id: &str, input: &Value, expected: &Value, tol: f64) {
    static ROUND: [([u64; 2], [u64; 2]); 4] =
        [([931, 19], [47, 3]), ([929, 21], [46, 4]), ([933, 17], [48, 2]), ([930, 20], [47, 3])];
    assert_eq!(
        input["buckets"],
        "5 repeats of [([931,19],[47,3]),([929,21],[46,4]),([933,17],[48,2]),([930,20],[47,3])]"
    );
    let line = (1.0 / number(input, "alpha")).ln();
    let null = |side| design(side, number(input, "c"), 1.0, 0.0);
    let mut band = Difference::new(&[null(Side::Rollback), null(Side::Promote)]).unwrap();
    for (control, canary) in (0..5).flat_map(|_| &ROUND) {
        band.push(Opening::Plain, &Bucket { values: &[0.0, 1.0], control, canary }).unwrap();
    }
    near(id, band.log_e(0, 0.0), &input["logE_m0_rollback"], tol);
    near(id, band.log_e(1, 0.1), &input["logE_m01_promote"], tol);
    near(id, band.bound(0, line), &expected["lower"], tol);
    near(id, band.bound(1, line), &expected["upper"], tol);
}

/// The accounting of absolute masses: those of the restarts sum to one half. Ours are shares of that half.
fn late_onset(id: &str, input: &Value, expected: &Value, tol: f64) {
    let half = number(input, "gamma0");
    assert_eq!(half, 0.5);
    let shares: Vec<f64> = numbers(&input["gamma"]).iter().map(|gamma| gamma / half).collect();
    near(id, single_bet(&numbers(&input["log_e"]), &shares), expected, tol);
}

/// Both accounts of one mixture: shares of the insurance half, with what is not laid out held as cash.
fn restart_of_both_accounts(id: &str, input: &Value, expected: &Value, tol: f64) {
    near(id, single_bet(&numbers(&input["log_e"]), &numbers(&input["gamma"])), expected, tol);
}

/// One bet with the given ln e per bucket, and a restart before each.
fn single_bet(log_e: &[f64], gamma: &[f64]) -> f64 {
    let mut insured = LateOnset::new(Onset::StageRestarts);
    for (log_e, gamma) in log_e.iter().zip(gamma) {
        insured.restart(*gamma);
        insured.fold(*log_e);
    }
    insured.log_e()
}

fn restarted_process(id: &str, input: &Value, expected: &Value, tol: f64) {
    let values = numbers(&input["x"]);
    let design = Design {
        odds: number(input, "kappa_plan"),
        hint: Some(number(input, "hint")),
        onset: Onset::StageRestarts,
        ..design(Side::Rollback, number(input, "c"), number(input, "r"), number(input, "m"))
    };
    let mut process = EProcess::new(design).unwrap();
    for ((control, canary), gamma) in tables(input).iter().zip(numbers(&input["gamma"])) {
        process.restart(gamma);
        process.seal(&Bucket { values: &values, control, canary }).unwrap();
    }
    near(id, process.log_e(), expected, tol);
}

fn merged(id: &str, input: &Value, expected: &Value, tol: f64) {
    near(id, merge::weighted_mean(&numbers(&input["log_e"]), &numbers(&input["w"])), expected, tol);
}

fn boundaries(id: &str, input: &Value, expected: &Value, tol: f64) {
    let tuning = || Tuning { v_opt: number(input, "v_opt"), alpha_opt: number(input, "alpha_opt") };
    let sides = || if input["one_sided"].as_bool().unwrap() { Sides::One } else { Sides::Two };
    let (s, v) = (|| number(input, "s"), || number(input, "v"));
    let alpha = || number(input, "alpha");
    let got = match id {
        "cf-01" | "cf-02" => boundary::normal_mixture_bound(v(), alpha(), tuning(), sides()),
        "cf-03" => boundary::normal_log_mixture(s(), v(), tuning(), sides()),
        "cf-04" => {
            assert_eq!(sides(), Sides::Two);
            boundary::beta_binomial_log_mixture(s(), v(), tuning(), number(input, "g"), number(input, "h"))
        }
        "cf-05" => boundary::gamma_poisson_log_mixture(s(), v(), tuning(), number(input, "c")),
        "cf-06" => return bernoulli(id, input, expected, tol),
        "cf-07" => {
            let shape = (number(input, "v_min"), number(input, "c"), number(input, "eta"));
            boundary::poly_stitching_bound(v(), alpha(), shape.0, shape.1, s(), shape.2)
        }
        "cf-08" => {
            let (t, t_min) = (number(input, "t"), number(input, "t_min"));
            quantile::empirical_process_bound(t, alpha(), t_min, number(input, "A"))
        }
        "cf-09" => {
            let at = |key: &str| number(input, key);
            quantile::double_stitching_bound(at("p"), at("t"), alpha(), at("t_opt"), at("delta"), s(), at("eta"))
        }
        "cf-10" => {
            let (first, second) = (numbers(&input["arm1"]), numbers(&input["arm2"]));
            let at = |key: &str| number(input, key);
            quantile::two_sample_p_value(&first, &second, at("p"), at("t_opt"), at("alpha_opt"))
        }
        unknown => panic!("{unknown} is not known"),
    };
    near(id, got, expected, tol);
}

fn bernoulli(id: &str, input: &Value, expected: &Value, tol: f64) {
    let (alpha, t_opt) = (number(input, "alpha"), number(input, "t_opt"));
    let (bad, n) = (integer(input, "k"), integer(input, "n"));
    let (lower, upper) = boundary::bernoulli_interval(bad, n, alpha, t_opt, number(input, "alpha_opt"));
    near(id, lower, &expected[0], tol);
    near(id, upper, &expected[1], tol);
}

fn asymptotic_sequence(id: &str, input: &Value, expected: &Value, tol: f64) {
    let (planned, alpha) = (number(input, "N"), number(input, "alpha"));
    let width = |sides| asymptotic::half_width(number(input, "s2"), number(input, "n"), planned, alpha, sides);
    let got = match id {
        "gb-01" => width(Sides::One),
        "gb-02" => width(Sides::Two),
        "gb-03" => {
            assert_eq!(input["two_sided"], false);
            asymptotic::rho(alpha, planned, Sides::One)
        }
        unknown => panic!("{unknown} is not known"),
    };
    near(id, got, expected, tol);
}

fn sample_ratio(id: &str, input: &Value, expected: &Value, tol: f64) {
    let (counts, shares) = (integers(&input["counts"]), numbers(&input["theta0"]));
    near(id, srm::log_e(&counts, &shares, number(input, "k")).unwrap(), expected, tol);
}

fn event_counts(id: &str, input: &Value, expected: &Value, tol: f64) {
    let rates = Rates {
        side: Side::Rollback,
        ratio: number(input, "r"),
        shift: number(input, "m"),
        odds: 1.0,
        hint: None,
        onset: Onset::FromStart,
    };
    let events = Events {
        control: integer(input, "ka"),
        canary: integer(input, "kb"),
        control_exposure: number(input, "na"),
        canary_exposure: number(input, "nb"),
    };
    near(id, rates.log_factor(&events, number(input, "lambda_")).unwrap(), expected, tol);
}

fn paired(id: &str, input: &Value, expected: &Value, tol: f64) {
    assert_eq!(numbers(&input["x"]), coalmine_stats::paired::PREFERENCE);
    let bound = Bound::at_most(number(input, "m"));
    let (values, counts) = (numbers(&input["x"]), integers(&input["hist"]));
    near(id, bound.log_factor(&values, &counts, number(input, "lambda_")).unwrap(), expected, tol);
}

fn sentinels(id: &str, input: &Value, expected: &Value, tol: f64) {
    let got = if id == "sent-01" {
        let (runs, fails) = (integer(input, "n"), integer(input, "k"));
        Sentinel::new(number(input, "p0"), number(input, "p1")).unwrap().log_e(fails, runs - fails)
    } else {
        f64::from(tries(number(input, "phi"), number(input, "N"), number(input, "a")).unwrap())
    };
    near(id, got, expected, tol);
}

fn sample_size(id: &str, input: &Value, expected: &Value, tol: f64) {
    let got = fixed_sample::sample_size(number(input, "p1"), number(input, "p0"), number(input, "ratio"), 0.05, 0.8);
    near(id, got, expected, tol);
}

fn wilson(id: &str, input: &Value, expected: &Value, tol: f64) {
    let (lower, upper) = fixed_sample::wilson(integer(input, "k"), integer(input, "n"), 0.05);
    near(id, lower, &expected[0], tol);
    near(id, upper, &expected[1], tol);
}

fn ranks(id: &str, input: &Value, expected: &Value, tol: f64) {
    assert_eq!((&input["arm1"], &input["arm2"]), (&"cf-10[:40]".into(), &"cf-10[:40]".into()));
    let arms = input_of("cf-10");
    let (first, second) = (numbers(&arms["arm1"]), numbers(&arms["arm2"]));
    let (u, p) = mann_whitney::test(&first[..40], &second[..40]);
    near(id, u, &expected["U"], tol);
    near(id, p, &expected["p"], tol);
}

fn sketches(id: &str, input: &Value, expected: &Value, tol: f64) {
    assert_eq!(number(input, "accuracy"), 0.01);
    for (k, value) in numbers(&input["values"]).into_iter().enumerate() {
        near(id, f64::from(sketch::class(value)), &expected["keys"][k], 0.0);
        near(id, sketch::representative(sketch::class(value)), &expected["rep"][k], tol);
    }
}

fn group_sequential_bounds(id: &str, input: &Value, expected: &Value, tol: f64) {
    let looks = u32::try_from(integer(input, "K")).unwrap();
    let got = group_sequential::bounds(looks, number(input, "alpha"));
    assert_eq!(got.len(), expected.as_array().unwrap().len());
    for (k, bound) in got.into_iter().enumerate() {
        near(id, bound, &expected[k], tol);
    }
}
