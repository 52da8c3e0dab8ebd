//! Unpacking what was packed by gzip, within a bound: nobody knows beforehand how large it is inside.

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use std::io::Read;

/// The most that a packed body may hold.
const UNPACKED_MAX_BYTES: usize = crate::feedback::BODY_MAX_BYTES;

/// Why there is nothing unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotUnpacked {
    /// It is no gzip, or broke off.
    #[error("the body is no gzip, whatever `content-encoding` says")]
    Broken,
    /// It holds more than is taken.
    #[error("the body holds more than {UNPACKED_MAX_BYTES} bytes; send fewer records at a time")]
    TooLarge,
}

/// What is inside, if that is no more than `most` bytes.
pub(super) fn gzip(packed: &[u8], most: usize) -> Result<Bytes, NotUnpacked> {
    let most = most.min(UNPACKED_MAX_BYTES);
    let mut inside = Vec::new();
    let mut reader = MultiGzDecoder::new(packed).take(most as u64 + 1);
    reader.read_to_end(&mut inside).map_err(|_| NotUnpacked::Broken)?;
    if inside.len() > most { Err(NotUnpacked::TooLarge) } else { Ok(inside.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        assert_eq!(gzip(&packed(b"hello"), 5).as_deref(), Ok(&b"hello"[..]));
        assert_eq!(gzip(&packed(b"hello"), 4), Err(NotUnpacked::TooLarge));
        let bomb = packed(&vec![0; UNPACKED_MAX_BYTES + 1]);
        assert!(bomb.len() < 16 << 10, "{}", bomb.len());
        assert_eq!(gzip(&bomb, usize::MAX), Err(NotUnpacked::TooLarge));
        let whole = packed(b"hello");
        assert_eq!(gzip(&whole[..whole.len() - 1], 99), Err(NotUnpacked::Broken));
        assert_eq!(gzip(b"no gzip at all", 99), Err(NotUnpacked::Broken));
    }
}
