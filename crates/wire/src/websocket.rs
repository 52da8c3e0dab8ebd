//! Frames of websockets (RFC 6455): read as they come, in any pieces, and written.
//!
//! No extension is known: nothing here is packed. Frames in pieces become messages, control frames between them stay
//! by themselves.

use std::fmt;

/// The longest payload of a control frame.
const CONTROL_MAX_BYTES: usize = 125;
/// A frame's head: two bytes, eight of length, four of mask.
const HEAD_MAX_BYTES: usize = 14;
/// What is kept of a message's memory for the next one.
const KEPT_BYTES: usize = 64 << 10;

/// Who sends what is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// A client: its frames are masked.
    Client,
    /// A server: its frames are not.
    Server,
}

/// What a message is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// UTF-8; not checked.
    Text,
    /// Bytes.
    Binary,
}

/// What has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight<'a> {
    /// A whole message.
    Message(Content, &'a [u8]),
    /// A message that was longer than is kept.
    TooLong,
    /// A ping.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// The sender sends no more.
    Close(&'a [u8]),
}

/// Why what came is no websocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Bits are set that only extensions set.
    #[error("a frame has reserved bits set, and no extension was agreed on")]
    Reserved,
    /// Nobody knows this kind of frame.
    #[error("a frame is of an unknown kind")]
    Kind,
    /// A client must mask, a server must not.
    #[error("a frame is masked where it must not be, or is not where it must be")]
    Mask,
    /// A control frame in pieces, or too long.
    #[error("a control frame is in pieces, or longer than 125 bytes")]
    Control,
    /// A message goes on that has not begun, or begins within another.
    #[error("the pieces of a message are out of order")]
    Order,
    /// A length that no frame has.
    #[error("a frame says a length that no frame has")]
    Length,
    /// A close frame of one byte.
    #[error("a close frame has half a code")]
    Close,
}

/// The kinds of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// A message of text.
    Text,
    /// A message of bytes.
    Binary,
    /// The last frame of its sender.
    Close,
    /// To be answered by a pong.
    Ping,
    /// The answer to a ping.
    Pong,
}

/// Reads the frames of one sender.
pub struct Reader {
    from: Sender,
    max_bytes: usize,
    head: [u8; HEAD_MAX_BYTES],
    head_len: usize,
    /// The payload under way.
    under_way: Option<Payload>,
    /// The message under way: what has come of its payload.
    message: Vec<u8>,
    content: Option<Content>,
    too_long: bool,
    control: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Payload {
    of: Of,
    last: bool,
    left: u64,
    mask: Option<[u8; 4]>,
    at: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Message,
    Ping,
    Pong,
    Close,
}

impl Reader {
    /// Messages up to `max_bytes` are shown.
    #[must_use]
    pub fn new(from: Sender, max_bytes: usize) -> Self {
        Self {
            from,
            max_bytes,
            head: [0; HEAD_MAX_BYTES],
            head_len: 0,
            under_way: None,
            message: Vec::new(),
            content: None,
            too_long: false,
            control: Vec::new(),
        }
    }

    /// Takes the next bytes, and shows what they complete. After an error, nothing more can be read.
    pub fn feed<E: From<Broken>>(
        &mut self,
        mut bytes: &[u8],
        see: &mut impl FnMut(Sight<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            if self.under_way.is_none() {
                bytes = self.take_head(bytes)?;
            }
            let Some(mut payload) = self.under_way.take() else { return Ok(()) };
            let take = usize::try_from(payload.left).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at(take);
            self.keep(&mut payload, now);
            bytes = later;
            if payload.left > 0 {
                self.under_way = Some(payload);
                return Ok(());
            }
            self.show(payload, see)?;
        }
    }

    /// Whether no frame is under way: something else may be said in between.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        self.head_len == 0 && self.under_way.is_none()
    }

