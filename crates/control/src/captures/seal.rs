//! The seal of a captured text: AES-256-GCM under a key of the site's environment, a fresh random nonce each, and what
//! is known of the row (tenant, route, release, arm, id) bound to it, so that a row in another one's place does not open.

use coalmine_core::capture::CaptureHead;
use coalmine_core::id::{ReleaseId, TenantId};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use std::fmt;

/// A key of 32 bytes. Never shown; known by a hash of it.
#[derive(Clone)]
pub struct SealKey {
    id: String,
    key: LessSafeKey,
}

/// The key in use, and earlier ones whose rows are still to be read.
#[derive(Debug, Clone)]
pub struct KeyRing {
    current: SealKey,
    earlier: Vec<SealKey>,
}

/// A text that could not be sealed or opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SealError {
    /// Give the key back, or wait until its rows have expired.
    #[error("it is sealed under key {0}, which is none of `capture.key` and `capture.earlier_keys`")]
    OtherKey(String),
    /// Somebody changed the row, or put it in another one's place.
    #[error("its seal is broken: it is not what was captured")]
    Broken,
    /// Try again.
    #[error("the machine gave no randomness")]
    NoRandomness,
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKey({})", self.id)
    }
}

impl SealKey {
    /// A key as it is written: 64 hex digits. `None` for anything else.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        let digits = text.trim().as_bytes();
        if digits.len() != 2 * bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            *byte = (digit(0)? << 4) | digit(1)?;
        }
        let id = blake3::derive_key("coalmine capture key id 1", &bytes);
        let id = blake3::Hash::from_bytes(id).to_hex().as_str().get(..8)?.to_owned();
        let key = UnboundKey::new(&AES_256_GCM, &bytes).ok()?;
        Some(Self { id, key: LessSafeKey::new(key) })
    }

    /// By which it is known.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl KeyRing {
    /// New rows are sealed under `current`.
    #[must_use]
    pub fn new(current: SealKey, earlier: Vec<SealKey>) -> Self {
        Self { current, earlier }
    }

    /// The id of the key that seals.
    #[must_use]
    pub fn current(&self) -> &str {
        &self.current.id
    }

    /// Seals a text: nonce, ciphertext, tag. `head` must name [`Self::current`].
    ///
    /// # Errors
    /// [`SealError::NoRandomness`].
    pub fn seal(&self, tenant: &TenantId, head: &CaptureHead, text: &[u8]) -> Result<Vec<u8>, SealError> {
        // Straight from the machine: a nonce that came twice would break the seal of both.
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| SealError::NoRandomness)?;
        let mut body = text.to_vec();
        let bound = Aad::from(bound(tenant, head));
        let sealed = self.current.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound, &mut body);
        sealed.map_err(|_| SealError::NoRandomness)?;
        let mut row = nonce.to_vec();
        row.append(&mut body);
        Ok(row)
    }

    /// Opens a row.
    ///
    /// # Errors
    /// When its key is not here, or the row is not what was sealed.
    pub fn open(&self, tenant: &TenantId, head: &CaptureHead, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let key = std::iter::once(&self.current).chain(&self.earlier).find(|key| key.id == head.key_id);
        let key = key.ok_or_else(|| SealError::OtherKey(head.key_id.clone()))?;
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(SealError::Broken)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Broken)?;
        let mut body = body.to_vec();
        let text = key.key.open_in_place(nonce, Aad::from(bound(tenant, head)), &mut body);
        Ok(text.map_err(|_| SealError::Broken)?.to_vec())
    }
}

/// What is bound to the text: each part with its length before it, so that no two rows are written alike.
fn bound(tenant: &TenantId, head: &CaptureHead) -> Vec<u8> {
    let mut bound = b"coalmine capture 1".to_vec();
    let id = head.id.0.to_be_bytes();
    for part in [
        tenant.as_str().as_bytes(),
        head.route.as_str().as_bytes(),
        head.release.as_ref().map_or("", ReleaseId::as_str).as_bytes(),
        head.arm.as_str().as_bytes(),
        &head.version.0,
        head.key_id.as_bytes(),
        &id,
    ] {
        bound.extend((part.len() as u64).to_be_bytes());
        bound.extend(part);
    }
    bound
}

