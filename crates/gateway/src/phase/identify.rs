//! Identify: which session and which customer a request belongs to.

use crate::config::{CustomerSource, Overrides, SessionSource};
use crate::conversations::Found;
use crate::gateway::Gateway;
use crate::headers::Headers;
use crate::phase::admit::Admitted;
use crate::table::Route;
use coalmine_core::id::{CustomerId, UnitKey};
use coalmine_core::traffic::assign::{Eligibility, Identity, Opening, Override};
use coalmine_core::version::VersionId;
use coalmine_wire::conversation::{Chain, ResponseKey, Trail};
use coalmine_wire::dialect::Dialect;
use coalmine_wire::openai::{self, ChatRequest};
use http::HeaderName;
use std::borrow::Cow;

/// The longest name of a session or a customer that is read; a longer one is no name.
const NAME_MAX: usize = 512;

/// Whose request it is.
#[derive(Debug)]
pub(crate) struct Identified {
    pub(crate) identity: Identity,
    pub(crate) past: Past,
    pub(crate) opening: Opening,
    pub(crate) eligibility: Eligibility,
    pub(crate) customer: Option<CustomerId>,
    pub(crate) forced: Option<Override>,
    /// The conversation, where it is followed by content.
    pub(crate) trail: Option<Trail>,
    /// What its answer will be found by, where a later request may name it by its id.
    pub(crate) responses: Option<ResponseKey>,
    /// Whether the request refers to what an earlier answer left with its provider.
    pub(crate) state: StateOf,
}

/// Whether a session can have been seen before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Past {
    /// It can: it may have a pin.
    Possible,
    /// Its unit was drawn for this request.
    None,
}

/// Whose state a request refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateOf {
    /// Nobody's.
    Nobody,
    /// That of whichever version the session is on.
    ItsOwn,
    /// That of this version: it gave the response that is named.
    Version(VersionId),
}

/// Names the unit of a request.
pub(crate) fn identify(gateway: &Gateway, route: &Route, chat: &ChatRequest<'_>, admitted: &Admitted) -> Identified {
    let headers = Headers::from(&admitted.parts.headers);
    let opening = match chat.opening {
        openai::Opening::First => Opening::First,
        openai::Opening::Continued => Opening::Continued,
    };
    let mut found = Identified {
        identity: Identity::Nobody,
        past: Past::Possible,
        opening,
        eligibility: eligibility(route, chat),
        customer: customer(route, chat, admitted, headers),
        forced: forced(gateway, headers),
        trail: None,
        responses: None,
        state: match chat.provider_state {
            Some(state) if state.is_of_an_answer() => StateOf::ItsOwn,
            Some(_) | None => StateOf::Nobody,
        },
    };
    if chat.dialect == Dialect::Responses {
        let keys = chain(gateway, route, &admitted.caller.scope).responses();
        found.responses = chat.is_stored().then_some(keys);
        if let Some(unit) = resumed(gateway, route, chat, &keys, &mut found, admitted) {
            found.identity = Identity::Session(unit);
            return found;
        }
    }
    for source in &route.settings.sessions {
        let name = match source {
            SessionSource::Header(name) => header(headers, name),
            SessionSource::Path => admitted.session.as_deref().map(Cow::Borrowed),
            SessionSource::Body(path) => chat.body_text(path),
            SessionSource::Conversation => {
                follow(gateway, route, chat, admitted, &mut found);
                return found;
            }
        };
        if let Some(name) = name.filter(|name| is_name(name)) {
            found.identity = Identity::Session(unit(gateway, route, &admitted.caller.scope, &name));
            return found;
        }
    }
    found
}

/// Whether both versions of the route's release can be asked this.
fn eligibility(route: &Route, chat: &ChatRequest<'_>) -> Eligibility {
    let Some(release) = &route.table.release else { return Eligibility::Eligible };
    let both = [route.table.stable, release.canary];
    if let (Some(state), [Some(stable), Some(canary)]) =
        (chat.provider_state, both.map(|version| route.prepared(version)))
        && !state.is_of_an_answer()
        && stable.pool.name != canary.pool.name
    {
        // A file that a client put somewhere, a conversation that it began there: that is one provider.
        return Eligibility::Ineligible;
    }
    let unable =
        both.iter().filter_map(|version| route.prepared(*version)).any(|prepared| !prepared.can_be_asked(chat));
    if unable { Eligibility::Ineligible } else { Eligibility::Eligible }
}