    /// How many bytes of a message are kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.message.len()
    }

    /// Reads a head; what follows it.
    fn take_head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Broken> {
        let mut rest = bytes;
        loop {
            let want = head_len(&self.head[..self.head_len]);
            let take = (want - self.head_len).min(rest.len());
            self.head[self.head_len..self.head_len + take].copy_from_slice(&rest[..take]);
            self.head_len += take;
            rest = &rest[take..];
            if self.head_len < want {
                return Ok(rest);
            }
            if head_len(&self.head[..self.head_len]) == self.head_len {
                break;
            }
        }
        self.under_way = Some(self.begin()?);
        self.head_len = 0;
        Ok(rest)
    }

    /// A head is complete.
    fn begin(&mut self) -> Result<Payload, Broken> {
        let [first, second, ..] = self.head;
        let (last, masked) = (first & 0x80 != 0, second & 0x80 != 0);
        if first & 0x70 != 0 {
            return Err(Broken::Reserved);
        }
        if masked != (self.from == Sender::Client) {
            return Err(Broken::Mask);
        }
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let (left, after) = match second & 0x7f {
            126 => (number(&self.head[2..4]), 4),
            127 => (number(&self.head[2..10]), 10),
            short => (u64::from(short), 2),
        };
        if left > u64::MAX >> 1 {
            return Err(Broken::Length);
        }
        let mut mask = [0; 4];
        mask.copy_from_slice(&self.head[after..after + 4]);
        let of = match (first & 0x0f, self.content) {
            (0, Some(_)) => Of::Message,
            (1, None) => self.message_of(Content::Text),
            (2, None) => self.message_of(Content::Binary),
            (0..=2, _) => return Err(Broken::Order),
            (8, _) => Of::Close,
            (9, _) => Of::Ping,
            (10, _) => Of::Pong,
            _ => return Err(Broken::Kind),
        };
        if of != Of::Message && (!last || left > CONTROL_MAX_BYTES as u64) {
            return Err(Broken::Control);
        }
        if of == Of::Close && left == 1 {
            return Err(Broken::Close);
        }
        Ok(Payload { of, last, left, mask: masked.then_some(mask), at: 0 })
    }

    fn message_of(&mut self, content: Content) -> Of {
        self.content = Some(content);
        Of::Message
    }

    fn keep(&mut self, payload: &mut Payload, bytes: &[u8]) {
        payload.left -= bytes.len() as u64;
        let into = match payload.of {
            Of::Message if self.too_long => return,
            Of::Message if self.message.len() + bytes.len() > self.max_bytes => {
                self.too_long = true;
                self.message = Vec::new();
                return;
            }
            Of::Message => &mut self.message,
            Of::Ping | Of::Pong | Of::Close => &mut self.control,
        };
        let start = into.len();
        into.extend_from_slice(bytes);
        if let Some(mask) = payload.mask {
            apply_mask(mask, payload.at, &mut into[start..]);
            payload.at += bytes.len();
        }
    }

    /// A frame has ended.
    fn show<E>(&mut self, payload: Payload, see: &mut impl FnMut(Sight<'_>) -> Result<(), E>) -> Result<(), E> {
        let shown = match payload.of {
            Of::Message if !payload.last => return Ok(()),
            Of::Message => {
                let content = self.content.take().unwrap_or(Content::Binary);
                let shown = if std::mem::take(&mut self.too_long) {
                    see(Sight::TooLong)
                } else {
                    see(Sight::Message(content, &self.message))
                };
                self.message.clear();
                self.message.shrink_to(KEPT_BYTES);
                return shown;
            }
            Of::Ping => Sight::Ping(&self.control),
            Of::Pong => Sight::Pong(&self.control),
            Of::Close => Sight::Close(&self.control),
        };
        let shown = see(shown);
        self.control.clear();
        shown
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No message is shown.
        f.debug_struct("Reader").field("from", &self.from).field("kept", &self.message.len()).finish_non_exhaustive()
    }
}

/// How long the head is that begins like this, as far as that can be told.
fn head_len(begun: &[u8]) -> usize {
    let Some(second) = begun.get(1) else { return 2 };
    let length = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + length + if second & 0x80 == 0 { 0 } else { 4 }
}

