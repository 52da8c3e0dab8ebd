//! The keys of a price in `coalmine.yaml`.

use super::{COUNT, MONEY, TEXT};
use crate::config::key::{Key, Kind, Section};

/// One price.
pub static PRICE: Section = Section {
    name: "price",
    doc: "US dollars for a million tokens.",
    keys: &[
        INPUT,
        CACHED_INPUT,
        CACHE_WRITE,
        CACHE_WRITE_1H,
        OUTPUT,
        REASONING,
        AUDIO_INPUT,
        AUDIO_OUTPUT,
        IMAGE_INPUT,
        IMAGE_OUTPUT,
        Key::optional("long", Kind::Section(&LONG), "What holds for a whole request instead, where its input is long."),
        Key::optional("as_of", TEXT, "The day on which it was so, as 2026-11-30; shown with what a release goes by."),
    ],
};

/// The price of requests with a long input.
pub static LONG: Section = Section {
    name: "long price",
    doc: "The price of requests with a long input: of all their tokens.",
    keys: &[
        Key::required("above", COUNT, "It holds where more tokens than this are read."),
        INPUT,
        CACHED_INPUT,
        CACHE_WRITE,
        CACHE_WRITE_1H,
        OUTPUT,
        REASONING,
        AUDIO_INPUT,
        AUDIO_OUTPUT,
        IMAGE_INPUT,
        IMAGE_OUTPUT,
    ],
};

const INPUT: Key = Key::required("input", MONEY, "Tokens read.");
const CACHED_INPUT: Key =
    Key::optional("cached_input", MONEY, "Tokens read from the provider's cache; without it, as `input`.");
const CACHE_WRITE: Key =
    Key::optional("cache_write", MONEY, "Tokens written into the provider's cache; without it, as `input`.");
const CACHE_WRITE_1H: Key =
    Key::optional("cache_write_1h", MONEY, "Of these, those that are kept for an hour; without it, as `cache_write`.");
const OUTPUT: Key = Key::required("output", MONEY, "Tokens written, reasoning included.");
const REASONING: Key = Key::optional("reasoning", MONEY, "Tokens of hidden reasoning; without it, as `output`.");
const AUDIO_INPUT: Key =
    Key::optional("audio_input", MONEY, "Tokens of sound read; without it, what requests with sound cost is unknown.");
const AUDIO_OUTPUT: Key = Key::optional("audio_output", MONEY, "Tokens of sound written; the same.");
const IMAGE_INPUT: Key =
    Key::optional("image_input", MONEY, "Tokens of pictures read, where they are told apart; without it, as `input`.");
const IMAGE_OUTPUT: Key =
    Key::optional("image_output", MONEY, "Tokens of pictures written; without it, what such requests cost is unknown.");
