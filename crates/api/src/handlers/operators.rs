//! Who may call the management API: bearer tokens, compared by hash.

use super::Api;
use super::answer::Refusal;
use axum::extract::FromRequestParts;
use coalmine_core::id::Actor;
use http::request::Parts;
use http::{StatusCode, header};
use std::fmt;

/// The operators by token hash. The tokens themselves are forgotten.
#[derive(Default)]
pub struct Operators {
    by_hash: Vec<(blake3::Hash, Actor)>,
}

/// The caller of a request, as written into the journal.
#[derive(Debug, Clone)]
pub struct Operator(pub Actor);

impl fmt::Debug for Operators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.by_hash.iter().map(|(_, actor)| actor)).finish()
    }
}

impl Operators {
    /// The operators of these (name, token) pairs. With none, everybody is `local`: whoever wires
    /// this must then listen on the loopback address only.
    pub fn new<'a>(tokens: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let hashed = tokens.into_iter().map(|(name, token)| (blake3::hash(token.as_bytes()), Actor::from(name)));
        Self { by_hash: hashed.collect() }
    }

    /// Who holds `token`. `blake3::Hash` compares in constant time.
    pub(crate) fn holder(&self, token: Option<&str>) -> Option<Actor> {
        if self.by_hash.is_empty() {
            return Some(Actor::from("local"));
        }
        let hash = blake3::hash(token?.as_bytes());
        self.by_hash.iter().find(|(known, _)| *known == hash).map(|(_, actor)| actor.clone())
    }
}

impl FromRequestParts<Api> for Operator {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let sent = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = sent.and_then(|text| text.strip_prefix("Bearer ")).map(str::trim);
        api.operators.holder(token).map(Self).ok_or_else(|| {
            let message = if sent.is_some() {
                "the token is not one of `tokens` in coalmine.yaml"
            } else {
                "this server asks for a token: set COALMINE_TOKEN, or send `authorization: Bearer TOKEN`"
            };
            Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Operators;

    #[test]
    fn a_token_names_its_holder_and_is_never_shown() {
        let operators = Operators::new([("alice", "s3cret-a"), ("bob", "s3cret-b")]);
        assert_eq!(operators.holder(Some("s3cret-b")).unwrap().as_str(), "bob");
        assert_eq!(operators.holder(Some("s3cret-c")), None);
        assert_eq!(operators.holder(None), None);
        assert!(!format!("{operators:?}").contains("s3cret"));
    }

    #[test]
    fn without_tokens_everybody_is_local() {
        assert_eq!(Operators::default().holder(None).unwrap().as_str(), "local");
    }
}
