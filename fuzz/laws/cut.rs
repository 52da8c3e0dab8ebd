//! Whatever comes in pieces is the same in any pieces, and takes no more memory than its length warrants.

use std::fmt::Debug;

/// So many cuts of what is made up: it is made up by the million, and each has other ones.
pub const DRAWN: usize = 6;

/// What `see` makes of `input` whole. It must make the same of it byte by byte, cut in two at up to `cuts` offsets, and in
/// pieces of drawn lengths.
pub fn everywhere<T: PartialEq + Debug>(input: &[u8], cuts: usize, see: impl Fn(&[&[u8]]) -> T) -> T {
    let whole = see(&[input]);
    let single: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(see(&single), whole, "byte by byte");
    for at in offsets(input, cuts) {
        let (a, b) = input.split_at(at);
        assert_eq!(see(&[a, b]), whole, "cut at {at}");
    }
    assert_eq!(
        see(&drawn_pieces(input)),
        whole,
        "in pieces of {:?}",
        drawn_pieces(input).iter().map(|piece| piece.len()).collect::<Vec<_>>()
    );
    whole
}

/// Every offset of an input that has no more than `cuts`, and so many drawn ones of a longer.
pub fn offsets(input: &[u8], cuts: usize) -> Vec<usize> {
    if input.len() < cuts {
        return (0..=input.len()).collect();
    }
    let mut draw = Draw::from(input);
    (0..cuts).map(|_| draw.below(input.len() + 1)).collect()
}

/// Pieces of 0 to 31 bytes, or of 1 to 3; an empty piece is one as well.
fn drawn_pieces(input: &[u8]) -> Vec<&[u8]> {
    let mut draw = Draw::from(input);
    let longest = if draw.below(2) == 0 { 3 } else { 32 };
    let (mut rest, mut pieces) = (input, Vec::new());
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(draw.below(longest).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

/// Numbers that an input itself decides, so that a finding is found again (xorshift).
struct Draw(u64);

impl Draw {
    fn from(input: &[u8]) -> Self {
        let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self(input.iter().fold(0xcbf2_9ce4_8422_2325, mix) | 1)
    }

    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or_default() % end
    }
}

/// What `does` gives. It must never hold more than `fixed` bytes and `for_each` more per byte of an input of that length.
pub fn within<T>(length: usize, fixed: usize, for_each: usize, does: impl FnOnce() -> T) -> T {
    let mut out = None;
    let used = allocation_counter::measure(|| out = Some(does())).bytes_max;
    let most = fixed + for_each * length;
    assert!(used <= most as u64, "{used} bytes held for an input of {length}");
    out.expect("it was done")
}
