//! Reads what says which of a provider's addresses is asked, and whom the gateway believes of a client's.

use crate::config::fault::Complaint;
use crate::config::process::Upstream;
use crate::config::read::Fields;
use crate::config::scalar;
use crate::config::secret::Secret;
use coalmine_core::time::SpanMs;
use coalmine_gateway::client_address::{AddressHeader, TrustedProxies};
use coalmine_gateway::config::{
    BreakerPolicy, CapacityCheck, ChoicePolicy, HealthCheck, HedgePolicy, Nearest, OutlierPolicy, Spread,
    UPSTREAMS_MAX, Unwarmed, Warm, WarmUp,
};
use std::time::Duration;

/// When a second address is asked beside the first.
pub(crate) fn hedge(provider: &Fields<'_>) -> Option<HedgePolicy> {
    let section = provider.node("hedge").and_then(|_| provider.section("hedge"))?;
    if provider.items("upstreams").len() < 2 {
        let complaint = Complaint::new("there is no second address to ask", "list two `upstreams`, or remove it");
        provider.fault("hedge", complaint, None);
    }
    let after = some_time(&section, "after")?;
    Some(HedgePolicy { after: Duration::from_millis(after.0), max_share: section.share("max_share")? })
}

/// How often a key is read again.
pub(crate) fn key_refresh(provider: &Fields<'_>, api_key: Option<&Secret>) -> Option<SpanMs> {
    let every = provider.duration("api_key_refresh")?;
    if !api_key.is_some_and(Secret::may_change) {
        let complaint = Complaint::new(
            "there is no key that could change: an environment variable stays what it is while the process runs",
            "remove it, or write `api_key` as `file:PATH` or `command:LINE`",
        );
        provider.fault("api_key_refresh", complaint, None);
    }
    Some(every)
}

/// Whose word on a client's address is taken; networks that are malformed were told of.
pub(crate) fn trusted_proxies(process: &Fields<'_>) -> Option<TrustedProxies> {
    let networks = process.words("trusted_proxies").into_iter().filter_map(|text| scalar::network(text.value).ok());
    let named = process.text("client_address_header")?.value;
    let header = [AddressHeader::XForwardedFor, AddressHeader::Forwarded, AddressHeader::XRealIp];
    let header = header.into_iter().find(|header| header.name() == named)?;
    Some(TrustedProxies { networks: networks.collect(), header })
}

/// Who of several is asked. Malformed values were told of; the defaults stand in for them.
pub(crate) fn choice(provider: &Fields<'_>) -> ChoicePolicy {
    let standard = ChoicePolicy::default();
    ChoicePolicy {
        spread: match provider.text("spread").map(|word| word.value) {
            Some("turns") => Spread::Turns,
            _ => Spread::Sessions,
        },
        nearest: match provider.text("nearest").map(|word| word.value) {
            Some("measured") => Nearest::Measured,
            _ => Nearest::Listed,
        },
        return_after: provider.duration("return_after").unwrap_or(standard.return_after),
        max_ejected: provider.share("max_ejected").unwrap_or(standard.max_ejected),
        breaker: provider.section("breaker").and_then(|section| breaker(&section)).unwrap_or(standard.breaker),
        outliers: provider.section("outliers").and_then(|section| outliers(&section)).unwrap_or(standard.outliers),
    }
}

fn breaker(section: &Fields<'_>) -> Option<BreakerPolicy> {
    let policy = BreakerPolicy {
        unreachable: count(section, "unreachable")?,
        failures: count(section, "failures")?,
        error_share: section.share("error_share")?,
        least: count(section, "least")?,
        window: some_time(section, "window")?,
        pause: some_time(section, "pause")?,
        pause_max: some_time(section, "pause_max")?,
    };
    if policy.pause_max < policy.pause {
        let complaint = Complaint::new("the longest pause is shorter than the first", "write at least `pause`");
        section.fault("pause_max", complaint, None);
    }
    Some(policy)
}

fn outliers(section: &Fields<'_>) -> Option<OutlierPolicy> {
    Some(OutlierPolicy {
        every: some_time(section, "every")?,
        least: count(section, "least")?,
        error_gap: section.share("error_gap")?,
        slower: section.number("slower")?,
    })
}

