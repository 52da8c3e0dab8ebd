//! Admit: what is asked of the gateway, by whom, with a body of bounded size and in bounded time.

use crate::admission::permit::Permit;
use crate::admission::shown;
use crate::admission::{Closed, Holder};
use crate::answer::Refusal;
use crate::gateway::Gateway;
use crate::phase::body::{self, Held, Upload};
use crate::socket;
use crate::upstream::pool::X_API_KEY;
use bytes::Bytes;
use coalmine_core::id::RouteName;
use coalmine_core::key::Standing;
use coalmine_core::time::UnixMs;
use coalmine_wire::dialect::Dialect;
use coalmine_wire::openai::errors::Problem;
use http::{HeaderMap, HeaderValue, Method, Request, header, request};
use hyper::body::Incoming;
use std::net::IpAddr;
use std::sync::Arc;

/// A request that may go on.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) parts: request::Parts,
    /// Empty until it has come, and where it streams through.
    pub(crate) body: Bytes,
    /// What is still to come of it.
    pub(crate) upload: Option<Upload>,
    pub(crate) surface: Surface,
    pub(crate) dialect: Dialect,
    /// The session named in the path `/s/{session}/v1/…`.
    pub(crate) session: Option<String>,
    /// What follows `/v1`, query included.
    pub(crate) path: String,
    pub(crate) caller: Caller,
    /// Where it is, as far as its proxies can be believed.
    pub(crate) client: IpAddr,
    /// Taken of what the caller may use, where somebody is to be asked.
    pub(crate) permit: Option<Permit>,
    /// The room that the body takes, until somebody has begun to answer.
    held: Held,
    /// When its last byte came.
    pub(crate) received_at: UnixMs,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surface {
    /// A turn of a session, in one of the dialects: assigned and counted.
    Turn,
    /// Something that a session's own version is asked beside its turns: how many tokens one would have,
    /// or a shorter form of what has been said.
    Beside,
    /// The list of models.
    Models,
    /// A late score.
    Feedback,
    /// Late scores as logs.
    Logs,
    /// A websocket, wherever it leads.
    Socket,
    /// A file for a provider, of any size: it streams through.
    Upload,
    /// Anything else under `/v1`: passed through.
    Other,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Sessions of different scopes never meet: of different keys, or, for a key that was not made here, of
    /// different texts, whichever header they came in; zeros without one. It outlives a rotation.
    pub(crate) scope: [u8; 32],
    pub(crate) holder: Arc<Holder>,
}

impl Caller {
    /// Whether it may use a route.
    pub(crate) fn must_be_let_use(&self, route: &str) -> Result<(), Refusal> {
        if self.holder.may_use(route) { Ok(()) } else { Err(self.confined(&format!("use the route `{route}`"))) }
    }

    /// Whether it may ask for what is no route's.
    pub(crate) fn must_be_let_through(&self) -> Result<(), Refusal> {
        if self.holder.may_pass_through() { Ok(()) } else { Err(self.confined("ask for what is no route's")) }
    }

    fn confined(&self, what: &str) -> Refusal {
        let name = self.holder.name.as_ref().map_or("", |name| name.as_str());
        let routes: Vec<&str> = self.holder.routes.iter().flatten().map(RouteName::as_str).collect();
        let message = format!("the key '{name}' may not {what}; it may use: {}", routes.join(", "));
        Refusal::new(Problem::Forbidden, message)
    }
}

