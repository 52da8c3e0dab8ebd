//! What a key is: name, kind of value, whether it must stand, default, meaning. The tables in
//! [`crate::config::table`] are made of it; the reader, the nearest-key hints, the JSON Schemas and
//! the reference pages are all made from those tables.

/// A mapping with known keys.
#[derive(Debug)]
pub struct Section {
    /// Its name in the reference.
    pub name: &'static str,
    /// What it describes.
    pub doc: &'static str,
    /// Its keys, in the order of the reference.
    pub keys: &'static [Key],
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// As written.
    pub name: &'static str,
    /// What may stand under it.
    pub kind: Kind,
    /// Whether it must stand, and what holds where it does not.
    pub need: Need,
    /// What it means.
    pub doc: &'static str,
}

/// Whether a key must stand.
#[derive(Debug)]
pub enum Need {
    /// It must.
    Required,
    /// It may; without it the thing is absent.
    Optional,
    /// It may; without it this holds (as one would write it).
    Default(&'static str),
    /// The key belongs to the format and its capability is not there yet; the text is the mend.
    NotBuilt(&'static str),
}

/// What may stand under a key.
#[derive(Debug)]
pub enum Kind {
    /// A single value.
    Scalar(Scalar),
    /// A single value written as nothing (`null`).
    Null,
    /// A mapping with known keys.
    Section(&'static Section),
    /// A list.
    List(&'static Kind),
    /// A mapping whose keys are the user's own names of this.
    Map(&'static str, &'static Kind),
    /// The first of these that has the shape of what is written.
    Either(&'static [Kind]),
    /// Anything that JSON can say.
    Json,
}

/// The forms of single values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    /// `90s`, `15m`, `24h`, `3d`.
    Duration,
    /// `5%`, above 0 and at most 100 %, to a hundredth of a percent.
    Share,
    /// `0.5pp`, `10%` or `0`.
    Margin,
    /// A bound: `2%`, `1.5s`, `$0.20` or a number.
    Bound,
    /// `$40`.
    Money,
    /// `10MB`.
    Bytes,
    /// A whole number from here on.
    Integer(u64),
    /// A number above 0.
    Number,
    /// `5/min`.
    PerMinute,
    /// `on` or `off`.
    Switch,
    /// One of these words.
    OneOf(&'static [Choice]),
    /// Any text on one line.
    Text,
    /// Any text of any length.
    Block,
    /// A name: letters, digits, `.`, `_`, `-`.
    Name,
    /// `http://…` or `https://…`.
    Url,
    /// An address to listen on.
    Address,
    /// Addresses that begin alike: `10.0.0.0/8`.
    Network,
    /// `${NAME}`, `file:PATH` or `command:LINE`.
    Secret,
    /// A file, relative to the folder of the file that names it.
    Path,
    /// `sqlite:PATH` or `memory`.
    Store,
    /// `provider/model`.
    Model,
    /// Where a session's key is found.
    SessionSource,
    /// Where a customer's name is found.
    CustomerSource,
    /// `error_rate`, …, `feedback.NAME`.
    Metric,
    /// `hold 30m`, `rollback 30m`, `warn`.
    NoData,
    /// `fri 16:00 .. mon 08:00 Europe/Berlin`.
    Freeze,
}

/// One word of a closed set.
#[derive(Debug, PartialEq, Eq)]
pub struct Choice {
    /// As written; a prefix where it ends in a punctuation mark.
    pub word: &'static str,
    /// What it means.
    pub doc: &'static str,
    /// The mend, where the capability behind the word is not there yet.
    pub not_built: Option<&'static str>,
}

impl Key {
    /// A key that must stand.
    pub(crate) const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self { name, kind, need: Need::Required, doc }
    }

    /// A key without which the thing is absent.
    pub(crate) const fn optional(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self { name, kind, need: Need::Optional, doc }
    }

    /// A key without which `default` holds.
    pub(crate) const fn default(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Self {
        Self { name, kind, need: Need::Default(default), doc }
    }

    /// Whether it can be used today.
    pub(crate) fn is_built(&self) -> bool {
        !matches!(self.need, Need::NotBuilt(_))
    }
}

impl Choice {
    /// A word that can be used today.
    pub(crate) const fn built(word: &'static str, doc: &'static str) -> Self {
        Self { word, doc, not_built: None }
    }

    /// A word of the format whose capability is not there yet.
    pub(crate) const fn not_built(word: &'static str, doc: &'static str, mend: &'static str) -> Self {
        Self { word, doc, not_built: Some(mend) }
    }
}

impl Section {
    /// The key of this name.
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}