fn apply_mask(mask: [u8; 4], at: usize, bytes: &mut [u8]) {
    let mut turned = mask;
    turned.rotate_left(at % 4);
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte ^= turned[place % 4];
    }
}

/// Writes a frame; a client's has a mask.
pub fn write(frame: Frame, payload: &[u8], mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let kind = match frame {
        Frame::Text => 1,
        Frame::Binary => 2,
        Frame::Close => 8,
        Frame::Ping => 9,
        Frame::Pong => 10,
    };
    let masked = if mask.is_some() { 0x80 } else { 0 };
    out.reserve(payload.len() + HEAD_MAX_BYTES);
    out.push(0x80 | kind);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..126), _) => out.push(masked | short),
        (_, Ok(middle)) => {
            out.push(masked | 126);
            out.extend_from_slice(&middle.to_be_bytes());
        }
        (_, Err(_)) => {
            out.push(masked | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask.unwrap_or_default()[..if mask.is_some() { 4 } else { 0 }]);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        apply_mask(mask, 0, &mut out[start..]);
    }
}

/// The payload of a close frame; a reason is cut to what fits.
#[must_use]
pub fn close(code: u16, reason: &str) -> Vec<u8> {
    let fits = reason.floor_char_boundary(CONTROL_MAX_BYTES - 2);
    [&code.to_be_bytes()[..], &reason.as_bytes()[..fits]].concat()
}

/// What a client offers in `sec-websocket-protocol`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Protocols {
    /// The key that a browser shows there, for it can set no header (`openai-insecure-api-key.KEY`).
    pub key: Option<String>,
    /// The others, less those that name an organization or a project of the provider's.
    pub spoken: Vec<String>,
}

impl Protocols {
    /// Reads the values of the header.
    #[must_use]
    pub fn read<'a>(values: impl Iterator<Item = &'a str>) -> Self {
        let mut all = Self::default();
        for one in values.flat_map(|value| value.split(',')).map(str::trim).filter(|one| !one.is_empty()) {
            if let Some(key) = one.strip_prefix("openai-insecure-api-key.") {
                all.key = Some(key.to_owned());
            } else if !one.starts_with("openai-organization.") && !one.starts_with("openai-project.") {
                all.spoken.push(one.to_owned());
            }
        }
        all
    }
}

