//! One address of a provider, ready to be written into requests.

use coalmine_wire::dialect::Dialect;
use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

/// What stands for our own `/v1`.
#[derive(Debug)]
pub(crate) struct Address {
    scheme: Scheme,
    authority: Authority,
    path: String,
    /// The paths that nearly every request has, in the order of [`Dialect::ALL`].
    known: Vec<Uri>,
}

impl Address {
    /// Of a base, `https://api.openai.com/v1`; `None` where it is none.
    pub(crate) fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.trim_end_matches('/').parse().ok()?;
        let scheme = uri.scheme().filter(|s| [Scheme::HTTP, Scheme::HTTPS].contains(s))?.clone();
        let authority = uri.authority()?.clone();
        if uri.query().is_some() || authority.as_str().contains('@') {
            return None;
        }
        let path = uri.path().trim_end_matches('/').to_owned();
        let mut address = Self { scheme, authority, path, known: Vec::new() };
        address.known = Dialect::ALL.into_iter().map(|dialect| address.uri(dialect.path())).collect::<Option<_>>()?;
        Some(address)
    }

    /// Where what follows `/v1` is, query included.
    pub(crate) fn uri(&self, path: &str) -> Option<Uri> {
        let known = Dialect::ALL.iter().zip(&self.known).find(|(dialect, _)| dialect.path() == path);
        if let Some((_, uri)) = known {
            return Some(uri.clone());
        }
        let mut full = String::with_capacity(self.path.len() + path.len());
        full.push_str(&self.path);
        full.push_str(path);
        let builder = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone());
        builder.path_and_query(PathAndQuery::try_from(full).ok()?).build().ok()
    }

    /// The server that it lies on.
    pub(crate) fn root(&self) -> Uri {
        // what it is made of was a URI
        self.at_root("/").unwrap_or_default()
    }

    /// Where a path from the host's root is.
    pub(crate) fn at_root(&self, path: &str) -> Option<Uri> {
        let builder = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone());
        builder.path_and_query(PathAndQuery::try_from(path).ok()?).build().ok()
    }

    /// The host's name.
    pub(crate) fn host(&self) -> &str {
        self.authority.host()
    }

    /// As shown in metrics: without the scheme, which says nothing.
    pub(crate) fn label(&self) -> String {
        format!("{}{}", self.authority, self.path)
    }

    /// Host and port, as a connection wants them.
    pub(crate) fn endpoint(&self) -> (&str, u16) {
        let port = if self.scheme == Scheme::HTTPS { 443 } else { 80 };
        let host = self.authority.host().trim_matches(['[', ']']);
        (host, self.authority.port_u16().unwrap_or(port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stands_for_v1() {
        let address = Address::parse("https://api.openai.com/v1/").unwrap();
        assert_eq!(address.uri("/chat/completions").unwrap().to_string(), "https://api.openai.com/v1/chat/completions");
        assert_eq!(address.uri("/models?x=1").unwrap().to_string(), "https://api.openai.com/v1/models?x=1");
        let bare = Address::parse("http://127.0.0.1:9001").unwrap();
        assert_eq!(bare.uri("/chat/completions").unwrap().to_string(), "http://127.0.0.1:9001/chat/completions");
        assert_eq!(bare.uri("/messages").unwrap().to_string(), "http://127.0.0.1:9001/messages");
        for bad in ["", "api.openai.com/v1", "ftp://x/v1", "http://u:p@x/v1", "http://x/v1?k=v", "http://"] {
            assert!(Address::parse(bad).is_none(), "{bad}");
        }
    }
}
