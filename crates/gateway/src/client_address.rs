//! Who a client is by its address: whoever opened the connection, or, where that is a proxy of ours, whom that names.
//! A header is read from its end, which the nearest proxy wrote, and believed for as long as trusted proxies tell; what a
//! client wrote itself stands further to the front, and is never reached.

use http::HeaderMap;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Addresses that begin alike: `10.0.0.0/8`, `fd00::/8`, `192.0.2.7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// What is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Neither an address nor one with a length.
    #[error("not a network such as 10.0.0.0/8, fd00::/8 or 192.0.2.7")]
    Malformed,
    /// Bits of the address are set beyond its length: one of the two is a slip.
    #[error("the address has bits beyond its length /{0}")]
    Beyond(u8),
}

/// The one header in which trusted proxies name whom they had the request from. The others are believed of nobody: a
/// proxy that writes one of them passes the rest on as the client sent them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressHeader {
    /// `x-forwarded-for`, a list.
    #[default]
    XForwardedFor,
    /// `forwarded` (RFC 7239), a list.
    Forwarded,
    /// `x-real-ip`, one address.
    XRealIp,
}

/// Which peers are proxies that tell the truth; by default none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustedProxies {
    /// Where they stand.
    pub networks: Vec<Network>,
    /// Where they say whom they had the request from.
    pub header: AddressHeader,
}

impl Network {
    /// Whether an address lies in it.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => prefix(own.to_bits().into(), other.to_bits().into(), 32, self.bits),
            (IpAddr::V6(own), IpAddr::V6(other)) => prefix(own.to_bits(), other.to_bits(), 128, self.bits),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// Whether two numbers of `width` bits have the first `bits` in common.
fn prefix(one: u128, other: u128, width: u32, bits: u8) -> bool {
    (one ^ other).checked_shr(width - u32::from(bits)).unwrap_or(0) == 0
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Malformed)?;
        let (width, value) = match address {
            IpAddr::V4(four) => (32, u128::from(four.to_bits())),
            IpAddr::V6(six) => (128, six.to_bits()),
        };
        let plain = |bits: &&str| bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = match bits {
            None => width,
            Some(text) => Some(text).filter(plain).and_then(|bits| bits.parse().ok()).ok_or(NetworkError::Malformed)?,
        };
        if bits > width {
            return Err(NetworkError::Malformed);
        }
        let beyond = 1_u128.checked_shl(u32::from(width - bits)).map_or(u128::MAX, |end| end - 1);
        if value & beyond != 0 {
            return Err(NetworkError::Beyond(bits));
        }
        Ok(Self { address, bits })
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl AddressHeader {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
            Self::XRealIp => "x-real-ip",
        }
    }
}

impl TrustedProxies {
    fn trust(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.holds(address))
    }

    /// The client of a request that came from `peer`: the last address in the chain that is no trusted proxy. Where a
    /// trusted one names nobody, or what is no address, it is that proxy itself.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut last = peer.to_canonical();
        if !self.trust(last) {
            return last;
        }
        for line in headers.get_all(self.header.name()).iter().rev() {
            let Ok(line) = line.to_str() else { return last };
            let mut quoted = false;
            let hops = line.rsplit(|c: char| {
                quoted ^= c == '"';
                c == ',' && !quoted
            });
            for hop in hops {
                let Some(told) = self.told(hop) else { return last };
                last = told.to_canonical();
                if !self.trust(last) || self.header == AddressHeader::XRealIp {
                    return last;
                }
            }
        }
        last
    }

    /// Whom one hop names.
    fn told(&self, hop: &str) -> Option<IpAddr> {
        match self.header {
            AddressHeader::XForwardedFor | AddressHeader::XRealIp => node(hop),
            AddressHeader::Forwarded => hop.split(';').find_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                let value = value.trim();
                let bare = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
                name.trim().eq_ignore_ascii_case("for").then(|| node(bare))?
            }),
        }
    }
}

/// `192.0.2.7`, `192.0.2.7:80`, `2001:db8::7`, `[2001:db8::7]`, `[2001:db8::7]:80`.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let plain = inner.unwrap_or(text).parse().ok();
    plain.or_else(|| text.parse().ok().map(|with_port: SocketAddr| with_port.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn proxies(header: AddressHeader) -> TrustedProxies {
        let networks = ["10.0.0.0/8", "fd00::/8", "192.0.2.1"].map(|text| text.parse().unwrap());
        TrustedProxies { networks: networks.to_vec(), header }
    }

    fn said(header: AddressHeader, lines: &[&str]) -> HeaderMap {
        let line = |text: &&str| (HeaderName::from_static(header.name()), HeaderValue::from_str(text).unwrap());
        lines.iter().map(line).collect()
    }

    #[test]
    fn a_network_is_what_begins_alike() {
        let holds = |network: &str, address: &str| network.parse::<Network>().unwrap().holds(ip(address));
        assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.6"));
        assert!(holds("0.0.0.0/0", "203.0.113.9") && !holds("0.0.0.0/0", "::1") && holds("::/0", "2001:db8::1"));
        assert!(holds("2001:db8::/33", "2001:db8:7fff::1") && !holds("2001:db8::/33", "2001:db8:8000::1"));
        for (text, error) in [
            ("10.0.0.1/8", NetworkError::Beyond(8)),
            ("10.0.0.0/33", NetworkError::Malformed),
            ("10.0.0.0/+8", NetworkError::Malformed),
            ("10.0.0/8", NetworkError::Malformed),
            ("localhost", NetworkError::Malformed),
            ("::1/0", NetworkError::Beyond(0)),
        ] {
            assert_eq!(text.parse::<Network>(), Err(error), "{text}");
        }
    }

    #[test]
    fn the_client_is_the_last_address_that_is_no_proxy_of_ours() {
        let four = AddressHeader::XForwardedFor;
        for (peer, lines, client) in [
            ("203.0.113.9", &["198.51.100.1"][..], "203.0.113.9"),
            ("10.0.0.2", &[], "10.0.0.2"),
            ("10.0.0.2", &["203.0.113.9"], "203.0.113.9"),
            ("::ffff:10.0.0.2", &["203.0.113.9, 10.0.0.3"], "203.0.113.9"),
            // what the client wrote stands in front
            ("10.0.0.2", &["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.2", &["198.51.100.1", "203.0.113.9, 10.0.0.3"], "203.0.113.9"),
            ("10.0.0.2", &["10.0.0.9, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.2", &["10.0.0.9, 10.0.0.3"], "10.0.0.9"),
            ("10.0.0.2", &["198.51.100.1, unknown"], "10.0.0.2"),
            ("10.0.0.2", &["198.51.100.1, , 10.0.0.3"], "10.0.0.3"),
            ("fd00::2", &["[2001:db8::7]:4711"], "2001:db8::7"),
            ("fd00::2", &["203.0.113.9:443"], "203.0.113.9"),
        ] {
            assert_eq!(proxies(four).client(ip(peer), &said(four, lines)), ip(client), "{peer} {lines:?}");
        }
        assert_eq!(TrustedProxies::default().client(ip("127.0.0.1"), &said(four, &["203.0.113.9"])), ip("127.0.0.1"));
    }

    #[test]
    fn forwarded_is_read_as_its_rfc_has_it_and_no_quote_swallows_the_proxys_own() {
        let header = AddressHeader::Forwarded;
        for (lines, client) in [
            (&[r#"for=203.0.113.9;proto=https;by=10.0.0.2"#][..], "203.0.113.9"),
            (&[r#"For="[2001:db8::7]:4711""#], "2001:db8::7"),
            (&[r#"for=198.51.100.1, proto=http; for=203.0.113.9"#], "203.0.113.9"),
            (&[r#"for="198.51.100.1, for=203.0.113.9"#], "203.0.113.9"),
            (&[r#"for=203.0.113.9, for="_hidden""#], "10.0.0.2"),
            (&[r#"proto=https"#], "10.0.0.2"),
        ] {
            assert_eq!(proxies(header).client(ip("10.0.0.2"), &said(header, lines)), ip(client), "{lines:?}");
        }
    }

    #[test]
    fn one_header_is_believed_and_the_others_are_not() {
        let both = |header| {
            let mut all = said(AddressHeader::XForwardedFor, &["198.51.100.1"]);
            all.extend(said(AddressHeader::Forwarded, &["for=198.51.100.2"]));
            all.extend(said(AddressHeader::XRealIp, &["198.51.100.9", "10.0.0.3"]));
            proxies(header).client(ip("10.0.0.2"), &all)
        };
        assert_eq!(both(AddressHeader::XForwardedFor), ip("198.51.100.1"));
        assert_eq!(both(AddressHeader::Forwarded), ip("198.51.100.2"));
        assert_eq!(both(AddressHeader::XRealIp), ip("10.0.0.3"), "of several the last, and no chain of them");
    }

    proptest! {
        /// Whatever a client writes, its proxy adds the address that it sees, and that is the answer.
        #[test]
        fn no_text_of_a_client_changes_who_it_is(spoof in "[ -~]{0,60}", kind in 0..2_usize) {
            let header = [AddressHeader::XForwardedFor, AddressHeader::Forwarded][kind];
            let own = ["203.0.113.9", "for=203.0.113.9"][kind];
            let lines = format!("{spoof}, {own}");
            prop_assert_eq!(proxies(header).client(ip("10.0.0.2"), &said(header, &[&lines])), ip("203.0.113.9"));
        }
    }
}
