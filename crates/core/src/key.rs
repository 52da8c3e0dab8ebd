//! Client keys: who may ask, for which routes, until when, and how much. Of a key's secret only a hash is
//! here; what a gateway is told of all keys is a [`KeyTable`].

mod quota;
mod spending;

pub use quota::{Quota, Usd};
pub use spending::{Day, Payer, Spending, Spent, Used, spent};

use crate::id::{Actor, CustomerId, Generation, KeyName, RouteName};
use crate::time::{SpanMs, UnixMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Secrets of one key that are good at the same time, at most: the present one and those in their grace.
pub const SECRETS_MAX: usize = 4;

/// What every secret begins with.
const MARK: &str = "ck_";
/// How many characters of a secret are shown: its mark and 32 of its 256 bits.
const SHOWN: usize = MARK.len() + 8;

/// A key as it is kept. Its name stays its own for good, also when it is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its name.
    pub name: KeyName,
    /// Grows with every change.
    pub generation: Generation,
    /// Its secrets, the present one last.
    pub secrets: Vec<KeySecret>,
    /// Whose requests these are.
    pub customer: Option<CustomerId>,
    /// The routes that it may use; `None`: all, and what is passed through.
    pub routes: Option<BTreeSet<RouteName>>,
    /// Nothing is admitted from here on.
    pub expires_at: Option<UnixMs>,
    /// How much may be asked under it.
    pub quota: Quota,
    /// When it was made.
    pub created_at: UnixMs,
    /// By whom.
    pub created_by: Actor,
    /// When and by whom it was revoked.
    pub revoked: Option<Revocation>,
}

/// One secret of a key, without the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySecret {
    /// BLAKE3 of its text.
    pub hash: KeyHash,
    /// Its first characters, to tell it from others.
    pub prefix: String,
    /// When it was made.
    pub issued_at: UnixMs,
    /// The end of its grace, once another one took its place.
    pub valid_until: Option<UnixMs>,
}

/// A key's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// When.
    pub at: UnixMs,
    /// By whom.
    pub by: Actor,
}

/// BLAKE3 of a secret of 256 random bits. Plain, since nothing that can be guessed is behind it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub [u8; 32]);

/// A secret's text, between its making and the one answer that shows it. It has no `Display` and no
/// `Serialize`, and its `Debug` keeps it.
pub struct FreshSecret(String);

/// What every gateway is told: replaced as a whole, an older one is refused.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct KeyTable {
    /// Strictly increasing.
    pub generation: Generation,
    /// All keys, those too that are good no more: the first of them closes the gateway to strangers.
    pub keys: Arc<Vec<Key>>,
    /// What is counted of this day and this month, by payer.
    pub spent: Arc<Vec<(Payer, Spent)>>,
}

/// Whether a secret opens anything now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It does.
    Good,
    /// The grace after a rotation is over.
    Replaced,
    /// The key has expired.
    Expired,
    /// The key was revoked.
    Revoked,
}

/// A change that the key's state does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefused {
    /// Make another one.
    #[error("key {0} was revoked; make a new one under another name")]
    Revoked(KeyName),
    /// Make another one.
    #[error("key {0} has expired; make a new one under another name")]
    Expired(KeyName),
    /// Give it more than nothing.
    #[error("key {name} would let nothing through with 0 {what}: give it more, or no bound, or revoke it")]
    Closed {
        /// The key.
        name: KeyName,
        /// Of what it would have nothing.
        what: &'static str,
    },
    /// Wait for the grace of one of them.
    #[error(
        "key {0} has {SECRETS_MAX} secrets that are good; rotate it again when one of them has run out, or with a grace of 0"
    )]
    Crowded(KeyName),
}

impl FreshSecret {
    /// The secret of these random bytes.
    #[must_use]
    pub fn of(random: [u8; 32]) -> Self {
        Self(format!("{MARK}{}", hex(&random)))
    }

    /// The text, for the one answer that shows it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn kept(&self, now: UnixMs) -> KeySecret {
        let prefix = self.0.chars().take(SHOWN).collect();
        KeySecret { hash: KeyHash::of(self.0.as_bytes()), prefix, issued_at: now, valid_until: None }
    }
}

impl fmt::Debug for FreshSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FreshSecret(..)")
    }
}

