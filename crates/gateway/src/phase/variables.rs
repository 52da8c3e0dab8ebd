//! Variables: what a client gives for those of its version's prompt, in a header of its own. The body stays the
//! provider's format, and the header ends here.

use crate::answer::Refusal;
use crate::headers::Headers;
use coalmine_core::version::template::VALUE_MAX_BYTES;
use coalmine_wire::openai::errors::Problem;
use coalmine_wire::variables;
use http::HeaderName;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

const HEADER: HeaderName = HeaderName::from_static("x-coalmine-variables");

/// What was given, by name. A name that a version does not declare is nothing to it: stable and canary may differ.
#[derive(Clone, Default)]
pub(crate) struct Given(Option<Arc<BTreeMap<String, String>>>);

impl Given {
    /// Reads the header, where it stands.
    pub(crate) fn read<'a>(headers: impl Into<Headers<'a>>) -> Result<Self, Refusal> {
        let mut told = headers.into().get_all(HEADER);
        let Some(only) = told.next() else { return Ok(Self::default()) };
        let refused = |why: &dyn fmt::Display| {
            Refusal::new(Problem::BadRequest, format!("the header '{HEADER}' cannot be read: {why}"))
        };
        if told.next().is_some() {
            return Err(refused(&"it stands twice: send it once, with all variables in one object"));
        }
        let values = variables::read(only.as_bytes(), VALUE_MAX_BYTES).map_err(|error| refused(&error))?;
        Ok(Self((!values.is_empty()).then(|| Arc::new(values))))
    }

    /// What was given, if anything.
    pub(crate) fn values(&self) -> Option<&BTreeMap<String, String>> {
        self.0.as_deref()
    }
}

/// Without the values, which are text of a prompt.
impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Given").field(&self.0.as_ref().map_or(0, |values| values.len())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderValue};

    fn of(values: &[&[u8]]) -> Result<Given, String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_bytes(value).unwrap());
        }
        Given::read(&headers).map_err(|refusal| format!("{refusal:?}"))
    }

    #[test]
    fn nothing_is_kept_where_nothing_is_given() {
        for none in [&[][..], &[&b"{}"[..]], &[&b" { } "[..]]] {
            assert!(of(none).unwrap().values().is_none());
        }
    }

    #[test]
    fn names_and_values_are_read_with_their_escapes_undone() {
        let read =
            of(&[br#"{"\u0063omp\u0061ny":"\u007b\u007btone\u007d\u007d","half":"\ud800x","utf8":"\u00e9"}"#]).unwrap();
        let values = read.values().unwrap();
        assert_eq!(values["company"], "{{tone}}", "braces are text, however they are written");
        assert_eq!((values["half"].as_str(), values["utf8"].as_str()), ("\u{fffd}x", "é"), "half a letter is none");
        assert_eq!(of(&["{\"a\":\"é\"}".as_bytes()]).unwrap().values().unwrap()["a"], "é", "as it is in UTF-8");
    }

    #[test]
    fn neither_a_refusal_nor_what_is_shown_tells_a_value() {
        let shown = format!("{:?}", of(&[br#"{"a":"hush","b":"hush"}"#]).unwrap());
        assert_eq!(shown, "Given(2)");
        let bad: [&[&[u8]]; 6] = [
            &[b"{\"a\":\"hush\",}"],
            &[b"{\"a\":\"hush\",\"b\":0}"],
            &[b"{\"a\":\"hush\",\"a\":\"hush\"}"],
            &[b"\"hush\""],
            &[b"{\"a\":\"hush\xff\"}"],
            &[b"{\"a\":\"hush\"}", b"{}"],
        ];
        for bad in bad {
            let told = of(bad).unwrap_err();
            assert!(told.contains("x-coalmine-variables") && !told.contains("hush"), "{told}");
        }
    }
}
