//! What people read of one release, whose numbers are made up.

use super::super::status::release_text;
use super::*;

fn explained() -> ExplainView {
    serde_json::from_str(include_str!("explained.json")).unwrap()
}

#[test]
fn an_explanation_reads_as_it_is_documented() {
    insta::assert_snapshot!("explain", explain_text(&explained(), Paint::Plain));
}

#[test]
fn a_status_reads_as_it_is_documented() {
    insta::assert_snapshot!("status", release_text(&explained().release, Paint::Plain));
}

#[test]
fn a_picture_has_evidence_band_counts_and_drift_of_every_guardrail() {
    let svg = picture::svg(&explained());
    insta::assert_snapshot!("picture", svg);
    let times = |what: &str| svg.matches(what).count();
    assert_eq!((times("<polygon class=\"band\""), times("<polyline class=\"n\"")), (2, 2));
    assert_eq!((times("<line class=\"drift\""), times("<line class=\"margin\"")), (2, 4));
    assert_eq!(times("NaN"), 0);
}

/// A server before this one kept no interval and no n.
#[test]
fn an_older_course_is_drawn_as_far_as_it_goes() {
    let mut old = explained();
    for point in old.tracks.iter_mut().flat_map(|track| &mut track.points) {
        (point.difference, point.n) = (None, None);
    }
    let svg = picture::svg(&old);
    assert!(svg.contains("no estimate yet") && !svg.contains("class=\"band\""), "{svg}");
    assert!(!explain_text(&old, Paint::Plain).contains("over time:"));
}
