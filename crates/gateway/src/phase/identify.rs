//! Identify: which session and which customer a request belongs to.

use crate::config::{CustomerSource, Overrides, SessionSource};
use crate::conversations::Found;
use crate::gateway::Gateway;
use crate::phase::admit::Admitted;
use crate::table::Route;
use coalmine_core::id::{CustomerId, UnitKey};
use coalmine_core::traffic::assign::{Eligibility, Identity, Opening, Override};
use coalmine_wire::conversation::{Chain, Trail};
use coalmine_wire::openai::{self, ChatRequest};
use std::borrow::Cow;

/// The longest name of a session or a customer that is read; a longer one is no name.
const NAME_MAX: usize = 512;

/// Whose request it is.
#[derive(Debug)]
pub(crate) struct Identified {
    pub(crate) identity: Identity,
    pub(crate) opening: Opening,
    pub(crate) eligibility: Eligibility,
    pub(crate) customer: Option<CustomerId>,
    pub(crate) forced: Option<Override>,
    /// The conversation, where it is followed by content.
    pub(crate) trail: Option<Trail>,
}

/// Names the unit of a request.
pub(crate) fn identify(gateway: &Gateway, route: &Route, chat: &ChatRequest<'_>, admitted: &Admitted) -> Identified {
    let opening = match chat.opening {
        openai::Opening::First => Opening::First,
        openai::Opening::Continued => Opening::Continued,
    };
    let mut found = Identified {
        identity: Identity::Nobody,
        opening,
        eligibility: eligibility(route, chat),
        customer: customer(route, chat, admitted),
        forced: forced(gateway, admitted),
        trail: None,
    };
    for source in &route.settings.sessions {
        let name = match source {
            SessionSource::Header(name) => header(admitted, name),
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

/// A conversation that begins draws a new unit; one that goes on has the unit that got its last answer.
fn follow(gateway: &Gateway, route: &Route, chat: &ChatRequest<'_>, admitted: &Admitted, found: &mut Identified) {
    let mut scope = Vec::with_capacity(96);
    for text in [gateway.config.tenant.as_str(), route.name.as_str()] {
        scope.extend_from_slice(&(text.len() as u64).to_le_bytes());
        scope.extend_from_slice(text.as_bytes());
    }
    scope.extend_from_slice(&admitted.caller.scope);
    let trail = Chain::new(&gateway.keys.conversation, &scope).follow(chat);
    let known = trail.continued.map(|hash| gateway.conversations.find(hash, admitted.received_at));
    let unit = match known {
        Some(Found::Unit(unit)) => unit,
        Some(Found::Ambiguous) => {
            route.series.conversations_ambiguous.add(1);
            UnitKey(rand::random())
        }
        Some(Found::Unknown) => {
            route.series.conversations_edited.add(1);
            UnitKey(rand::random())
        }
        None => UnitKey(rand::random()),
    };
    found.identity = Identity::Session(unit);
    found.trail = Some(trail);
}

fn customer(route: &Route, chat: &ChatRequest<'_>, admitted: &Admitted) -> Option<CustomerId> {
    let named = route.settings.customers.iter().find_map(|source| {
        let name = match source {
            CustomerSource::Header(name) => header(admitted, name),
            CustomerSource::Body(path) => chat.body_text(path),
        };
        name.filter(|name| is_name(name)).map(|name| CustomerId(name.into_owned()))
    });
    named.or_else(|| admitted.caller.holder.customer.clone())
}

fn forced(gateway: &Gateway, admitted: &Admitted) -> Option<Override> {
    if gateway.config.overrides == Overrides::Refused {
        return None;
    }
    match admitted.parts.headers.get("x-coalmine-override")?.as_bytes() {
        b"stable" => Some(Override::Stable),
        b"canary" => Some(Override::Canary),
        _ => None,
    }
}

fn header<'a>(admitted: &'a Admitted, name: &str) -> Option<Cow<'a, str>> {
    admitted.parts.headers.get(name)?.to_str().ok().map(Cow::Borrowed)
}

fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.trim().len())
}
