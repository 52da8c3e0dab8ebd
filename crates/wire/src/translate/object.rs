//! The members of an object, read once.

use crate::json::{self, Scanner, Text};
use std::borrow::Cow;

/// An object. Of members that come twice the last one counts; `null` counts as absent. Whoever goes through all of them
/// meets both, for an object may have as many members as a body has room for, and is read in one go.
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
            members.push((key, value));
        }
        Self(members)
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a [u8]> {
        self.0.iter().rfind(|(name, _)| name.is(key)).map(|(_, value)| *value).filter(|value| *value != b"null")
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
        self.present().find(|(name, _)| !known.iter().any(|known| name.is(known))).map(|(name, _)| name.decode())
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (Cow<'a, str>, &'a [u8])> {
        self.present().map(|(name, value)| (name.decode(), *value))
    }

    fn present(&self) -> impl Iterator<Item = &(Text<'a>, &'a [u8])> {
        self.0.iter().filter(|(_, value)| *value != b"null")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_members_that_come_twice_the_last_one_counts() {
        let object = Object::read(br#"{"a":1,"b":2,"\u0061":3,"b":null,"c":null}"#);
        assert_eq!((object.count("a"), object.get("b"), object.get("c")), (Some(3), None, None));
        assert_eq!(object.other_than(&["a", "b"]), None);
        assert_eq!(object.other_than(&["a"]).as_deref(), Some("b"), "what stands there first is looked at too");
    }

    /// Each member was held against all before it once, for minutes.
    #[test]
    fn an_object_of_very_many_members_is_read_in_one_go() {
        let members: Vec<String> = (0..300_000).map(|n| format!("\"m{n}\":{n}")).collect();
        let written = format!("{{{}}}", members.join(","));
        let object = Object::read(written.as_bytes());
        assert_eq!((object.count("m0"), object.count("m299999")), (Some(0), Some(299_999)));
    }
}
