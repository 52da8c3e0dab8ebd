//! What judges, graders, webhooks and model servers say is read to numbers within their range, or not at all.

use coalmine_wire::dialect::Dialect;
use coalmine_wire::exposition::Load;
use coalmine_wire::judge::{Scale, pairwise, pointwise, transcript};
use coalmine_wire::probe::Answer;
use coalmine_wire::probe::appeal;

/// Of any page of a model server: a line that is not understood changes nothing.
pub fn exposition(page: &[u8]) {
    let load = Load::read(page);
    if let Some(load) = load {
        assert!([load.running, load.waiting].into_iter().flatten().all(|n| n >= 0.0 && n.is_finite()));
        assert!(load.cache_used.is_none_or(|used| (0.0..=1.0).contains(&used)));
    }
    let commented = [b"# a comment {\"\n".as_slice(), page].concat();
    assert_eq!(Load::read(&commented), load);
}

/// Of any answer of a judge.
pub fn verdict(text: &str) {
    for (scale, range) in [(Scale::Binary, 0..=1), (Scale::Five, 1..=5)] {
        let scored = pointwise::read(scale, text);
        assert!(scored.as_ref().is_ok_and(|scored| range.contains(&scored.score)) || scored.is_err());
    }
    let _ = pairwise::read(text);
}

/// Of any request that a judge is shown: what it is shown is JSON, and bounded.
pub fn shown(body: &[u8]) {
    for dialect in Dialect::ALL {
        let shown = transcript::of_request(dialect, body);
        assert!(serde_json::from_str::<serde_json::Value>(&shown).is_ok_and(|shown| shown.is_array()));
    }
}

/// Of any body that answers a question, an embedding or a webhook.
pub fn body(body: &[u8]) {
    if let Some(answer) = Answer::read(body) {
        let _ = appeal::spoken(&answer);
    }
    for texts in [1, 2, 3] {
        let cosines = appeal::cosines(body, texts).unwrap_or_default();
        assert!(cosines.iter().all(|cosine| (-1.000_001..=1.000_001).contains(cosine)), "{cosines:?}");
        let _ = appeal::similar(body, texts, 0.5);
    }
    let _ = appeal::webhook(body, Some(0.5));
}
