//! The keys of `coalmine.yaml` that say which of a provider's addresses is asked.

use super::{COUNT, DURATION, NAME, SHARE, TEXT};
use crate::config::key::{Choice, Key, Kind, Scalar, Section};

/// One upstream.
pub static UPSTREAM: Section = Section {
    name: "upstream",
    doc: "One address of a provider.",
    keys: &[
        Key::required("url", Kind::Scalar(Scalar::Url), "Up to and with `/v1`."),
        Key::optional("region", NAME, "Where it stands; without it, where the gateway does. See `nearest`."),
        Key::optional("warm", COUNT, "Connections kept open ahead of need; over HTTP/2 one carries everything."),
        Key::default("warm_every", DURATION, "20s", "How often each of them is used, so that nobody closes it."),
    ],
};

/// A second address.
pub static HEDGE: Section = Section {
    name: "hedge",
    doc: "A second address is asked what the first has not begun to answer; whoever has content first answers, and the other is sent away. For providers with several addresses; never for responses, nor for what is kept under the request with whoever answers.",
    keys: &[
        Key::required(
            "after",
            DURATION,
            "So long without content; the 95th percentile of `coalmine_ttft_seconds`, say.",
        ),
        Key::default("max_share", SHARE, "5%", "Of the provider's requests, the most that are asked twice."),
    ],
};

/// Own failures.
pub static BREAKER: Section = Section {
    name: "breaker",
    doc: "When an address is put aside for its own failures: errors of the server (5xx), connections that break, no first byte in time. Never where its siblings fail alike, and never the last.",
    keys: &[
        Key::default("unreachable", COUNT, "3", "Connections in a row that cannot be had."),
        Key::default("failures", COUNT, "5", "Failures in a row."),
        Key::default("error_share", SHARE, "50%", "Share of failures among the answers of a window."),
        Key::default("least", COUNT, "20", "Answers of a window below which no share is formed."),
        Key::default("window", DURATION, "10s", "Within it numbers count fully; with each further one, half."),
        Key::default(
            "pause",
            DURATION,
            "1s",
            "How long it is left alone; then one request shows how it is. Doubled with each failure.",
        ),
        Key::default("pause_max", DURATION, "30s", "The longest pause."),
    ],
};

/// Siblings.
pub static OUTLIERS: Section = Section {
    name: "outliers",
    doc: "When an address is put aside for being worse than those beside it in its region.",
    keys: &[
        Key::default("every", DURATION, "10s", "How often they are compared."),
        Key::default("least", COUNT, "20", "Answers that each must have given since."),
        Key::default(
            "error_gap",
            SHARE,
            "20%",
            "So much above its siblings' share of failures; `100%`: errors are not compared.",
        ),
        Key::default(
            "slower",
            Kind::Scalar(Scalar::Number),
            "3",
            "So many times as slow to its first byte as its siblings (geometric means), and by 100 ms; or silent for so many times as long as they took.",
        ),
    ],
};

/// Active checks.
pub static HEALTH: Section = Section {
    name: "health",
    doc: "Each address is asked by itself whether it is well: any answer of 2xx.",
    keys: &[
        Key::default("path", TEXT, "/health", "From the root of the address's host."),
        Key::default("every", DURATION, "5s", "How often."),
        Key::default("within", DURATION, "2s", "How long an answer may take."),
        Key::default("unhealthy_after", COUNT, "3", "So many bad ones in a row, and it is not asked."),
        Key::default("healthy_after", COUNT, "2", "So many good ones in a row, and it is again."),
    ],
};

/// Before a stage.
pub static WARM_UP: Section = Section {
    name: "warm_up",
    doc: "Before a stage of a release begins, each address is sent prompts of the canary's own, until the times to the first token of three in a row are within 20 % of the middle one, or within 20 ms. They are no turns and no evidence.",
    keys: &[
        Key::default("prompt", TEXT, "Answer with one word: ready.", "What it is asked."),
        Key::default("tries", COUNT, "20", "The most answers of one address that are waited for."),
        Key::default("within", DURATION, "5m", "How long all of it may take, of the wall's time."),
        Key::default(
            "then",
            Kind::Scalar(Scalar::OneOf(UNWARMED)),
            "go",
            "What becomes of a stage whose upstreams did not get warm.",
        ),
    ],
};

/// Room.
pub static CAPACITY: Section = Section {
    name: "capacity",
    doc: "Each address is asked for its load, in Prometheus' text as vLLM writes it, and a release's weight is not raised beyond what fits: running and waiting requests, and the cache, taken to grow as the weight does.",
    keys: &[
        Key::default("path", TEXT, "/metrics", "From the root of the address's host."),
        Key::default("every", DURATION, "5s", "How often."),
        Key::default("within", DURATION, "2s", "How long an answer may take."),
        Key::default("most", SHARE, "85%", "So much of the cache, and of the slots, may be used."),
        Key::optional(
            "slots",
            COUNT,
            "Requests that one address works on at most (`--max-num-seqs`); without it only cache and queue count.",
        ),
    ],
};

/// What then.
const UNWARMED: &[Choice] = &[
    Choice::built("go", "it begins, and that is noted as a warning"),
    Choice::built("hold", "it waits; they are warmed again a minute later, and a person may start or advance it"),
];

/// Whose turn.
pub(super) const SPREADS: &[Choice] = &[
    Choice::built("sessions", "a session stays with one address, where its beginning is cached"),
    Choice::built("turns", "each address in its turn"),
];

/// What is near.
pub(super) const NEAREST: &[Choice] = &[
    Choice::built("listed", "the gateway's own region, then the others in the order of `upstreams`"),
    Choice::built("measured", "the region that answers soonest: a connection, or the look at its health"),
];
