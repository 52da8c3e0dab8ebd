//! Floats that survive JSON: a finite number is written as a number, the others as text
//! (`"inf"`, `"-inf"`, `"nan"`), where plain JSON would write `null` and fail to read it back.
//! For `#[serde(with = "crate::float")]`: a journal row with an evidence of 0 (log −∞) must be readable.

use serde::de::{self, Visitor};
use serde::{Deserializer, Serializer};
use std::fmt;

/// Writes `value`.
pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() {
        serializer.serialize_f64(*value)
    } else if value.is_nan() {
        serializer.serialize_str("nan")
    } else if value.is_sign_positive() {
        serializer.serialize_str("inf")
    } else {
        serializer.serialize_str("-inf")
    }
}

/// Reads what [`serialize`] wrote.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    deserializer.deserialize_any(Extended)
}

struct Extended;

impl Visitor<'_> for Extended {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, \"inf\", \"-inf\" or \"nan\"")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<f64, E> {
        Ok(value)
    }

    #[expect(clippy::cast_precision_loss, reason = "a float that was written without a fraction is read back as one")]
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<f64, E> {
        Ok(value as f64)
    }

    #[expect(clippy::cast_precision_loss, reason = "a float that was written without a fraction is read back as one")]
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<f64, E> {
        match text {
            "inf" => Ok(f64::INFINITY),
            "-inf" => Ok(f64::NEG_INFINITY),
            "nan" => Ok(f64::NAN),
            other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::analysis::Evidence;

    #[test]
    fn what_json_cannot_say_comes_back() {
        for log in [f64::NEG_INFINITY, f64::INFINITY, -0.1, 0.0, 7.0, -3.0, 1e300] {
            let evidence = Evidence { log, line: 4.6 };
            let text = serde_json::to_string(&evidence).unwrap();
            assert_eq!(serde_json::from_str::<Evidence>(&text).unwrap(), evidence, "{text}");
        }
        let text = serde_json::to_string(&Evidence { log: f64::NAN, line: 0.0 }).unwrap();
        assert!(serde_json::from_str::<Evidence>(&text).unwrap().log.is_nan());
    }

    #[test]
    fn other_texts_are_refused() {
        assert!(serde_json::from_str::<Evidence>(r#"{"log":"many","line":0.0}"#).is_err());
        assert!(serde_json::from_str::<Evidence>(r#"{"log":null,"line":0.0}"#).is_err());
    }
}
