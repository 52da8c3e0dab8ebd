//! Rewrite: the version put into the request, and the headers that a provider may see.

use crate::config::StreamUsage;
use crate::table::Prepared;
use crate::upstream::pool::Authorization;
use bytes::Bytes;
use coalmine_core::version::{PromptMode, ToolsMode, Version};
use coalmine_wire::headers::{connection_names, ends_at_gateway, is_hop_by_hop};
use coalmine_wire::openai::{self, AskUsage, ChatRequest, Patch, PatchError};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body_util::Full;

/// A request on its way out, before a version is put into it.
#[derive(Debug)]
pub(crate) struct Outbound {
    method: Method,
    headers: HeaderMap,
    client_authorization: Option<HeaderValue>,
}

/// What of the request's body goes out.
#[derive(Debug)]
pub(crate) struct Rewritten {
    pub(crate) body: Bytes,
    /// The stream carries usage that the client did not ask for.
    pub(crate) strip_usage: StripUsage,
}

/// Whether usage is taken out of the stream again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StripUsage {
    /// The client did not ask for it.
    Yes,
    /// Nothing was added.
    No,
}

/// Prepares a version for being put into requests.
pub(crate) fn prepare(version: &Version) -> Result<Patch, PatchError> {
    let mut patch = Patch::default().with_model(&version.model);
    if let Some(prompt) = &version.prompt {
        let mode = match prompt.mode {
            PromptMode::Replace => openai::PromptMode::Replace,
            PromptMode::Prepend => openai::PromptMode::Prepend,
            PromptMode::Append => openai::PromptMode::Append,
        };
        patch = patch.with_prompt(mode, &prompt.text);
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

/// Puts a version into a request.
pub(crate) fn rewrite(prepared: &Prepared, chat: &ChatRequest<'_>, body: &Bytes) -> Rewritten {
    let ask = match prepared.pool.stream_usage {
        StreamUsage::Ask => AskUsage::Inject,
        StreamUsage::Leave => AskUsage::Leave,
    };
    let patched = prepared.patch.apply(chat, ask);
    Rewritten {
        body: patched.body.map_or_else(|| body.clone(), Bytes::from),
        strip_usage: if patched.usage_injected { StripUsage::Yes } else { StripUsage::No },
    }
}

impl Outbound {
    /// Takes over what a provider may see of the client's headers.
    pub(crate) fn new(method: Method, theirs: HeaderMap) -> Self {
        let client_authorization = theirs.get(header::AUTHORIZATION).cloned();
        let headers = filtered(theirs, |name| {
            ends_at_gateway(name)
                || name.starts_with("x-coalmine-")
                || matches!(name, "openai-organization" | "openai-project")
        });
        Self { method, headers, client_authorization }
    }

    /// One attempt.
    pub(crate) fn request(&self, authorization: &Authorization, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        let value = match authorization {
            Authorization::Own(value) => Some(value.clone()),
            Authorization::Client => self.client_authorization.clone(),
            Authorization::None => None,
        };
        if let Some(value) = value {
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        request
    }
}

/// What the client may see of a provider's headers.
pub(crate) fn answer_headers(theirs: HeaderMap) -> HeaderMap {
    filtered(theirs, is_hop_by_hop)
}

/// The headers without those that `ends` here and those that `connection` lists.
fn filtered(theirs: HeaderMap, ends: impl Fn(&str) -> bool) -> HeaderMap {
    let mut listed: Vec<String> = Vec::new();
    for value in theirs.get_all(header::CONNECTION) {
        listed.extend(connection_names(value.to_str().unwrap_or("")).map(str::to_ascii_lowercase));
    }
    let mut kept = HeaderMap::with_capacity(theirs.len() + 6);
    let mut current: Option<HeaderName> = None;
    for (name, value) in theirs {
        if let Some(name) = name {
            let stays = !ends(name.as_str()) && !listed.iter().any(|listed| listed == name.as_str());
            current = stays.then_some(name);
        }
        if let Some(name) = &current {
            kept.append(name.clone(), value);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

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
                ("openai-organization", "org-of-the-client"),
                ("openai-beta", "assistants=v2"),
                ("traceparent", "00-1-2-01"),
                ("x-request-id", "7"),
            ]),
        );
        let sent = out.request(&Authorization::None, Bytes::new());
        let mut names: Vec<&str> = sent.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["openai-beta", "traceparent", "x-request-id"]);
        let own = Authorization::Own(HeaderValue::from_static("Bearer of-the-provider"));
        assert_eq!(out.request(&own, Bytes::new()).headers()["authorization"], "Bearer of-the-provider");
        let passed = out.request(&Authorization::Client, Bytes::new());
        assert_eq!(passed.headers()["authorization"], "Bearer of-the-gateway");
    }

    #[test]
    fn repeated_headers_stay_repeated() {
        let mut theirs = headers(&[("x-ratelimit-remaining-requests", "9"), ("connection", "close")]);
        theirs.append("set-cookie", HeaderValue::from_static("a=1"));
        theirs.append("set-cookie", HeaderValue::from_static("b=2"));
        let kept = answer_headers(theirs);
        assert_eq!(kept.get_all("set-cookie").iter().count(), 2);
        assert!(kept.contains_key("x-ratelimit-remaining-requests") && !kept.contains_key("connection"));
    }
}
