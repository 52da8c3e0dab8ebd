//! The keys of `judges/*.yaml`.

use super::{COUNT, DURATION, MONEY, PATH, SHARE, TEXT};
use crate::config::key::{Choice, Key, Kind, Scalar, Section};

/// `judges/*.yaml`.
pub static JUDGE: Section = Section {
    name: "judges/*.yaml",
    doc: "One judge: a pinned model that scores sampled answers by a rubric, blind to the arm. Model, parameters, rubric and scale are its identity.",
    keys: &[
        Key::required(
            "model",
            Kind::Scalar(Scalar::Model),
            "Provider and a dated snapshot of a model, best of another family than both versions.",
        ),
        Key::optional("params", Kind::Map("NAME", &Kind::Json), "Parameters; `temperature: 0` where there are none."),
        Key::required("rubric", Kind::Scalar(Scalar::Block), "What a good answer is, in words."),
        Key::default("scale", Kind::Scalar(Scalar::OneOf(SCALES)), "binary", "In what it scores."),
        Key::default(
            "turns",
            COUNT,
            "1",
            "So many turns of a session are scored, the first ones; the session counts with their mean.",
        ),
        Key::optional(
            "budget",
            MONEY,
            "What a day of UTC may cost. Once it is spent the metric has insufficient data until the next.",
        ),
        Key::optional("calls", COUNT, "How often it may be asked on a day of UTC."),
        Key::optional("labels", SHARE, "The share of the scored answers that wait for a human label."),
        Key::optional(
            "anchors",
            Kind::Section(&ANCHORS),
            "Answers with human labels, by which the judge itself is watched.",
        ),
    ],
};

/// The anchors of a judge.
pub static ANCHORS: Section = Section {
    name: "anchors",
    doc: "Answers with human labels: scored before the judge is believed, and then by the clock.",
    keys: &[
        Key::required("file", PATH, "Their file."),
        Key::default("every", DURATION, "6h", "How often they are scored anew."),
        Key::default("agree", SHARE, "70%", "The share that it must score as the labels say."),
        Key::default("margin", SHARE, "15%", "By how much that share may fall below that of the release's first run."),
    ],
};

/// `anchors/*.yaml`.
pub static ANCHOR_FILE: Section = Section {
    name: "anchors/*.yaml",
    doc: "Answers with human labels, written by people: no customer's text.",
    keys: &[Key::required("anchors", Kind::List(&Kind::Section(&ANCHOR)), "Each.")],
};

/// One anchor.
pub static ANCHOR: Section = Section {
    name: "anchor",
    doc: "One answer, or one pair of answers, with its label.",
    keys: &[
        Key::required("question", Kind::Scalar(Scalar::Block), "What was asked."),
        Key::required("answer", Kind::Scalar(Scalar::Block), "What was answered."),
        Key::optional("other", Kind::Scalar(Scalar::Block), "With `scale: pairs`: what was answered otherwise."),
        Key::required(
            "label",
            TEXT,
            "`pass` or `fail`, or 1 to 5, as the judge's scale is; of pairs which is better, `answer`, `other` or `tie`.",
        ),
    ],
};

static SCALES: &[Choice] = &[
    Choice::built("binary", "pass or fail: what models and people agree on best"),
    Choice::built("1-5", "five steps; a step is a quarter of the way"),
    Choice::built(
        "pairs",
        "which of two answers to the same request is better, asked in both orders; of a shadow's pairs",
    ),
];
