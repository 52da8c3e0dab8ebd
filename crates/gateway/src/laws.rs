//! What must hold of the small things that clients, proxies and providers send beside a body, whatever they are. The fuzz target
//! `edge` holds these laws over what it makes up; the tests here over samples.

use crate::client_address::{AddressHeader, TrustedProxies};
use crate::feedback;
use crate::phase::variables::Given;
use crate::request_id::RequestId;
use crate::socket::query;
use crate::telemetry::trace::{Sampler, Trace};
use crate::upstream::connections;
use crate::upstream::retry::retry_after;
use coalmine_core::time::UnixMs;
use coalmine_core::version::template::VALUE_MAX_BYTES;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// The client as the proxy that stands before us has seen it.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

/// Whatever a client writes of its address, in whatever lines, it is who its proxy says that it is.
pub fn address(written: &[u8]) {
    let networks = ["10.0.0.0/8"].iter().filter_map(|network| network.parse().ok()).collect();
    let mut proxies = TrustedProxies { networks, header: AddressHeader::XForwardedFor };
    for (header, own) in [
        (AddressHeader::XForwardedFor, "203.0.113.9"),
        (AddressHeader::XForwardedFor, "203.0.113.9:443, 10.0.0.7"),
        (AddressHeader::Forwarded, "for=203.0.113.9;proto=https"),
        (AddressHeader::XRealIp, "203.0.113.9"),
    ] {
        proxies.header = header;
        // In a line of its own, and behind the client's in the same.
        let mut headers = lines(header.name(), written);
        headers.append(HeaderName::from_static(header.name()), HeaderValue::from_static(own));
        assert_eq!(proxies.client(PROXY, &headers), CLIENT, "{header:?}");
        if header != AddressHeader::XRealIp && !written.contains(&b'\n') {
            let Ok(one) = HeaderValue::from_bytes(&[written, b", ", own.as_bytes()].concat()) else { continue };
            // Bytes that are no text make a line that tells nothing: it is the proxy itself then.
            let said =
                proxies.client(PROXY, &HeaderMap::from_iter([(HeaderName::from_static(header.name()), one.clone())]));
            assert!(said == CLIENT || one.to_str().is_err(), "{header:?} {said}");
        }
        assert_eq!(proxies.client(CLIENT, &headers), CLIENT, "nobody is believed who is no proxy");
    }
}

/// A trace that is read is one that is told on, as itself; what is none is left as it is.
pub fn trace(written: &[u8]) {
    let headers = lines("traceparent", written);
    let mut told = headers.clone();
    match Trace::of(&headers, Sampler::new(0.0)) {
        Some(trace) => {
            trace.put(&mut told);
            let again = Trace::of(&told, Sampler::OFF);
            assert_eq!(again.map(|again| (again.id, again.is_sampled())), Some((trace.id, trace.is_sampled())));
            assert!(told == headers || trace.span.is_some());
        }
        None => assert_eq!(told, headers),
    }
}

/// A pause that a provider asks for is a time, and the same at any later moment or shorter.
pub fn pause(written: &[u8]) {
    for name in ["retry-after", "retry-after-ms"] {
        let headers = lines(name, written);
        let (now, later) = (retry_after(&headers, UnixMs(0)), retry_after(&headers, UnixMs(u64::MAX)));
        assert_eq!(now.is_some(), later.is_some());
        assert!(later <= now);
        let _ = now.unwrap_or_default().saturating_add(Duration::MAX);
    }
}

/// What a client gives for variables is an object of bounded texts, the same to any reader, or is refused in few words; in
/// several lines it is refused whatever they say.
pub fn variables(written: &[u8]) {
    let headers = lines("x-coalmine-variables", written);
    let mut all = headers.values();
    let (first, more) = (all.next(), all.next());
    match (first, more, Given::read(&headers)) {
        (None, _, read) => assert!(read.is_ok_and(|given| given.values().is_none())),
        (Some(_), Some(_), read) => assert!(read.is_err()),
        (Some(only), None, Ok(given)) => {
            let values = given.values().cloned().unwrap_or_default();
            assert!(values.values().all(|value| value.len() <= VALUE_MAX_BYTES));
            // another reader takes no half of a surrogate pair
            let known = serde_json::from_slice::<BTreeMap<String, String>>(only.as_bytes());
            assert!(known.is_err() || known.is_ok_and(|known| known == values));
        }
        (Some(_), None, Err(refusal)) => assert!(format!("{refusal:?}").len() < 1_000),
    }
}