/// The dialect of whoever asks: that of the path, or what a client of it says of itself.
pub(crate) fn dialect(path: &str, headers: &HeaderMap) -> Dialect {
    let rest = split(path).map_or("", |(_, rest)| rest);
    let below = |dialect: &Dialect| {
        rest.strip_prefix(dialect.path()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match Dialect::ALL.into_iter().find(below) {
        Some(dialect) => dialect,
        None if headers.contains_key("anthropic-version") => Dialect::Messages,
        None => Dialect::Chat,
    }
}

/// Whether a path belongs to the gateway, and not to its neighbour on the listener.
pub(crate) fn is_ours(path: &str) -> bool {
    split(path).is_some()
}

/// Admits a request in a dialect by what is known before its body, or says why not. What comes of it is boxed: it is
/// handed on often, and is large.
pub(crate) fn admit(
    gateway: &Gateway,
    request: Request<Incoming>,
    dialect: Dialect,
    client: IpAddr,
) -> Result<Box<Admitted>, Refusal> {
    let now = gateway.clock.now();
    let (mut parts, body) = request.into_parts();
    let upload = Upload::new(body, &parts, &gateway.config.limits);
    must_be_asked_right(&parts)?;
    let is_socket = socket::is_asked(&parts.headers);
    if is_socket {
        socket::show_key(&mut parts.headers);
    }
    let caller = identify_caller(gateway, &parts, now)?;
    let Some((session, rest)) = split(parts.uri.path()) else {
        return Err(Refusal::new(Problem::BadRequest, "the path must begin with /v1/"));
    };
    let is_turn = |path| Dialect::ALL.iter().any(|of| of.path() == path && *of != Dialect::Realtime);
    let surface = match (&parts.method, rest) {
        _ if is_socket => Surface::Socket,
        (&Method::POST, path) if is_turn(path) => Surface::Turn,
        (&Method::POST, "/messages/count_tokens" | "/responses/input_tokens" | "/responses/compact") => Surface::Beside,
        (&Method::GET, "/models") => Surface::Models,
        (&Method::POST, "/feedback") => Surface::Feedback,
        (&Method::POST, "/logs") => Surface::Logs,
        (&Method::POST, path) if is_upload(path) => Surface::Upload,
        _ => Surface::Other,
    };
    match surface {
        Surface::Turn | Surface::Beside | Surface::Feedback => must_be_plain(&parts.headers)?,
        // exporters pack theirs, and who takes logs unpacks them
        Surface::Logs | Surface::Models | Surface::Socket | Surface::Upload | Surface::Other => {}
    }
    let session = session.map(str::to_owned);
    let mut path = rest.to_owned();
    if let Some(query) = parts.uri.query() {
        path.push('?');
        path.push_str(query);
    }
    let permit = permit(gateway, &caller, surface, dialect, upload.announced(), now)?;
    Ok(Box::new(Admitted {
        parts,
        body: Bytes::new(),
        upload: Some(upload),
        surface,
        dialect,
        session,
        path,
        caller,
        client,
        permit,
        held: Held::default(),
        received_at: now,
    }))
}

impl Admitted {
    /// Waits for its body, but for one that streams through.
    pub(crate) async fn receive(&mut self, gateway: &Gateway) -> Result<(), Refusal> {
        if self.surface != Surface::Upload
            && let Some(mut upload) = self.upload.take()
        {
            (self.body, self.held) = body::read(gateway, &mut upload).await?;
        }
        self.received_at = gateway.clock.now();
        Ok(())
    }
}

/// Where files go, which name no model: `/files`, `/uploads/ID/parts`, `/containers/ID/files`.
fn is_upload(path: &str) -> bool {
    let within = |of: &str, what: &str| {
        let id = path.strip_prefix(of).and_then(|rest| rest.strip_suffix(what));
        id.is_some_and(|id| !id.is_empty() && !id.contains('/'))
    };
    path == "/files" || within("/uploads/", "/parts") || within("/containers/", "/files")
}

/// What goes on to a provider is asked by a method that means the same there as here, and of nothing beside `/v1`.
fn must_be_asked_right(parts: &request::Parts) -> Result<(), Refusal> {
    let is_known = matches!(
        parts.method,
        Method::POST | Method::GET | Method::DELETE | Method::PUT | Method::PATCH | Method::HEAD | Method::OPTIONS
    );
    if !is_known {
        // TRACE would show the client the provider's key, CONNECT a way past it
        let method: String = parts.method.as_str().chars().take(20).collect();
        let mut refusal = Refusal::new(Problem::BadMethod, format!("nothing is asked by the method {method}"));
        let allowed = HeaderValue::from_static("POST, GET, DELETE, PUT, PATCH, HEAD, OPTIONS");
        refusal.headers().insert(header::ALLOW, allowed);
        return Err(refusal);
    }
    let path = parts.uri.path();
    if path.bytes().any(|byte| matches!(byte, b'.' | b'%')) && path.split('/').any(steps_out) {
        return Err(Refusal::new(Problem::BadRequest, "the path must have no segments `.` and `..`"));
    }
    if parts.headers.get_all(header::HOST).iter().nth(1).is_some() {
        return Err(Refusal::new(Problem::BadRequest, "the request names more than one host"));
    }
    Ok(())
}

/// `.`, `..`, and what a provider may read as one of them.
fn steps_out(segment: &str) -> bool {
    if segment.is_empty() || segment.len() > 6 {
        return false;
    }
    let plain = segment.replace("%2e", ".").replace("%2E", ".");
    plain == "." || plain == ".."
}

/// `/v1/…` and `/s/{session}/v1/…`, as (session, what follows `/v1`).
fn split(path: &str) -> Option<(Option<&str>, &str)> {
    let below = |path: &'_ str| path.strip_prefix("/v1").filter(|rest| rest.starts_with('/')).map(str::len);
    if let Some(len) = below(path) {
        return Some((None, &path[path.len() - len..]));
    }
    let (session, _) = path.strip_prefix("/s/")?.split_once('/')?;
    let len = below(&path["/s/".len() + session.len()..])?;
    (!session.is_empty()).then_some((Some(session), &path[path.len() - len..]))
}

fn identify_caller(gateway: &Gateway, parts: &request::Parts, now: UnixMs) -> Result<Caller, Refusal> {
    let shown = parts.headers.get(header::AUTHORIZATION).or_else(|| parts.headers.get(X_API_KEY));
    let bearer = shown.map_or(&b""[..], |value| value.as_bytes());
    let token = match bearer.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token.trim_ascii(),
        _ => bearer,
    };
    let shown = (!token.is_empty()).then(|| shown::hash(token));
    match gateway.admission.holder(shown.as_ref(), now) {
        Ok(holder) => Ok(Caller { scope: holder.scope.or(shown).unwrap_or_default(), holder }),
        Err(why) => Err(Refusal::new(Problem::BadKey, closed(why, shown.is_some()))),
    }
}

fn closed(why: Closed, shown: bool) -> &'static str {
    match (why, shown) {
        (Closed::Unknown, false) => {
            "no API key: send `authorization: Bearer KEY` or `x-api-key: KEY` with a key of this gateway"
        }
        (Closed::Unknown, true) => "this API key is not known to the gateway",
        (Closed::Over(Standing::Revoked), _) => "this API key was revoked",
        (Closed::Over(Standing::Expired), _) => "this API key has expired",
        (Closed::Over(Standing::Replaced | Standing::Good), _) => {
            "this API key was rotated, and the time in which its old secret was good is over: use the new one"
        }
    }
}