impl Key {
    /// A key with its first secret, without bounds.
    #[must_use]
    pub fn new(name: KeyName, secret: &FreshSecret, by: Actor, now: UnixMs) -> Self {
        Self {
            name,
            generation: Generation(1),
            secrets: vec![secret.kept(now)],
            customer: None,
            routes: None,
            expires_at: None,
            quota: Quota::default(),
            created_at: now,
            created_by: by,
            revoked: None,
        }
    }

    /// With another secret; the present one stays good for `grace`, and those in their grace to its end.
    ///
    /// # Errors
    /// For a key that is good no more, or has too many good secrets.
    pub fn rotate(&self, secret: &FreshSecret, grace: SpanMs, now: UnixMs) -> Result<Self, KeyRefused> {
        self.must_be_good(now)?;
        let mut next = self.clone();
        let until = now + grace;
        for old in &mut next.secrets {
            old.valid_until = Some(old.valid_until.map_or(until, |sooner| sooner.min(until)));
        }
        next.secrets.retain(|old| old.valid_until.is_some_and(|until| until > now));
        if next.secrets.len() >= SECRETS_MAX {
            return Err(KeyRefused::Crowded(self.name.clone()));
        }
        next.secrets.push(secret.kept(now));
        next.generation = self.generation.next();
        Ok(next)
    }

    /// With another quota.
    ///
    /// # Errors
    /// For a key that is good no more, and for a quota of nothing.
    pub fn limit(&self, quota: Quota, now: UnixMs) -> Result<Self, KeyRefused> {
        self.must_be_good(now)?;
        Ok(Self { generation: self.generation.next(), ..self.clone().with_quota(quota)? })
    }

    /// A key that is not kept yet, with this quota.
    ///
    /// # Errors
    /// For a quota of nothing.
    pub fn with_quota(self, quota: Quota) -> Result<Self, KeyRefused> {
        match quota.closed_by() {
            None => Ok(Self { quota, ..self }),
            Some(what) => Err(KeyRefused::Closed { name: self.name, what }),
        }
    }

    /// Revoked: none of its secrets opens anything from now on. One that is revoked already stays as it is.
    #[must_use]
    pub fn revoke(&self, by: Actor, now: UnixMs) -> Self {
        if self.revoked.is_some() {
            return self.clone();
        }
        Self { revoked: Some(Revocation { at: now, by }), generation: self.generation.next(), ..self.clone() }
    }

    /// Whether the key itself is good at `now`, whatever its secrets are.
    #[must_use]
    pub fn standing(&self, now: UnixMs) -> Standing {
        if self.revoked.is_some() {
            Standing::Revoked
        } else if self.expires_at.is_some_and(|at| at <= now) {
            Standing::Expired
        } else {
            Standing::Good
        }
    }

    /// Whether it may use this route.
    #[must_use]
    pub fn may_use(&self, route: &RouteName) -> bool {
        self.routes.as_ref().is_none_or(|routes| routes.contains(route))
    }

    fn must_be_good(&self, now: UnixMs) -> Result<(), KeyRefused> {
        match self.standing(now) {
            Standing::Good | Standing::Replaced => Ok(()),
            Standing::Expired => Err(KeyRefused::Expired(self.name.clone())),
            Standing::Revoked => Err(KeyRefused::Revoked(self.name.clone())),
        }
    }
}

impl KeySecret {
    /// Whether it opens what its key opens.
    #[must_use]
    pub fn standing(&self, key: &Key, now: UnixMs) -> Standing {
        match key.standing(now) {
            Standing::Good if self.valid_until.is_some_and(|until| until <= now) => Standing::Replaced,
            other @ (Standing::Good | Standing::Replaced | Standing::Expired | Standing::Revoked) => other,
        }
    }
}

impl KeyHash {
    /// Of a secret's text.
    #[must_use]
    pub fn of(secret: &[u8]) -> Self {
        Self(*blake3::hash(secret).as_bytes())
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash({}…)", hex(&self.0[..4]))
    }
}

impl Serialize for KeyHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let read = blake3::Hash::from_hex(&text).map(|hash| Self(*hash.as_bytes()));
        read.map_err(|_| serde::de::Error::custom("the hash of a key is 64 hex digits"))
    }
}

/// Whether a key may be called so: 1 to 128 letters, digits, `.`, `_`, `-`.
#[must_use]
pub fn is_key_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=128).contains(&text.len()) && text.bytes().all(fits)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
