//! The keys of capture.

use super::{COUNT, DURATION, NAME, SECRET, SHARE, TEXT};
use crate::config::key::{Key, Kind, Scalar, Section};

/// What is captured of a route.
pub static ROUTE_CAPTURE: Section = Section {
    name: "capture of a route",
    doc: "Which answers of a running release are kept; how, the file's own `capture` says.",
    keys: &[
        Key::required(
            "sample",
            SHARE,
            "The share of sessions, drawn by a hash: of a release's the same in both arms, without one of those that stable answers.",
        ),
        Key::default("keep", DURATION, "7d", "After so long a captured answer is deleted."),
        Key::default(
            "text",
            Kind::Scalar(Scalar::Bytes),
            "16KB",
            "Of an answer, and of the conversation before it, so much is kept, 24KB at most; the rest is cut off.",
        ),
        Key::default("rows", COUNT, "1000", "Of each arm so many answers are kept; the oldest give way."),
    ],
};

/// How answers are captured.
pub static CAPTURE: Section = Section {
    name: "capture",
    doc: "Captured answers: their keys, what is taken out of them, and who may read them.",
    keys: &[
        Key::required(
            "key",
            SECRET,
            "Seals them: 64 hex digits, as `openssl rand -hex 32` prints them. It is never stored.",
        ),
        Key::optional(
            "earlier_keys",
            Kind::List(&SECRET),
            "Keys that sealed before this one, so that what they sealed can still be read.",
        ),
        Key::required(
            "readers",
            Kind::List(&NAME),
            "Operators who may read them, of those under `api.tokens`; nobody else may.",
        ),
        Key::optional(
            "patterns",
            Kind::Map("NAME", &TEXT),
            "Regular expressions of what else is taken out, beside mail, phone, card, account, keys and tokens; `[NAME]` is put there.",
        ),
        Key::optional(
            "webhook",
            NAME,
            "One of `assessors`, which is posted `{ texts: […] }` after the patterns and answers the same with more taken out; an answer that it does not give back is not kept.",
        ),
    ],
};
