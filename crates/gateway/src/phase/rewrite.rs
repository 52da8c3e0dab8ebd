//! Rewrite: the version put into the request, and the headers that a provider may see.

use crate::config::{Betas, StreamUsage};
use crate::phase::variables::Given;
use crate::table::Prepared;
use crate::upstream::asked::{Asked, AskedBody};
use crate::upstream::credential::Authorization;
use crate::upstream::pool::{Manners, X_API_KEY};
use bytes::Bytes;
use coalmine_core::version::{PromptMode, ToolsMode, Version};
use coalmine_wire::dialect::{Dialect, Family};
use coalmine_wire::headers::{connection_names, ends_at_gateway, is_hop_by_hop, is_of_its_host};
use coalmine_wire::openai::{self, AskUsage, ChatRequest, Patch, PatchError};
use coalmine_wire::translate::{self, Told, Untranslatable};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use std::collections::BTreeMap;

/// A request on its way out, before a version is put into it.
#[derive(Debug)]
pub(crate) struct Outbound {
    method: Method,
    /// The client's, all of them: what goes on is taken by each attempt, of which there is mostly one.
    theirs: HeaderMap,
    /// What `connection` lists among them.
    listed: Vec<String>,
    /// The dialect of the client, where it is known to be asked in.
    dialect: Option<Dialect>,
}

/// What of the request's body goes out.
#[derive(Debug)]
pub(crate) struct Rewritten {
    pub(crate) body: Bytes,
    pub(crate) wording: Wording,
}

/// In which dialect the provider is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wording {
    /// In the client's own.
    Own(StripUsage),
    /// In the provider's, which is another: the answer is translated.
    Translated(Told),
}

/// Whether usage is taken out of the stream again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StripUsage {
    /// The client did not ask for it.
    Yes,
    /// Nothing was added.
    No,
}

/// So many of the gateway's own are put to those that go on: there is room for them from the start.
const ROOM_FOR_OWN: usize = 2;

/// What a provider of Anthropic's dialect is told where the client does not say.
const ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// Prepares a version for being put into requests of its provider's dialect.
pub(crate) fn prepare(version: &Version, dialect: Dialect) -> Result<Patch, PatchError> {
    let mut patch = Patch::new(dialect).with_model(&version.model);
    if let Some(prompt) = &version.prompt {
        patch = patch.with_prompt(prompt_mode(prompt.mode), &prompt.rendered(&BTreeMap::new()))?;
    }
    if let Some(tools) = &version.tools {
        let mode = match tools.mode {
            ToolsMode::Replace => openai::ToolsMode::Replace,
            ToolsMode::Merge => openai::ToolsMode::Merge,
        };
        patch = patch.with_tools(mode, &tools.json.0)?;
    }
    for (name, value) in &version.params {
        patch = patch.with_param(name, &value.0)?;
    }
    Ok(patch)
}

/// The same for a request that gives something for a variable of the version's prompt; `None` where it does not.
pub(crate) fn with_values(patch: &Patch, version: &Version, given: &Given) -> Option<Patch> {
    let values = given.values()?;
    let prompt = version.prompt.as_ref()?;
    prompt.variables.keys().find(|name| values.contains_key(*name))?;
    // A dialect that has a place for the defaults has one for this.
    patch.clone().with_prompt(prompt_mode(prompt.mode), &prompt.rendered(values)).ok()
}

fn prompt_mode(mode: PromptMode) -> openai::PromptMode {
    match mode {
        PromptMode::Replace => openai::PromptMode::Replace,
        PromptMode::Prepend => openai::PromptMode::Prepend,
        PromptMode::Append => openai::PromptMode::Append,
    }
}