/// Leave for what is put to a provider; what the gateway answers by itself needs none.
fn permit(
    gateway: &Gateway,
    caller: &Caller,
    surface: Surface,
    dialect: Dialect,
    body_bytes: u64,
    now: UnixMs,
) -> Result<Option<Permit>, Refusal> {
    match surface {
        Surface::Models | Surface::Feedback | Surface::Logs => Ok(None),
        Surface::Turn | Surface::Beside | Surface::Socket | Surface::Upload | Surface::Other => {
            // nobody reads a file for a token now
            let body_bytes = if surface == Surface::Upload { 0 } else { body_bytes };
            let taken = Permit::take(&caller.holder, dialect, body_bytes, now);
            taken.map(Some).map_err(|(bound, refusal)| {
                gateway.metrics.note_quota(bound);
                refusal
            })
        }
    }
}

/// What is packed cannot be read, and is not unpacked: nobody knows how large it is inside.
pub(crate) fn must_be_plain(headers: &HeaderMap) -> Result<(), Refusal> {
    let packed = headers.get(header::CONTENT_ENCODING).filter(|how| !how.as_bytes().eq_ignore_ascii_case(b"identity"));
    let Some(how) = packed else { return Ok(()) };
    let how: String = String::from_utf8_lossy(how.as_bytes()).chars().take(40).collect();
    Err(Refusal::new(
        Problem::PackedBody,
        format!("the request body is packed ({how}); send it without content-encoding"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dialect_is_that_of_the_path_or_of_the_client() {
        let mut theirs = HeaderMap::new();
        theirs.insert("anthropic-version", http::HeaderValue::from_static("2023-06-01"));
        let none = HeaderMap::new();
        for (path, bare, versioned) in [
            ("/v1/chat/completions", Dialect::Chat, Dialect::Chat),
            ("/v1/messages", Dialect::Messages, Dialect::Messages),
            ("/s/a/v1/messages/count_tokens", Dialect::Messages, Dialect::Messages),
            ("/v1/messages_of_another", Dialect::Chat, Dialect::Messages),
            ("/v1/models", Dialect::Chat, Dialect::Messages),
            ("/v1/responses", Dialect::Responses, Dialect::Responses),
            ("/v1/responses/resp_1/input_items", Dialect::Responses, Dialect::Responses),
            ("/v1/embeddings", Dialect::Embeddings, Dialect::Embeddings),
            ("/v1/completions", Dialect::Completions, Dialect::Completions),
        ] {
            assert_eq!((dialect(path, &none), dialect(path, &theirs)), (bare, versioned), "{path}");
        }
    }

    #[test]
    fn files_are_told_by_their_path() {
        for path in ["/files", "/uploads/upload_1/parts", "/containers/cntr_1/files"] {
            assert!(is_upload(path), "{path}");
        }
        for path in
            ["/files/file_1", "/uploads", "/uploads//parts", "/uploads/a/b/parts", "/uploads/a/complete", "/audio"]
        {
            assert!(!is_upload(path), "{path}");
        }
    }

    #[test]
    fn paths_are_split_into_session_and_rest() {
        assert_eq!(split("/v1/chat/completions"), Some((None, "/chat/completions")));
        assert_eq!(split("/s/call-7/v1/models"), Some((Some("call-7"), "/models")));
        for foreign in ["/", "/v1", "/v1beta/x", "/s//v1/x", "/s/a/b/v1/x", "/api/v1/x", "/s/a/v1", "/healthz"] {
            assert_eq!(split(foreign), None, "{foreign}");
        }
    }
}
