//! Names of things. A newtype each, so that a route can never be passed for a release.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(/** Owner of everything below it. One default tenant, `default`, for now. */ TenantId);
name!(/** What clients put in `model`: `support-agent`. */ RouteName);
name!(/** One attempt to move a route: `support-agent-7`, the route and a running number. */ ReleaseId);
name!(/** A configured provider: `openai`. */ ProviderName);
name!(/** A customer as the request names it, or as its API key is registered. */ CustomerId);
name!(/** One gateway process; together with its epoch it makes intake idempotent. */ GatewayId);
name!(/** A client key, by the name that its operator gave it: `acme-prod`. Never its secret. */ KeyName);
name!(/** What is wrong with a route: `inc_4f2a91c3d0b7`. */ IncidentId);
name!(/** Who asked for something: an operator's name, or `coalmine` for the loop itself. */ Actor);

impl Default for TenantId {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl Actor {
    /// The control loop acting by itself.
    #[must_use]
    pub fn coalmine() -> Self {
        Self("coalmine".to_owned())
    }
}

/// The unit of randomisation, as a keyed 128-bit hash of (tenant, route, API key, session).
/// The text it was made from never leaves the gateway. Shown as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitKey(pub u128);

impl UnitKey {
    /// As it is shown: 32 hexadecimal digits.
    #[must_use]
    pub fn hex(self) -> [u8; 32] {
        let mut hex = [0; 32];
        for (two, byte) in hex.as_chunks_mut::<2>().0.iter_mut().zip(self.0.to_be_bytes()) {
            let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
            *two = [digit(byte >> 4), digit(byte & 15)];
        }
        hex
    }
}

impl fmt::Display for UnitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

impl fmt::Debug for UnitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnitKey({self})")
    }
}

impl Serialize for UnitKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UnitKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_hex = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let read = is_hex.then(|| u128::from_str_radix(&text, 16).ok()).flatten();
        read.map(Self).ok_or_else(|| serde::de::Error::custom("a unit key is 32 hex digits"))
    }
}

/// Fencing number of a route's table: strictly increasing; a receiver refuses an older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The one after this.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_key_is_written_and_read_as_32_digits() {
        let stored = serde_json::to_string(&UnitKey(0xab)).unwrap();
        assert_eq!(stored, format!("\"{}ab\"", "0".repeat(30)));
        assert_eq!(serde_json::from_str::<UnitKey>(&stored).unwrap(), UnitKey(0xab));
        for text in ["\"ab\"", &format!("\"+{}\"", "0".repeat(31)), &format!("\"{}\"", "0".repeat(33))] {
            assert!(serde_json::from_str::<UnitKey>(text).is_err(), "{text}");
        }
    }
}
