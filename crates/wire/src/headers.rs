//! Headers that belong to one hop (RFC 9110, section 7.6.1) and end there. Names are compared without
//! regard to case.

use std::borrow::Cow;

/// Whether a header of this name is for the next hop only, whatever `Connection` says.
#[must_use]
pub fn is_hop_by_hop(name: &str) -> bool {
    is_of_one_hop(&in_lower_case(name))
}

fn is_of_one_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-authentication-info"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

fn in_lower_case(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) { name.to_ascii_lowercase().into() } else { name.into() }
}

/// The names that a `Connection` header lists: they too are for the next hop only.
pub fn connection_names(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|name| !name.is_empty())
}

/// Whether a request's header must not go on to a provider: it is for one hop, names this host, is the
/// client's credential for the gateway, tells where the client is, or speaks of an encoding or a length that the gateway changes.
#[must_use]
pub fn ends_at_gateway(name: &str) -> bool {
    let name = in_lower_case(name);
    let ends = matches!(
        &*name,
        "host"
            | "authorization"
            | "api-key"
            | "x-api-key"
            | "cookie"
            | "content-length"
            | "accept-encoding"
            | "expect"
            | "forwarded"
            | "x-real-ip"
            | "x-client-ip"
            | "x-cluster-client-ip"
            | "x-original-forwarded-for"
            | "x-envoy-external-address"
            | "true-client-ip"
            | "cf-connecting-ip"
            | "fastly-client-ip"
            | "via"
    );
    ends || name.starts_with("x-forwarded-") || is_of_one_hop(&name)
}

/// Whether an answer's header says something of the host that a client spoke to, and for longer than this answer: a browser would
/// take what a provider says of itself for the gateway's word.
#[must_use]
pub fn is_of_its_host(name: &str) -> bool {
    matches!(
        &*in_lower_case(name),
        "alt-svc" | "strict-transport-security" | "nel" | "report-to" | "reporting-endpoints"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hop_by_hop_headers_and_those_that_connection_names_end_here() {
        assert!(is_hop_by_hop("Transfer-Encoding") && is_hop_by_hop("TE") && is_hop_by_hop("trailer"));
        assert!(!is_hop_by_hop("trailers") && !is_hop_by_hop("content-type"));
        assert_eq!(connection_names("close, X-Trace ,,").collect::<Vec<_>>(), ["close", "X-Trace"]);
    }

    #[test]
    fn what_a_client_says_to_the_gateway_is_not_said_to_the_provider() {
        assert!(ends_at_gateway("Authorization") && ends_at_gateway("accept-encoding") && ends_at_gateway("Upgrade"));
        assert!(
            ends_at_gateway("X-Forwarded-For") && ends_at_gateway("x-forwarded-prefix") && ends_at_gateway("x-real-ip")
        );
        assert!(!ends_at_gateway("x-forward") && !ends_at_gateway("x-request-id"));
        assert!(!ends_at_gateway("openai-beta") && !ends_at_gateway("anthropic-version"));
    }

    #[test]
    fn what_a_provider_says_of_its_host_is_not_said_of_the_gateways() {
        assert!(is_of_its_host("Alt-Svc") && is_of_its_host("strict-transport-security") && is_of_its_host("NEL"));
        assert!(!is_of_its_host("request-id") && !is_of_its_host("retry-after") && !is_of_its_host("cache-control"));
    }
}