/// Nobody makes up an id of a request.
pub fn request_id(written: &str) {
    assert_eq!(RequestId::open(written, &[7; 32]), None);
    assert_eq!(RequestId::open(&format!("cmr_{written}"), &[7; 32]), None);
}

/// Where the query of an upgrade names a model, another is put in its place, once, and the rest stays.
pub fn model_of_query(written: &str) {
    let path = format!("/v1/realtime?{written}");
    let is_model = |pair: &&str| query::model(&format!("{pair}=x")).is_some();
    let named = written.split('&').filter_map(|pair| pair.split('=').next()).any(|name| is_model(&name));
    let model = "gpt realtime/2&model=x%+";
    let with = query::with_model(&path, model);
    let rest = with.strip_prefix("/v1/realtime?");
    assert!(rest.is_some() && (named || with == path));
    if let (true, Some(rest)) = (named, rest) {
        assert_eq!(query::model(rest).as_deref(), Some(model));
        assert_eq!(rest.split('&').filter_map(|pair| pair.split('=').next()).filter(is_model).count(), 1);
    }
    let _ = query::model(written);
}

/// An export of scores, in both of its forms.
pub fn export(body: &[u8]) {
    feedback::otlp::laws(body);
}

/// Feedback is counted before it is read, and each item stands in the body.
pub fn scores(body: &[u8]) {
    feedback::laws(body);
}

/// An answer of HTTP/1.1 is the same in whatever pieces it comes.
pub fn answer(written: &[u8]) {
    connections::laws(written);
}

/// Header lines of one name, as far as they may stand in a header at all.
fn lines(name: &'static str, written: &[u8]) -> HeaderMap {
    let values = written.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok());
    values.map(|value| (HeaderName::from_static(name), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SAMPLES: [&[u8]; 17] = [
        b"",
        b"198.51.100.1, \"203",
        b"for=\"198.51.100.1, for=10.0.0.1",
        b"[2001:db8::7]:80\n::ffff:10.0.0.1",
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        b"Wed, 21 Oct 2026 07:28:00 GMT",
        b"1e308",
        b"-0.5",
        b"a=1&model=r%2F&b=%20&model=s",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;e=1\r\nbo\r\n2\r\ndy\r\n0\r\nx: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nbody and more",
        b"HTTP/1.0 429 \r\n\r\nslow down",
        b"{\"company\":\"Globex \\\"East\\\"\",\"\\u0061\":\"\\ud83d\\ude00 \\ud800\",\"b\":\"\"}",
        b" {\"a\" : \"{{b}}\" , \"a\":\"\xc3\xa9\xff\"}\n{\"b\":0}",
        b"\x0a\x0c\x12\x0a\x12\x08\x62\x06gen_ai",
        b"{\"resourceLogs\":[{\"scopeLogs\":[{\"logRecords\":[{\"eventName\":\"e\",\"attributes\":[{\"key\":\"k\",\"value\":{\"intValue\":\"3\"}}]}]}]}]}",
    ];

    fn all(written: &[u8]) {
        address(written);
        trace(written);
        pause(written);
        variables(written);
        export(written);
        scores(written);
        answer(written);
        let text = String::from_utf8_lossy(written);
        request_id(&text);
        model_of_query(&text);
    }

    #[test]
    fn samples_keep_the_laws() {
        for sample in SAMPLES {
            for at in 0..=sample.len() {
                all(&sample[..at]);
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_keeps_the_laws(written in "[ -~\n]{0,80}") {
            all(written.as_bytes());
        }
    }
}
