//! What of an answer of HTTP/1.1 is yet to come: how it says where it ends, and its bytes without what frames them
//! (RFC 9112, sections 6 and 7).

/// The most of extensions of chunks and of trailers, of one answer together.
const BESIDE_BYTES_MAX: u32 = 16 << 10;

/// What is yet to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// So many bytes.
    Sized(u64),
    Chunks(Chunks),
    /// Whatever comes until the connection closes.
    UntilClosed,
}

/// Where in its chunks an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunks {
    at: At,
    /// What may still come of extensions and trailers.
    beside: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before the first digit of a size.
    Size,
    /// Behind one.
    Digits(u64),
    /// Behind all of them: spaces, and perhaps an extension.
    Spaces(u64),
    Extension(u64),
    /// Before the end of a size's line.
    SizeEnd(u64),
    /// Before so many bytes of a chunk.
    Data(u64),
    DataReturn,
    DataEnd,
    /// At the beginning of a trailer's line, or of the one that ends them all.
    Trailers,
    Trailer,
    LastEnd,
    Over,
}

/// What is not framed as it says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misframed {
    #[error("the size of a chunk is no number in hexadecimal digits")]
    Size,
    #[error("a chunk is not followed by the end of a line")]
    End,
    #[error("its chunks have extensions or trailers of more than {BESIDE_BYTES_MAX} bytes")]
    Beside,
}

impl Rest {
    pub(super) const NOTHING: Self = Self::Sized(0);
    pub(super) const CHUNKS: Self = Self::Chunks(Chunks { at: At::Size, beside: BESIDE_BYTES_MAX });

    /// Takes what has come, and gives on what of it is the answer, piece by piece. Says how many bytes belong to it;
    /// they are fewer than came only where it is over.
    pub(super) fn take<'a>(&mut self, came: &'a [u8], mut give: impl FnMut(&'a [u8])) -> Result<usize, Misframed> {
        match self {
            Self::Sized(left) => {
                let taken = at_most(came, *left);
                *left -= taken.len() as u64;
                if !taken.is_empty() {
                    give(taken);
                }
                Ok(taken.len())
            }
            Self::Chunks(chunks) => chunks.take(came, give),
            Self::UntilClosed => {
                if !came.is_empty() {
                    give(came);
                }
                Ok(came.len())
            }
        }
    }

    /// Whether nothing more comes.
    pub(super) const fn is_over(&self) -> bool {
        match self {
            Self::Sized(left) => *left == 0,
            Self::Chunks(chunks) => matches!(chunks.at, At::Over),
            Self::UntilClosed => false,
        }
    }

    /// How many bytes are yet to come, where that was told.
    pub(super) const fn left(&self) -> Option<u64> {
        match self {
            Self::Sized(left) => Some(*left),
            Self::Chunks(_) | Self::UntilClosed => None,
        }
    }
}

impl Chunks {
    fn take<'a>(&mut self, came: &'a [u8], mut give: impl FnMut(&'a [u8])) -> Result<usize, Misframed> {
        let mut read = 0;
        while read < came.len() && self.at != At::Over {
            if let At::Data(left) = self.at {
                let piece = at_most(&came[read..], left);
                give(piece);
                read += piece.len();
                let left = left - piece.len() as u64;
                self.at = if left == 0 { At::DataReturn } else { At::Data(left) };
            } else {
                self.at = self.next(came[read])?;
                read += 1;
            }
        }
        Ok(read)
    }

    /// Behind one more byte of what frames the chunks.
    fn next(&mut self, byte: u8) -> Result<At, Misframed> {
        Ok(match (self.at, byte) {
            (At::Size, _) => At::Digits(digit(byte).ok_or(Misframed::Size)?),
            (At::Digits(size) | At::Spaces(size) | At::Extension(size), b'\r') => At::SizeEnd(size),
            (At::Digits(size) | At::Spaces(size), b';') => At::Extension(size),
            (At::Digits(size) | At::Spaces(size), b' ' | b'\t') => self.beside(At::Spaces(size))?,
            (At::Digits(size), _) => {
                let more = digit(byte).filter(|_| size >> 60 == 0).ok_or(Misframed::Size)?;
                At::Digits(size << 4 | more)
            }
            (At::Extension(_) | At::Spaces(_), b'\n') | (At::Spaces(_), _) => return Err(Misframed::Size),
            (At::Extension(size), _) => self.beside(At::Extension(size))?,
            (At::SizeEnd(0), b'\n') => At::Trailers,
            (At::SizeEnd(size), b'\n') => At::Data(size),
            (At::DataReturn, b'\r') => At::DataEnd,
            (At::DataEnd, b'\n') => At::Size,
            (At::Trailers, b'\r') => At::LastEnd,
            (At::Trailer, b'\n') => At::Trailers,
            (At::Trailers | At::Trailer, _) if byte != b'\n' => self.beside(At::Trailer)?,
            (At::LastEnd, b'\n') | (At::Over, _) => At::Over,
            (At::SizeEnd(_) | At::DataReturn | At::DataEnd | At::Trailers | At::Trailer | At::LastEnd, _)
            | (At::Data(_), _) => return Err(Misframed::End),
        })
    }

