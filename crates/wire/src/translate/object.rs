//! The members of an object, read once.

use crate::json::{self, Scanner, Text};
use std::borrow::Cow;

/// An object. Of members that come twice the last one counts; `null` counts as absent.
pub(super) struct Object<'a>(Vec<(Text<'a>, &'a [u8])>);

impl<'a> Object<'a> {
    /// Reads an object; empty where there is none.
    pub(super) fn read(json: &'a [u8]) -> Self {
        let mut members: Vec<(Text<'a>, &'a [u8])> = Vec::with_capacity(8);
        let mut scanner = Scanner::new(json);
        if scanner.enter_object().is_err() {
            return Self(members);
        }
        while let Ok(Some(key)) = scanner.next_member() {
            let Ok(value) = scanner.value() else { break };
            members.retain(|(known, _)| !same(known, &key));
            if value != b"null" {
                members.push((key, value));
            }
        }
        Self(members)
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a [u8]> {
        self.0.iter().find(|(name, _)| name.is(key)).map(|(_, value)| *value)
    }

    /// The text of a member that is a string.
    pub(super) fn text(&self, key: &str) -> Option<Cow<'a, str>> {
        json::text(self.get(key)?)
    }

    /// A member that is a string, as it is written, quotes included.
    pub(super) fn string(&self, key: &str) -> Option<&'a [u8]> {
        self.get(key).filter(|value| value.starts_with(b"\""))
    }

    /// A member that is an object.
    pub(super) fn object(&self, key: &str) -> Option<Self> {
        self.get(key).filter(|value| value.starts_with(b"{")).map(Self::read)
    }

    /// A whole number.
    pub(super) fn count(&self, key: &str) -> Option<u64> {
        Scanner::new(self.get(key)?).count().ok()?
    }

    pub(super) fn is(&self, key: &str, text: &str) -> bool {
        self.text(key).is_some_and(|found| found == text)
    }

    /// The first member that is none of these.
    pub(super) fn other_than(&self, known: &[&str]) -> Option<Cow<'a, str>> {
        self.0.iter().find(|(name, _)| !known.iter().any(|known| name.is(known))).map(|(name, _)| name.decode())
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (Cow<'a, str>, &'a [u8])> {
        self.0.iter().map(|(name, value)| (name.decode(), *value))
    }
}

fn same(one: &Text<'_>, other: &Text<'_>) -> bool {
    if one.escaped || other.escaped { one.decode() == other.decode() } else { one.raw == other.raw }
}