/// Why a version is not asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsaid {
    /// The provider's dialect cannot say what the request says.
    #[error("is answered by a provider that speaks {0}: {1}")]
    ByProvider(&'static str, #[source] Untranslatable),
    /// The client's dialect has no place for what the version sets.
    #[error("cannot be asked like this: {0}")]
    ByVersion(#[source] PatchError),
}

/// Puts a version into a request, in a dialect of its provider, with what the request gives for its variables.
pub(crate) fn rewrite(
    prepared: &Prepared,
    chat: &ChatRequest<'_>,
    body: &Bytes,
    given: &Given,
) -> Result<Rewritten, Unsaid> {
    let ask = match prepared.pool.stream_usage {
        StreamUsage::Ask => AskUsage::Inject,
        StreamUsage::Leave => AskUsage::Leave,
    };
    let manners = &prepared.pool.manners;
    let dialect = prepared.asked_in(chat.dialect);
    let patch = prepared.patch_with(dialect, given).map_err(|error| Unsaid::ByVersion(error.clone()))?;
    if dialect == chat.dialect {
        let patched = patch.apply(chat, ask);
        let strip = if patched.usage_injected { StripUsage::Yes } else { StripUsage::No };
        let body = patched.body.map_or_else(|| body.clone(), Bytes::from);
        return Ok(Rewritten { body, wording: Wording::Own(strip) });
    }
    let unsaid = |why| Unsaid::ByProvider(dialect.as_str(), why);
    let translated = translate::request(chat, manners.terms, patch.tools_of()).map_err(unsaid)?;
    let told = if chat.asks_usage() { Told::Yes } else { Told::No };
    Ok(Rewritten { body: Bytes::from(translated.patched(dialect, &patch, ask)), wording: Wording::Translated(told) })
}

impl Outbound {
    /// A client's request.
    pub(crate) fn new(method: Method, theirs: HeaderMap, dialect: Option<Dialect>) -> Self {
        let listed = listed(&theirs);
        Self { method, theirs, listed, dialect }
    }

    /// One attempt.
    pub(crate) fn request(&self, manners: &Manners, body: impl Into<AskedBody>) -> Asked {
        let mut request = Box::new(Request::new(body.into()));
        *request.method_mut() = self.method.clone();
        let headers = request.headers_mut();
        headers.reserve(self.theirs.len() + ROOM_FOR_OWN);
        for (name, value) in self.theirs.iter().filter(|(name, _)| !self.ends_here(name)) {
            headers.append(name, value.clone());
        }
        match &manners.authorization {
            Authorization::Own(key) => key.show(headers),
            Authorization::Client => self.show_client_key(manners.dialect.family(), headers),
            Authorization::None => {}
        }
        match (manners.dialect.family(), self.dialect.map(Dialect::family)) {
            (Family::Anthropic, _) => speak_messages(&manners.betas, headers),
            (Family::OpenAi, Some(Family::Anthropic)) => leave_out("anthropic-", headers),
            (Family::OpenAi, Some(Family::OpenAi) | None) => {}
        }
        request
    }

    /// Whether no provider may see a header of this name.
    fn ends_here(&self, name: &HeaderName) -> bool {
        ends(name, &self.listed, |name| {
            let name = name.as_str();
            ends_at_gateway(name)
                || name.starts_with("x-coalmine-")
                || matches!(name, "openai-organization" | "openai-project")
        })
    }

    /// The client's own key, in the form that the provider's dialect has.
    fn show_client_key(&self, family: Family, headers: &mut HeaderMap) {
        match (self.theirs.get(header::AUTHORIZATION), self.theirs.get(X_API_KEY), family) {
            (_, Some(key), Family::Anthropic) => {
                headers.insert(X_API_KEY, key.clone());
            }
            (Some(bearer), ..) => {
                headers.insert(header::AUTHORIZATION, bearer.clone());
            }
            (None, Some(key), Family::OpenAi) => {
                let bearer = [b"Bearer ", key.as_bytes()].concat();
                if let Ok(mut bearer) = HeaderValue::from_bytes(&bearer) {
                    bearer.set_sensitive(true);
                    headers.insert(header::AUTHORIZATION, bearer);
                }
            }
            (None, None, _) => {}
        }
    }
}

/// The headers that Anthropic's dialect wants, with the beta flags that the provider may be told.
fn speak_messages(betas: &Betas, headers: &mut HeaderMap) {
    const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
    const BETA: HeaderName = HeaderName::from_static("anthropic-beta");
    leave_out("openai-", headers);
    headers.entry(VERSION).or_insert(ANTHROPIC_VERSION);
    let Betas::Only(known) = betas else { return };
    let told = headers.get_all(&BETA).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let kept: Vec<&str> = told.map(str::trim).filter(|flag| known.contains(*flag)).collect();
    let kept = HeaderValue::from_str(&kept.join(",")).ok().filter(|kept| !kept.is_empty());
    headers.remove(&BETA);
    if let Some(kept) = kept {
        headers.insert(BETA, kept);
    }
}

/// Takes the headers of another dialect away.
fn leave_out(prefix: &str, headers: &mut HeaderMap) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with(prefix)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// What the client may see of a provider's headers.
pub(crate) fn answer_headers(mut theirs: HeaderMap) -> HeaderMap {
    if theirs.keys().any(|name| name == header::TRANSFER_ENCODING) {
        // where both are told the length is that of nothing (RFC 9112, section 6.3)
        theirs.remove(header::CONTENT_LENGTH);
    }
    let of_here = |name: &HeaderName| {
        name != header::CONTENT_LENGTH && (is_hop_by_hop(name.as_str()) || is_of_its_host(name.as_str()))
    };
    let listed = listed(&theirs);
    let ended: Vec<HeaderName> = theirs.keys().filter(|name| ends(name, &listed, of_here)).cloned().collect();
    for name in ended {
        theirs.remove(name);
    }
    theirs
}

/// What the provider calls the request, under the name too by which SDKs of the client's dialect look for it: each dialect has its own.
pub(crate) fn name_request_id(headers: &mut HeaderMap, client: Family) {
    const OF_OPENAI: HeaderName = HeaderName::from_static("x-request-id");
    const OF_ANTHROPIC: HeaderName = HeaderName::from_static("request-id");
    let (theirs, own) = match client {
        Family::OpenAi => (OF_ANTHROPIC, OF_OPENAI),
        Family::Anthropic => (OF_OPENAI, OF_ANTHROPIC),
    };
    if let Some(id) = headers.get(theirs).filter(|_| !headers.contains_key(&own)).cloned() {
        headers.insert(own, id);
    }
}

/// Whether a name is one of those that nearly every message has and that always go on: they are not looked at further.
fn goes_on(name: &HeaderName) -> bool {
    [header::CONTENT_TYPE, header::ACCEPT, header::USER_AGENT, header::DATE].contains(name)
}

/// Whether a header goes no further: it is among those that `connection` lists, or one `of_here`.
fn ends(name: &HeaderName, listed: &[String], of_here: impl Fn(&HeaderName) -> bool) -> bool {
    listed.iter().any(|listed| listed == name.as_str()) || !goes_on(name) && of_here(name)
}

/// The names that `connection` lists.
fn listed(headers: &HeaderMap) -> Vec<String> {
    if !headers.keys().any(|name| name == header::CONNECTION) {
        return Vec::new();
    }
    let told = headers.get_all(header::CONNECTION).iter().map(|value| value.to_str().unwrap_or(""));
    told.flat_map(connection_names).map(str::to_ascii_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Credential, Secret};
    use std::sync::Arc;

    fn manners(dialect: Dialect, authorization: Authorization) -> Manners {
        let terms = translate::Terms { max_tokens: 1, limit: translate::LimitName::MaxTokens };
        Manners { dialect, betas: Betas::All, authorization, terms }
    }

    fn own(family: Family) -> Authorization {
        let credential = Credential::Bearer(Secret::new("of-the-provider"));
        Authorization::new(&"p".into(), family, &credential, None, &Arc::default()).unwrap()
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn what_is_of_one_hop_or_of_the_gateway_ends_here() {
        let out = Outbound::new(
            Method::POST,
            headers(&[
                ("authorization", "Bearer of-the-gateway"),
                ("connection", "keep-alive, X-Hop"),
                ("x-hop", "1"),
                ("accept-encoding", "br"),
                ("transfer-encoding", "chunked"),
                ("host", "gateway"),
                ("x-coalmine-override", "canary"),
                ("x-coalmine-variables", "{}"),
                ("openai-organization", "org-of-the-client"),
                ("openai-beta", "assistants=v2"),
                ("traceparent", "00-1-2-01"),
                ("x-request-id", "7"),
            ]),
            None,
        );
        let sent = out.request(&manners(Dialect::Chat, Authorization::None), Bytes::new());
        let mut names: Vec<&str> = sent.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["openai-beta", "traceparent", "x-request-id"]);
        let own = own(Family::OpenAi);
        let own = out.request(&manners(Dialect::Chat, own), Bytes::new());
        assert_eq!(own.headers()["authorization"], "Bearer of-the-provider");
        let passed = out.request(&manners(Dialect::Chat, Authorization::Client), Bytes::new());
        assert_eq!(passed.headers()["authorization"], "Bearer of-the-gateway");
    }

    #[test]
    fn t28_each_dialect_is_told_what_is_its_own() {
        let theirs = headers(&[
            ("x-api-key", "of-the-gateway"),
            ("anthropic-beta", "known-1, unknown-2"),
            ("openai-beta", "x"),
            ("x-stainless-lang", "js"),
        ]);
        let out = Outbound::new(Method::POST, theirs, Some(Dialect::Messages));
        let sent = out.request(&manners(Dialect::Messages, own(Family::Anthropic)), Bytes::new());
        assert_eq!(sent.headers()["x-api-key"], "of-the-provider");
        assert_eq!(
            (&sent.headers()["anthropic-version"], sent.headers().get("openai-beta")),
            (&ANTHROPIC_VERSION, None)
        );
        assert_eq!(sent.headers()["anthropic-beta"], "known-1, unknown-2");
        let only = |flags: &[&str]| {
            let betas = Betas::Only(flags.iter().map(|flag| (*flag).to_owned()).collect());
            let manners = Manners { betas, ..manners(Dialect::Messages, own(Family::Anthropic)) };
            out.request(&manners, Bytes::new()).headers().get("anthropic-beta").cloned()
        };
        assert_eq!(only(&["known-1"]).unwrap(), "known-1");
        assert_eq!(only(&[]), None);
        let chat = out.request(&manners(Dialect::Chat, Authorization::Client), Bytes::new());
        assert_eq!(chat.headers()["authorization"], "Bearer of-the-gateway");
        assert!(!chat.headers().keys().any(|name| name.as_str().starts_with("anthropic-")));
        assert!(!chat.headers().contains_key("x-api-key"));
    }

    #[test]
    fn repeated_headers_stay_repeated() {
        let mut theirs = headers(&[("x-ratelimit-remaining-requests", "9"), ("connection", "close")]);
        theirs.append("set-cookie", HeaderValue::from_static("a=1"));
        theirs.append("set-cookie", HeaderValue::from_static("b=2"));
        let kept = answer_headers(theirs);
        assert_eq!(kept.get_all("set-cookie").iter().count(), 2);
        assert!(kept.contains_key("x-ratelimit-remaining-requests") && !kept.contains_key("connection"));
        let asked =
            Outbound::new(Method::POST, kept, None).request(&manners(Dialect::Chat, Authorization::None), Bytes::new());
        assert_eq!(asked.headers().get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
    }

    #[test]
    fn what_a_provider_says_of_its_own_host_ends_here() {
        let theirs = [("alt-svc", "h3=\":443\""), ("strict-transport-security", "max-age=1"), ("request-id", "r")];
        let kept = answer_headers(headers(&theirs));
        assert_eq!(kept.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["request-id"]);
    }
}
