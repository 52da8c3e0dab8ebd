//! Variables: what a client gives for those of its version's prompt, in a header of its own. The body stays the
//! provider's format, and the header ends here.

use crate::answer::Refusal;
use coalmine_core::version::template::VALUE_MAX_BYTES;
use coalmine_wire::openai::errors::Problem;
use coalmine_wire::variables;
use http::{HeaderMap, HeaderName};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

const HEADER: HeaderName = HeaderName::from_static("x-coalmine-variables");

/// What was given, by name. A name that a version does not declare is nothing to it: stable and canary may differ.
#[derive(Clone, Default)]
pub(crate) struct Given(Option<Arc<BTreeMap<String, String>>>);

impl Given {
    /// Reads the header, where it stands.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut told = headers.get_all(HEADER).iter();
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