/// The unit of a session that the client names: a keyed hash of tenant, route, API key and name.
pub(crate) fn unit(gateway: &Gateway, route: &Route, scope: &[u8; 32], session: &str) -> UnitKey {
    let mut hasher = blake3::Hasher::new_keyed(&gateway.keys.unit);
    for text in [gateway.config.tenant.as_str(), route.name.as_str()] {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.update(scope);
    hasher.update(session.as_bytes());
    let mut low = [0; 16];
    low.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    UnitKey(u128::from_le_bytes(low))
}

/// The unit that got the response which this request goes on from, whatever it calls its session: nobody but
/// the provider that gave it knows what it says.
fn resumed(
    gateway: &Gateway,
    route: &Route,
    chat: &ChatRequest<'_>,
    keys: &ResponseKey,
    found: &mut Identified,
    admitted: &Admitted,
) -> Option<UnitKey> {
    let id = chat.previous_response()?;
    let Found::Unit(unit, mark) = gateway.conversations.find(keys.of(&id), admitted.received_at) else { return None };
    if let Some(maker) = route.marked(mark) {
        found.state = StateOf::Version(maker.id);
    }
    Some(unit)
}

/// The hash of conversations of one key on one route.
pub(crate) fn chain<'g>(gateway: &'g Gateway, route: &Route, caller: &[u8; 32]) -> Chain<'g> {
    let mut scope = Vec::with_capacity(96);
    for text in [gateway.config.tenant.as_str(), route.name.as_str()] {
        scope.extend_from_slice(&(text.len() as u64).to_le_bytes());
        scope.extend_from_slice(text.as_bytes());
    }
    scope.extend_from_slice(caller);
    Chain::new(&gateway.keys.conversation, &scope)
}

/// A conversation that begins draws a new unit; one that goes on has the unit that got its last answer.
fn follow(gateway: &Gateway, route: &Route, chat: &ChatRequest<'_>, admitted: &Admitted, found: &mut Identified) {
    match chat.dialect {
        Dialect::Chat | Dialect::Messages | Dialect::Responses => {}
        // Vectors of two models are no company for one another: only who names a session is ever split.
        Dialect::Embeddings => return,
        Dialect::Completions | Dialect::Realtime => return draw(found),
    }
    let trail = chain(gateway, route, &admitted.caller.scope).follow(chat);
    let known = trail.continued.map(|hash| gateway.conversations.find(hash, admitted.received_at));
    found.trail = Some(trail);
    match known {
        Some(Found::Unit(unit, _)) => found.identity = Identity::Session(unit),
        Some(Found::Ambiguous) => {
            route.series.conversations_ambiguous.add(1);
            draw(found);
        }
        Some(Found::Unknown) => {
            route.series.conversations_edited.add(1);
            draw(found);
        }
        None => draw(found),
    }
}

/// A session that nobody knows yet.
fn draw(found: &mut Identified) {
    found.identity = Identity::Session(UnitKey(rand::random()));
    found.past = Past::None;
}

fn customer(route: &Route, chat: &ChatRequest<'_>, admitted: &Admitted, headers: Headers<'_>) -> Option<CustomerId> {
    let named = route.settings.customers.iter().find_map(|source| {
        let name = match source {
            CustomerSource::Header(name) => header(headers, name),
            CustomerSource::Body(path) => chat.body_text(path),
        };
        name.filter(|name| is_name(name)).map(|name| CustomerId(name.into_owned()))
    });
    named.or_else(|| admitted.caller.holder.customer.clone())
}

fn forced(gateway: &Gateway, headers: Headers<'_>) -> Option<Override> {
    if gateway.config.overrides == Overrides::Refused {
        return None;
    }
    const OVERRIDE: HeaderName = HeaderName::from_static("x-coalmine-override");
    match headers.get(OVERRIDE)?.as_bytes() {
        b"stable" => Some(Override::Stable),
        b"canary" => Some(Override::Canary),
        _ => None,
    }
}

fn header<'a>(headers: Headers<'a>, name: &str) -> Option<Cow<'a, str>> {
    headers.get(name)?.to_str().ok().map(Cow::Borrowed)
}

fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.trim().len())
}