    fn beside(&mut self, at: At) -> Result<At, Misframed> {
        self.beside = self.beside.checked_sub(1).ok_or(Misframed::Beside)?;
        Ok(at)
    }
}

fn digit(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

/// The first of the bytes, at most so many.
fn at_most(bytes: &[u8], most: u64) -> &[u8] {
    usize::try_from(most).ok().and_then(|most| bytes.get(..most)).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All that comes, in pieces of such sizes: the answer, how many bytes belong to it, and whether it is over.
    fn read(mut rest: Rest, all: &[u8], sizes: &[usize]) -> Result<(Vec<u8>, usize, bool), Misframed> {
        let (mut said, mut taken, mut sizes) = (Vec::new(), 0, sizes.iter().cycle());
        while taken < all.len() && !rest.is_over() {
            let piece = &all[taken..all.len().min(taken + sizes.next().unwrap())];
            let of_it = rest.take(piece, |given| said.extend_from_slice(given))?;
            taken += of_it;
            assert!(of_it == piece.len() || rest.is_over());
        }
        Ok((said, taken, rest.is_over()))
    }

    fn chunked(pieces: &[Vec<u8>], extension: &str, trailers: &str) -> Vec<u8> {
        let mut all = Vec::new();
        for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
            all.extend(format!("{:X}{extension}\r\n", piece.len()).into_bytes());
            all.extend_from_slice(piece);
            all.extend(b"\r\n");
        }
        all.extend(format!("0{extension}\r\n{trailers}\r\n").into_bytes());
        all
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for (all, error) in [
            ("\r\n", Misframed::Size),
            ("g\r\n", Misframed::Size),
            ("-1\r\n", Misframed::Size),
            ("0x1\r\n", Misframed::Size),
            ("1\n", Misframed::Size),
            ("1 2\r\n", Misframed::Size),
            ("1;a=b\n", Misframed::Size),
            ("10000000000000000\r\n", Misframed::Size),
            ("1\r\nab\r\n", Misframed::End),
            ("1\r\na\n", Misframed::End),
            ("1\ra", Misframed::End),
            ("0\r\n\n", Misframed::End),
            ("0\r\n\rx", Misframed::End),
        ] {
            assert_eq!(read(Rest::CHUNKS, all.as_bytes(), &[1]), Err(error), "{all:?}");
        }
        let long = format!("1;{}", "x".repeat(20_000));
        assert_eq!(read(Rest::CHUNKS, long.as_bytes(), &[999]), Err(Misframed::Beside));
        let many = format!("0\r\n{}", "a: b\r\n".repeat(4_000));
        assert_eq!(read(Rest::CHUNKS, many.as_bytes(), &[999]), Err(Misframed::Beside));
    }

    #[test]
    fn the_largest_size_is_a_number() {
        let mut rest = Rest::CHUNKS;
        rest.take(b"ffffffffffffffff\r\nabc", |_| ()).unwrap();
        assert_eq!(rest, Rest::Chunks(Chunks { at: At::Data(u64::MAX - 3), beside: BESIDE_BYTES_MAX }));
    }

    #[test]
    fn without_a_length_nothing_is_the_end() {
        assert_eq!(read(Rest::UntilClosed, b"abc", &[2]).unwrap(), (b"abc".to_vec(), 3, false));
        assert!(Rest::NOTHING.is_over());
    }

    proptest! {
        #[test]
        fn chunks_are_read_however_they_come(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            extension in "|;[a-z]{1,5}=[a-z]{0,5}| ;x|\t",
            trailers in "|x-a: 1\r\n|a:b\r\nc:d\r\n",
            behind in prop::collection::vec(any::<u8>(), 0..5),
            sizes in prop::collection::vec(1_usize..50, 1..9),
        ) {
            let mut all = chunked(&pieces, &extension, &trailers);
            let whole = all.len();
            all.extend(behind);
            let (said, taken, over) = read(Rest::CHUNKS, &all, &sizes).unwrap();
            prop_assert_eq!((said, taken, over), (pieces.concat(), whole, true));
            let cut = read(Rest::CHUNKS, &all[..whole - 1], &sizes).unwrap();
            prop_assert_eq!((cut.1, cut.2), (whole - 1, false));
        }

        #[test]
        fn whatever_comes_is_read_the_same_in_pieces(
            all in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'a'), Just(b';'), any::<u8>()], 0..60),
            sizes in prop::collection::vec(1_usize..9, 1..9),
        ) {
            prop_assert_eq!(read(Rest::CHUNKS, &all, &[99]), read(Rest::CHUNKS, &all, &sizes));
        }

        #[test]
        fn a_told_length_is_kept_to(all in prop::collection::vec(any::<u8>(), 0..60), length in 0_u64..80, sizes in prop::collection::vec(1_usize..9, 1..9)) {
            let most = all.len().min(usize::try_from(length).unwrap());
            let (said, taken, over) = read(Rest::Sized(length), &all, &sizes).unwrap();
            prop_assert_eq!((&said[..], taken, over), (&all[..most], most, length <= all.len() as u64));
        }
    }
}