impl fmt::Debug for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Protocols").field("spoken", &self.spoken).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, PartialEq, Eq)]
    enum Seen {
        Message(Content, Vec<u8>),
        TooLong,
        Ping(Vec<u8>),
        Pong(Vec<u8>),
        Close(Vec<u8>),
    }

    fn read(from: Sender, max: usize, pieces: &[&[u8]]) -> Result<Vec<Seen>, Broken> {
        let mut reader = Reader::new(from, max);
        let mut seen = Vec::new();
        for piece in pieces {
            reader.feed::<Broken>(piece, &mut |sight| {
                seen.push(match sight {
                    Sight::Message(content, bytes) => Seen::Message(content, bytes.to_vec()),
                    Sight::TooLong => Seen::TooLong,
                    Sight::Ping(bytes) => Seen::Ping(bytes.to_vec()),
                    Sight::Pong(bytes) => Seen::Pong(bytes.to_vec()),
                    Sight::Close(bytes) => Seen::Close(bytes.to_vec()),
                });
                Ok(())
            })?;
        }
        Ok(seen)
    }

    #[test]
    fn the_examples_of_the_standard_are_read() {
        let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let hello = || Seen::Message(Content::Text, b"Hello".to_vec());
        assert_eq!(read(Sender::Client, 99, &[&masked]), Ok(vec![hello()]));
        let pieces = [&[0x01, 0x03, b'H', b'e', b'l'][..], &[0x89, 0x01, b'?'], &[0x80, 0x02, b'l', b'o']];
        assert_eq!(read(Sender::Server, 99, &pieces), Ok(vec![Seen::Ping(b"?".to_vec()), hello()]));
        assert_eq!(read(Sender::Server, 99, &[&[0x88, 0x02, 0x03, 0xe8]]), Ok(vec![Seen::Close(vec![3, 0xe8])]));
    }

    #[test]
    fn what_is_no_frame_is_said_to_be_none() {
        for (from, bytes, why) in [
            (Sender::Server, &[0xc1, 0x00][..], Broken::Reserved),
            (Sender::Server, &[0x83, 0x00], Broken::Kind),
            (Sender::Server, &[0x81, 0x80, 0, 0, 0, 0], Broken::Mask),
            (Sender::Client, &[0x81, 0x00], Broken::Mask),
            (Sender::Server, &[0x09, 0x00], Broken::Control),
            (Sender::Server, &[0x89, 0x7e, 0, 126], Broken::Control),
            (Sender::Server, &[0x80, 0x00], Broken::Order),
            (Sender::Server, &[0x01, 0x00, 0x81, 0x00], Broken::Order),
            (Sender::Server, &[0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0], Broken::Length),
            (Sender::Server, &[0x88, 0x01, 0x03], Broken::Close),
        ] {
            assert_eq!(read(from, 99, &[bytes]), Err(why));
        }
    }

    #[test]
    fn a_key_among_the_protocols_is_taken_out_and_never_shown() {
        let all = Protocols::read(["realtime, openai-insecure-api-key.ek_secret", "openai-project.p, x"].into_iter());
        assert_eq!((all.key.as_deref(), &all.spoken[..]), (Some("ek_secret"), &["realtime".into(), "x".into()][..]));
        assert!(!format!("{all:?}").contains("secret"));
    }

    #[test]
    fn a_reason_is_cut_to_what_fits() {
        let payload = close(1001, &"ü".repeat(99));
        assert_eq!((payload.len(), &payload[..2]), (124, &[3, 0xe9][..]));
    }

    fn frames() -> impl Strategy<Value = Vec<(Frame, Vec<u8>)>> {
        let kinds = [Frame::Text, Frame::Binary, Frame::Ping, Frame::Pong, Frame::Close];
        let length = prop_oneof![0_usize..200, Just(125), Just(126), 65_530_usize..65_540];
        let frame = (prop::sample::select(kinds.to_vec()), length).prop_map(|(kind, length)| {
            let length = if matches!(kind, Frame::Text | Frame::Binary) { length } else { length % 124 * 2 % 124 };
            let bytes = (0..length).map(|place| u8::try_from(place % 251).unwrap_or(0)).collect();
            (kind, bytes)
        });
        prop::collection::vec(frame, 0..6)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_whatever_the_cuts(frames in frames(), masked in any::<bool>(), mask in any::<[u8; 4]>(), cut in 1_usize..70) {
            let mut bytes = Vec::new();
            for (frame, payload) in &frames {
                write(*frame, payload, masked.then_some(mask), &mut bytes);
            }
            let from = if masked { Sender::Client } else { Sender::Server };
            let whole = read(from, 1 << 20, &[&bytes]).unwrap();
            let wanted: Vec<Seen> = frames.into_iter().map(|(frame, payload)| match frame {
                Frame::Text => Seen::Message(Content::Text, payload),
                Frame::Binary => Seen::Message(Content::Binary, payload),
                Frame::Close => Seen::Close(payload),
                Frame::Ping => Seen::Ping(payload),
                Frame::Pong => Seen::Pong(payload),
            }).collect();
            prop_assert_eq!(&whole, &wanted);
            let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
            prop_assert_eq!(read(from, 1 << 20, &pieces).unwrap(), wanted);
        }

        #[test]
        fn no_bytes_make_it_panic_and_no_cut_changes_what_is_read(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 1_usize..20) {
            for from in [Sender::Client, Sender::Server] {
                let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
                prop_assert_eq!(read(from, 64, &[&bytes]), read(from, 64, &pieces));
            }
        }
    }
}