/// How each address is looked at.
pub(crate) fn health(provider: &Fields<'_>) -> Option<HealthCheck> {
    let section = provider.node("health").and_then(|_| provider.section("health"))?;
    Some(HealthCheck {
        path: path(&section, "path")?,
        every: wall(some_time(&section, "every")?),
        within: wall(some_time(&section, "within")?),
        unhealthy_after: count(&section, "unhealthy_after")?,
        healthy_after: count(&section, "healthy_after")?,
    })
}

/// Connections kept open.
pub(crate) fn warm(upstream: &Fields<'_>) -> Option<Warm> {
    let every = some_time(upstream, "warm_every")?;
    upstream.node("warm")?;
    let connections = usize::try_from(upstream.integer("warm")?).ok()?;
    if connections > WARM_MAX {
        upstream.fault("warm", Complaint::new("so many connections are not kept", "write 256 or less"), None);
    }
    Some(Warm { connections, every: wall(every) })
}

/// How the model is warmed before a stage begins.
pub(crate) fn warm_up(provider: &Fields<'_>, send_client_key: bool) -> Option<WarmUp> {
    let section = provider.node("warm_up").and_then(|_| provider.section("warm_up"))?;
    if send_client_key {
        let complaint = Complaint::new(
            "clients hold the provider's keys, and a prompt of our own would have none",
            "remove `warm_up`, or give the provider an `api_key`",
        );
        provider.fault("warm_up", complaint, None);
    }
    let tries = count(&section, "tries")?;
    if tries < TRIES_LEAST {
        let complaint = Complaint::new("so few answers cannot agree", format!("write at least {TRIES_LEAST}"));
        section.fault("tries", complaint, None);
    }
    Some(WarmUp {
        prompt: section.text("prompt")?.value.to_owned(),
        tries,
        within: wall(some_time(&section, "within")?),
        then: match section.text("then")?.value {
            "hold" => Unwarmed::Hold,
            // Anything else was told already.
            _ => Unwarmed::Go,
        },
    })
}

/// How each address is asked for its load.
pub(crate) fn capacity(provider: &Fields<'_>) -> Option<CapacityCheck> {
    let section = provider.node("capacity").and_then(|_| provider.section("capacity"))?;
    let slots = section.node("slots").and_then(|_| count(&section, "slots"));
    if slots == Some(0) {
        section.fault("slots", Complaint::new("no request at all", "write what one address works on at most"), None);
    }
    Some(CapacityCheck {
        path: path(&section, "path")?,
        every: wall(some_time(&section, "every")?),
        within: wall(some_time(&section, "within")?),
        most: section.share("most")?,
        slots,
    })
}

/// As many answers must agree.
const TRIES_LEAST: u32 = 3;

/// The most connections that are kept open to one address.
const WARM_MAX: usize = 256;

/// There are no more than can be chosen among.
pub(crate) fn bounded(provider: &Fields<'_>, upstreams: usize) {
    if upstreams > UPSTREAMS_MAX {
        let mend = format!("write {UPSTREAMS_MAX} or less");
        provider.fault("upstreams", Complaint::new("there are too many", mend), None);
    }
}

/// An address that stood twice would be its own sibling: a further try would go where the first one went.
pub(crate) fn distinct(listed: &[Fields<'_>], read: &[Option<Upstream>]) {
    let urls: Vec<Option<&String>> = read.iter().map(|one| one.as_ref().map(|one| &one.url)).collect();
    for (at, fields) in listed.iter().enumerate() {
        if urls[at].is_some() && urls[..at].contains(&urls[at]) {
            let mend = "remove one of them; for more connections to it write `warm`";
            fields.fault("url", Complaint::new("this address stands twice", mend), None);
        }
    }
}

fn path(section: &Fields<'_>, name: &'static str) -> Option<String> {
    let text = section.text(name)?.value;
    let fine = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if !fine {
        section.fault(name, Complaint::new("this is no path", "write one such as `/health`"), None);
    }
    fine.then(|| text.to_owned())
}

fn some_time(section: &Fields<'_>, name: &'static str) -> Option<SpanMs> {
    let span = section.duration(name)?;
    if span.0 == 0 {
        section.fault(name, Complaint::new("no time at all", "write a duration above 0"), None);
    }
    Some(span)
}

fn count(section: &Fields<'_>, name: &'static str) -> Option<u32> {
    Some(u32::try_from(section.integer(name)?).unwrap_or(u32::MAX))
}

fn wall(span: SpanMs) -> Duration {
    Duration::from_millis(span.0)
}
