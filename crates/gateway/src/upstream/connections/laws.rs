//! What must hold of whatever a provider answers.

use super::head::{Head, Then};
use super::single::{body, heads};
use http::{HeaderMap, Method, StatusCode};

/// So many ways to cut one in two are tried.
const CUTS: usize = 64;

/// An answer, as far as it came.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    head: Option<(StatusCode, HeaderMap)>,
    body: Vec<u8>,
    is_over: bool,
    then: Option<Then>,
}

/// It is the same in whatever pieces it comes.
pub(crate) fn laws(written: &[u8]) {
    let whole = heard([written]);
    for cut in (0..=written.len()).step_by(written.len() / CUTS + 1) {
        let (first, second) = written.split_at(cut);
        assert_eq!(heard([first, second]), whole, "cut at {cut}");
    }
    assert_eq!(heard(written.chunks(1)), whole, "in single bytes");
}

/// `None` where it is refused.
fn heard<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<Heard> {
    let (mut begun, mut head, mut all) = (Vec::new(), None::<Head>, Vec::new());
    for came in pieces.into_iter().filter(|piece| !piece.is_empty()) {
        let Some(head) = &mut head else {
            if let Some((found, first)) = heads(&mut begun, came, &Method::POST).ok()? {
                all.extend_from_slice(&first);
                head = Some(found);
            }
            continue;
        };
        let (piece, of_it) = body(&mut head.rest, came).ok()?;
        all.extend_from_slice(&piece);
        if of_it < came.len() {
            head.then = Then::Closed;
        }
    }
    let (is_over, then) = (head.as_ref().is_some_and(|head| head.rest.is_over()), head.as_ref().map(|head| head.then));
    Some(Heard { head: head.map(|head| (head.status, head.headers)), body: all, is_over, then })
}
