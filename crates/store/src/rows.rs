//! Stored documents: a JSON object `{"v":1,"row":…}`, so that a later build knows the shape of what
//! an earlier one wrote. The golden files beside this module hold every variant as written; a
//! change of shape breaks them, and then needs a new number and a reader for the old one.

use crate::StoreError;
use coalmine_core::capture::{CaptureHead, CaptureUse};
use coalmine_core::evidence::{SealedBucket, Session, Yardstick};
use coalmine_core::incident::Incident;
use coalmine_core::key::Key;
use coalmine_core::release::effect::Effect;
use coalmine_core::release::report::JournalRow;
use coalmine_core::release::state::Release;
use coalmine_core::shadow::young::MirroredSession;
use coalmine_core::version::Version;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A type that is stored as a document.
pub(crate) trait Document: Serialize + DeserializeOwned {
    /// In an error's words.
    const WHAT: &'static str;
    /// The number of the shape that this build writes.
    const V: u32 = 1;
}

impl Document for Release {
    const WHAT: &'static str = "release";
}
impl Document for JournalRow {
    const WHAT: &'static str = "journal row";
}
impl Document for Effect {
    const WHAT: &'static str = "effect";
}
impl Document for Version {
    const WHAT: &'static str = "version";
}
impl Document for Session {
    const WHAT: &'static str = "session";
}
impl Document for MirroredSession {
    const WHAT: &'static str = "mirrored session";
}
impl Document for SealedBucket {
    const WHAT: &'static str = "sealed bucket";
}
impl Document for Incident {
    const WHAT: &'static str = "incident";
}
impl Document for Key {
    const WHAT: &'static str = "key";
}
impl Document for CaptureHead {
    const WHAT: &'static str = "capture";
}
impl Document for CaptureUse {
    const WHAT: &'static str = "use of captures";
}
impl Document for Yardstick {
    const WHAT: &'static str = "yardstick";
}

#[derive(Serialize)]
struct Written<'a, T> {
    v: u32,
    row: &'a T,
}

#[derive(Deserialize)]
struct Found<'a> {
    v: u32,
    #[serde(borrow)]
    row: &'a RawValue,
}

/// The document of `row`.
pub(crate) fn encode<T: Document>(row: &T) -> Result<String, StoreError> {
    serde_json::to_string(&Written { v: T::V, row }).map_err(unwritable::<T>)
}

fn unwritable<T: Document>(error: serde_json::Error) -> StoreError {
    StoreError::Corrupt { what: format!("a {} that has no written form: {error}", T::WHAT) }
}

/// The row of a document.
pub(crate) fn decode<T: Document>(text: &str) -> Result<T, StoreError> {
    let unreadable = |e: serde_json::Error| StoreError::Corrupt { what: format!("a {}: {e}", T::WHAT) };
    let found: Found<'_> = serde_json::from_str(text).map_err(unreadable)?;
    if found.v != T::V {
        let (what, v, known) = (T::WHAT, found.v, T::V);
        return Err(StoreError::Corrupt {
            what: format!("a {what} of form {v}, and this build reads form {known}; install the build that wrote it"),
        });
    }
    serde_json::from_str(found.row.get()).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::sample;
    use proptest::prelude::*;
    use std::fmt::Debug;
    use std::path::Path;

    /// Reads every golden document and compares it with its sample, and the other way round.
    /// `COALMINE_BLESS=1` writes the files anew; in a released form that is never right.
    fn golden<T: Document + PartialEq + Debug>(name: &str, samples: &[T]) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/golden").join(format!("{name}.v{}.jsonl", T::V));
        let written: String = samples.iter().map(|row| encode(row).unwrap() + "\n").collect();
        if std::env::var_os("COALMINE_BLESS").is_some() {
            std::fs::write(&path, &written).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap();
        assert_eq!(golden.lines().count(), samples.len(), "{name}: a variant without a golden line");
        for ((line, now), sample) in golden.lines().zip(written.lines()).zip(samples) {
            assert_eq!(now, line, "{name}: the written form has changed");
            assert_eq!(decode::<T>(line).unwrap(), *sample, "{name}");
        }
    }

    #[test]
    fn every_stored_form_is_as_it_was() {
        golden("release", &sample::releases_in_every_state());
        golden("journal", &sample::journal_rows_of_every_kind());
        golden("effect", &sample::effects_of_every_kind());
        golden("version", &sample::versions_of_every_kind());
        golden("session", &[sample::session()]);
        golden("mirrored_session", &sample::mirrored_sessions());
        golden("sealed_bucket", &sample::sealed_buckets());
        golden("incident", &sample::incidents());
        golden("key", &sample::keys());
        golden("capture", &[sample::capture(1, 7).head, sample::steady_capture(2, 8).head]);
        golden("capture_use", &sample::capture_uses());
        golden("yardstick", &[sample::yardstick()]);
    }

    #[test]
    fn a_newer_form_is_refused_by_its_number() {
        let newer = encode(&sample::session()).unwrap().replacen("\"v\":1", "\"v\":2", 1);
        let refusal = decode::<Session>(&newer).unwrap_err().to_string();
        assert!(refusal.contains("a session of form 2"), "{refusal}");
    }

    #[test]
    fn what_is_no_document_is_corrupt() {
        for text in ["", "{}", "null", "{\"v\":1}", "{\"v\":1,\"row\":{}}", "{\"v\":-1,\"row\":{}}"] {
            assert!(matches!(decode::<Session>(text), Err(StoreError::Corrupt { .. })), "{text}");
        }
    }

    proptest! {
        /// A decision is replayed from what is stored: no float may come back another.
        #[test]
        fn floats_come_back_to_the_last_bit(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let mut session = sample::session();
            for sums in session.sums.values_mut() {
                sums.session = value;
            }
            let back: Session = decode(&encode(&session).unwrap()).unwrap();
            for sums in back.sums.values() {
                prop_assert_eq!(sums.session.to_bits(), value.to_bits());
            }
        }
    }
}