#[cfg(test)]
mod tests {
    use super::*;
    use coalmine_core::capture::CaptureId;
    use coalmine_core::time::UnixMs;
    use coalmine_core::traffic::pin::Arm;
    use coalmine_core::version::VersionId;
    use proptest::prelude::*;

    fn key(digit: char) -> SealKey {
        SealKey::read(&digit.to_string().repeat(64)).unwrap()
    }

    fn head(key: &SealKey) -> CaptureHead {
        CaptureHead {
            id: CaptureId(7),
            route: "support".into(),
            release: Some("support-1".into()),
            arm: Arm::Canary,
            version: VersionId([1; 32]),
            at: UnixMs(1),
            expires_at: UnixMs(2),
            item: 3,
            key_id: key.id().to_owned(),
        }
    }

    #[test]
    fn a_key_is_64_hex_digits_and_shows_only_its_id() {
        for text in ["", "ab", &"g".repeat(64), &"a".repeat(63), &"é".repeat(32)] {
            assert!(SealKey::read(text).is_none(), "{text}");
        }
        assert_eq!(key('a').id(), key('A').id());
        assert_ne!(key('a').id(), key('b').id());
        assert_eq!(format!("{:?}", key('a')), format!("SealKey({})", key('a').id()));
    }

    #[test]
    fn what_stands_in_another_place_or_under_another_key_does_not_open() {
        let ring = KeyRing::new(key('a'), vec![key('b')]);
        let (tenant, head) = (TenantId::default(), head(&key('a')));
        let sealed = ring.seal(&tenant, &head, b"zebra").unwrap();
        assert_eq!(ring.open(&tenant, &head, &sealed).unwrap(), b"zebra");
        let others = [
            CaptureHead { id: CaptureId(8), ..head.clone() },
            CaptureHead { arm: Arm::Control, ..head.clone() },
            CaptureHead { route: "support2".into(), ..head.clone() },
            CaptureHead { release: Some("support-2".into()), ..head.clone() },
            CaptureHead { release: None, ..head.clone() },
            CaptureHead { key_id: key('b').id().to_owned(), ..head.clone() },
        ];
        for other in others {
            assert_eq!(ring.open(&tenant, &other, &sealed), Err(SealError::Broken), "{other:?}");
        }
        assert_eq!(ring.open(&TenantId::from("theirs"), &head, &sealed), Err(SealError::Broken));
        for cut in 0..sealed.len() {
            assert_eq!(ring.open(&tenant, &head, &sealed[..cut]), Err(SealError::Broken), "{cut}");
        }
        let renewed = KeyRing::new(key('c'), vec![key('a')]);
        assert_eq!(renewed.open(&tenant, &head, &sealed).unwrap(), b"zebra", "a renewed key still reads");
        let lost = KeyRing::new(key('c'), vec![]);
        assert_eq!(lost.open(&tenant, &head, &sealed), Err(SealError::OtherKey(head.key_id.clone())));
    }

    proptest! {
        #[test]
        fn nothing_of_a_text_shows_and_no_byte_can_be_changed(text in "\\PC{12,80}", at in any::<prop::sample::Index>()) {
            let ring = KeyRing::new(key('a'), vec![]);
            let (tenant, head) = (TenantId::default(), head(&key('a')));
            let sealed = ring.seal(&tenant, &head, text.as_bytes()).unwrap();
            prop_assert_ne!(&sealed, &ring.seal(&tenant, &head, text.as_bytes()).unwrap(), "a nonce of its own");
            prop_assert!(!sealed.windows(8).any(|part| text.as_bytes().windows(8).any(|own| own == part)));
            let mut changed = sealed.clone();
            changed[at.index(sealed.len())] ^= 1;
            prop_assert_eq!(ring.open(&tenant, &head, &changed), Err(SealError::Broken));
        }
    }
}
