//! A request's headers, for whoever asks for one that is mostly not there.

use http::header::AsHeaderName;
use http::{HeaderMap, HeaderValue};

/// Headers, of which those that are not there are mostly told without a look: a name is hashed only where one of its
/// length and first letter is among theirs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Headers<'a> {
    all: &'a HeaderMap,
    /// A bit for each length and first letter of a name.
    seen: u64,
}

impl<'a> From<&'a HeaderMap> for Headers<'a> {
    fn from(all: &'a HeaderMap) -> Self {
        let seen = all.keys().fold(0, |seen, name| seen | bit(name.as_str()));
        Self { all, seen }
    }
}

impl<'a> Headers<'a> {
    /// The first of that name.
    pub(crate) fn get(self, name: impl AsHeaderName + AsRef<str>) -> Option<&'a HeaderValue> {
        if self.may_have(name.as_ref()) { self.all.get(name) } else { None }
    }

    /// All of that name.
    pub(crate) fn get_all(self, name: impl AsHeaderName + AsRef<str>) -> impl Iterator<Item = &'a HeaderValue> {
        let all = self.may_have(name.as_ref()).then(|| self.all.get_all(name));
        all.into_iter().flatten()
    }

    fn may_have(self, name: &str) -> bool {
        self.seen & bit(name) != 0
    }
}

/// The same for both cases of a letter. Others may share it.
fn bit(name: &str) -> u64 {
    let first = name.bytes().next().map_or(0, |byte| usize::from(byte & 31));
    1 << ((name.len() * 5 + first) % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finds_what_the_map_finds(there in prop::collection::vec("[a-c]{1,3}|x{60,70}", 0..6), asked in "[a-cA-C]{1,3}|x{60,70}") {
            let mut all = HeaderMap::new();
            for (at, name) in there.iter().enumerate() {
                all.append(HeaderName::try_from(name).unwrap(), HeaderValue::from(at));
            }
            let headers = Headers::from(&all);
            prop_assert_eq!(headers.get(&asked), all.get(&asked));
            prop_assert!(headers.get_all(&asked).eq(all.get_all(&asked)));
        }
    }
}
