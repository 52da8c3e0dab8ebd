//! The forms of single values: text to typed value, or what is wrong with it and the mend.

use crate::config::fault::{Complaint, nearest};
use crate::config::key::{Choice, Scalar};
use crate::config::zone;
use coalmine_core::metric::Metric;
use coalmine_core::release::policy::{FreezeWindow, NoDataThen};
use coalmine_core::time::SpanMs;
use coalmine_core::traffic::weight::WeightBp;
use coalmine_gateway::client_address::{Network, NetworkError};
use std::net::SocketAddr;
use std::path::PathBuf;

/// The longest single value that an error repeats.
const MAX_SHOWN: usize = 60;
/// The longest duration, in days.
const MAX_DAYS: u64 = 3_660;

type Read<T> = Result<T, Complaint>;

/// A stated tolerance, before the metric says what it means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Tolerance {
    /// `0`: any proven harm.
    Zero,
    /// `0.5pp`, as a share of 1.
    Points(f64),
    /// `10%`, as a share of 1.
    Relative(f64),
}

/// A stated bound, before the metric says what it means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    /// `2%`, as a share of 1.
    Share(f64),
    /// `1.5s`.
    Duration(SpanMs),
    /// `$0.20`.
    Usd(f64),
    /// A plain number.
    Plain(f64),
}

/// Where a session's key is found in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionSource {
    /// A request header, lower case.
    Header(String),
    /// A text field of the body, dots between the levels (`metadata.session_id`).
    Body(String),
    /// The path: `/s/{session}/v1/…`.
    Path,
    /// The content of the conversation.
    Conversation,
}

/// Where a customer's name is found in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CustomerSource {
    /// A request header, lower case.
    Header(String),
    /// A text field of the body, dots between the levels.
    Body(String),
}

/// Where state is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreAddress {
    /// A file.
    Sqlite(PathBuf),
    /// Nowhere: lost when the process ends.
    Memory,
}

/// Stores of the format that are not there yet.
pub(crate) const STORES_NOT_BUILT: &[Choice] = &[Choice::not_built(
    "postgres://",
    "state in Postgres, for gateways that run apart",
    "use `sqlite:coalmine.db`, on one node",
)];

impl Scalar {
    /// What is expected, for people: `a duration such as 90s, …`.
    pub(crate) fn expects(self) -> String {
        let text = match self {
            Self::Duration => "a duration such as 90s, 15m, 24h or 3d",
            Self::Share => "a share such as 5% or 0.1%",
            Self::Margin => "a margin such as 0.5pp, 10% or 0",
            Self::Bound => "a bound such as 2%, 1.5s, $0.20 or a number",
            Self::Money => "US dollars such as $40 or $0.15",
            Self::Bytes => "a size such as 512KB or 32MB",
            Self::Integer(0) => "a whole number",
            Self::Integer(least) => return format!("a whole number from {least} on"),
            Self::Number => "a number above 0",
            Self::PerMinute => "a number a minute such as 5/min",
            Self::Switch => "on or off",
            Self::OneOf(choices) => {
                let built: Vec<_> = choices.iter().filter(|c| c.not_built.is_none()).map(|c| c.word).collect();
                return format!("one of {}", built.join(", "));
            }
            Self::Text => "one line of text",
            Self::Block => "text",
            Self::Name => "a name of letters, digits, `.`, `_` and `-`",
            Self::Url => "an address such as https://api.openai.com/v1",
            Self::Address => "an address such as 127.0.0.1:8080",
            Self::Network => "a network such as 10.0.0.0/8, fd00::/8 or 192.0.2.7",
            Self::Secret => "a reference: ${NAME}, file:PATH or command:LINE",
            Self::Path => "a file's path",
            Self::Store => "sqlite:PATH or memory",
            Self::Model => "PROVIDER/MODEL, such as openai/gpt-4.1",
            Self::SessionSource => "header:NAME, body:FIELD, path, user or conversation",
            Self::CustomerSource => "header:NAME or body:FIELD",
            Self::Metric => "a metric such as error_rate, or feedback.NAME",
            Self::NoData => "hold 30m, rollback 30m or warn",
            Self::Freeze => "a weekly span such as fri 16:00 .. mon 08:00 Europe/Berlin",
        };
        text.to_owned()
    }

    /// Whether `text` has the form.
    pub(crate) fn check(self, text: &str) -> Read<()> {
        match self {
            Self::Duration => duration(text).map(drop),
            Self::Share => share(text).map(drop),
            Self::Margin => margin(text).map(drop),
            Self::Bound => bound(text).map(drop),
            Self::Money => money(text).map(drop),
            Self::Bytes => bytes(text).map(drop),
            Self::Integer(least) => integer(text, least).map(drop),
            Self::Number => number(text).map(drop),
            Self::PerMinute => per_minute(text).map(drop),
            Self::Switch => switch(text).map(drop),
            Self::OneOf(choices) => one_of(text, choices),
            Self::Text => plain_text(text),
            Self::Block => Ok(()),
            Self::Name => name(text),
            Self::Url => url(text),
            Self::Address => address(text).map(drop),
            Self::Network => network(text).map(drop),
            Self::Secret => secret(text).map(drop),
            Self::Path => path(text),
            Self::Store => store(text).map(drop),
            Self::Model => model(text).map(drop),
            Self::SessionSource => session_source(text).map(drop),
            Self::CustomerSource => customer_source(text).map(drop),
            Self::Metric => metric(text).map(drop),
            Self::NoData => no_data(text).map(drop),
            Self::Freeze => freeze(text).map(drop),
        }
    }

    fn complaint(self, text: &str) -> Complaint {
        Complaint::new(format!("{} is not {}", shown(text), self.expects()), format!("write {}", self.expects()))
    }
}

/// The text in backticks, cut to a bearable length and to what can be printed.
pub(crate) fn shown(text: &str) -> String {
    let mut cut: String = text.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    format!("`{cut}`")
}

/// A decimal as (digits without the point, number of digits behind it); at most 15 digits.
fn decimal(text: &str) -> Option<(u64, u32)> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let pointless = text.contains('.') && part.is_empty();
    if whole.is_empty() || pointless || !digits(whole) || !digits(part) || whole.len() + part.len() > 15 {
        return None;
    }
    let behind = u32::try_from(part.len()).ok()?;
    format!("{whole}{part}").parse().ok().map(|n| (n, behind))
}

/// A decimal times `scale`, where that is a whole number.
fn scaled(text: &str, scale: u64) -> Option<u64> {
    let (n, behind) = decimal(text)?;
    let divisor = 10_u64.checked_pow(behind)?;
    let product = n.checked_mul(scale)?;
    product.is_multiple_of(divisor).then(|| product / divisor)
}

/// A decimal as a number.
fn float(text: &str) -> Option<f64> {
    decimal(text)?;
    text.parse().ok().filter(|n: &f64| n.is_finite())
}

/// `90s`, `15m`, `24h`, `3d`, `250ms`, `1.5s`.
pub(crate) fn duration(text: &str) -> Read<SpanMs> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let read = units.into_iter().find_map(|(unit, ms)| scaled(text.strip_suffix(unit)?, ms));
    let ms = read.ok_or_else(|| Scalar::Duration.complaint(text))?;
    if ms > MAX_DAYS * 86_400_000 {
        return Err(Complaint::new(format!("{} is longer than {MAX_DAYS} days", shown(text)), "write less"));
    }
    Ok(SpanMs(ms))
}

fn percent(text: &str) -> Option<f64> {
    float(text.strip_suffix('%')?.trim_end()).map(|n| n / 100.0)
}

/// `5%` in basis points: above 0, at most 100 %.
pub(crate) fn share(text: &str) -> Read<WeightBp> {
    let read = text.strip_suffix('%').and_then(|n| scaled(n.trim_end(), 100));
    let weight = read.and_then(|bp| WeightBp::new(u16::try_from(bp).ok()?)).filter(|bp| *bp > WeightBp::ZERO);
    match weight {
        Some(weight) => Ok(weight),
        None if float(text).is_some() => {
            Err(Complaint::new(format!("{} has no unit", shown(text)), format!("write `{text}%` if percent is meant")))
        }
        None => Err(Complaint::new(
            format!("{} is not {}", shown(text), Scalar::Share.expects()),
            "write a share above 0% and up to 100%, in steps of 0.01%",
        )),
    }
}

/// `0.5pp`, `10%` or `0`.
pub(crate) fn margin(text: &str) -> Read<Tolerance> {
    if let Some(points) = text.strip_suffix("pp").and_then(|n| float(n.trim_end())).filter(|n| *n <= 100.0) {
        return Ok(if points == 0.0 { Tolerance::Zero } else { Tolerance::Points(points / 100.0) });
    }
    if let Some(ratio) = percent(text).filter(|n| *n <= 10.0) {
        return Ok(if ratio == 0.0 { Tolerance::Zero } else { Tolerance::Relative(ratio) });
    }
    match float(text) {
        Some(0.0) => Ok(Tolerance::Zero),
        Some(_) => Err(Complaint::new(
            format!("{} has no unit", shown(text)),
            format!("write `{text}pp` for percentage points or `{text}%` for a part of stable's value"),
        )),
        None => Err(Scalar::Margin.complaint(text)),
    }
}

/// `2%`, `1.5s`, `$0.20` or a number.
pub(crate) fn bound(text: &str) -> Read<Bound> {
    if let Some(share) = percent(text).filter(|n| *n <= 1.0) {
        return Ok(Bound::Share(share));
    }
    if let Some(usd) = text.strip_prefix('$').and_then(float) {
        return Ok(Bound::Usd(usd));
    }
    if let Ok(span) = duration(text) {
        return Ok(Bound::Duration(span));
    }
    float(text).map(Bound::Plain).ok_or_else(|| Scalar::Bound.complaint(text))
}

/// `$40`.
pub(crate) fn money(text: &str) -> Read<f64> {
    text.strip_prefix('$').and_then(float).ok_or_else(|| Scalar::Money.complaint(text))
}

/// `512KB`, `32MB`; powers of 1024.
pub(crate) fn bytes(text: &str) -> Read<usize> {
    let units = [("KB", 1_u64 << 10), ("MB", 1 << 20), ("GB", 1 << 30), ("B", 1)];
    let read = units.into_iter().find_map(|(unit, n)| scaled(text.strip_suffix(unit)?.trim_end(), n));
    let sane = read.filter(|n| (1..=4 << 30).contains(n));
    sane.and_then(|n| usize::try_from(n).ok()).ok_or_else(|| Scalar::Bytes.complaint(text))
}

/// A whole number of at least `least`.
pub(crate) fn integer(text: &str, least: u64) -> Read<u64> {
    let read = text.parse().ok().filter(|n| (least..=1_000_000_000_000).contains(n));
    read.filter(|_| text.bytes().all(|b| b.is_ascii_digit())).ok_or_else(|| Scalar::Integer(least).complaint(text))
}

/// A number above 0.
pub(crate) fn number(text: &str) -> Read<f64> {
    float(text).filter(|n| *n > 0.0).ok_or_else(|| Scalar::Number.complaint(text))
}

/// `5/min`.
pub(crate) fn per_minute(text: &str) -> Read<f64> {
    let read = text.strip_suffix("/min").and_then(|n| float(n.trim_end())).filter(|n| *n > 0.0);
    read.ok_or_else(|| Scalar::PerMinute.complaint(text))
}

/// `on`, `off`, `true`, `false`.
pub(crate) fn switch(text: &str) -> Read<bool> {
    match text {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err(Scalar::Switch.complaint(text)),
    }
}

fn one_of(text: &str, choices: &'static [Choice]) -> Read<()> {
    match choices.iter().find(|choice| choice.word == text) {
        Some(choice) => choice.not_built.map_or(Ok(()), |_| Err(not_built(choice))),
        None => {
            let mut complaint = Scalar::OneOf(choices).complaint(text);
            if let Some(near) = nearest(text, choices.iter().map(|choice| choice.word)) {
                complaint.mend = format!("did you mean `{near}`? {}", complaint.mend);
            }
            Err(complaint)
        }
    }
}

/// What is said of a word whose capability is not there yet.
pub(crate) fn not_built(choice: &Choice) -> Complaint {
    let mend = choice.not_built.unwrap_or_default();
    Complaint::new(format!("`{}` ({}) belongs to the format and is not built yet", choice.word, choice.doc), mend)
}

fn plain_text(text: &str) -> Read<()> {
    if text.is_empty() || text.chars().any(char::is_control) || text.len() > 4_096 {
        return Err(Complaint::new("the text is empty, too long or has control characters", "write one line of text"));
    }
    Ok(())
}

/// 1 to 128 of letters, digits, `.`, `_`, `-`, `/`; as routes, providers and customers are named.
pub(crate) fn name(text: &str) -> Read<()> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let good = (1..=128).contains(&text.len()) && text.bytes().all(fits);
    if good { Ok(()) } else { Err(Scalar::Name.complaint(text)) }
}

/// An absolute http(s) address without query and without a user inside.
pub(crate) fn url(text: &str) -> Read<()> {
    if reference(text).is_some() {
        return Ok(());
    }
    let read = text.parse::<http::Uri>().ok();
    let good = read.is_some_and(|uri| {
        let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
        let host = uri.authority().is_some_and(|a| !a.host().is_empty() && !a.as_str().contains('@'));
        scheme && host
    });
    // A user's password or a token may stand in it: it is not repeated.
    let complaint = || Complaint::new("this is not an http address", format!("write {}", Scalar::Url.expects()));
    if good && !text.contains('?') { Ok(()) } else { Err(complaint()) }
}

/// `127.0.0.1:8080`.
pub(crate) fn address(text: &str) -> Read<SocketAddr> {
    text.parse().map_err(|_| Scalar::Address.complaint(text))
}

/// What a `${NAME}` names.
pub(crate) fn reference(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("${")?.strip_suffix('}')?;
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (!inner.is_empty() && inner.bytes().all(fits)).then_some(inner)
}

/// `10.0.0.0/8`, `fd00::/8`, `192.0.2.7`.
pub(crate) fn network(text: &str) -> Read<Network> {
    text.parse().map_err(|error| match error {
        NetworkError::Malformed => Scalar::Network.complaint(text),
        NetworkError::Beyond(bits) => Complaint::new(
            format!("{} has bits of an address beyond its length /{bits}", shown(text)),
            "write the network's first address, or a longer length",
        ),
    })
}

/// Where a secret is to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecretPlace<'a> {
    /// An environment variable.
    Env(&'a str),
    /// A file.
    File(&'a str),
    /// What this line of shell prints.
    Command(&'a str),
}

/// `${NAME}`, `file:PATH` or `command:LINE`; the text itself is never repeated, it may be the secret.
pub(crate) fn secret(text: &str) -> Read<SecretPlace<'_>> {
    if let Some(name) = reference(text) {
        return Ok(SecretPlace::Env(name));
    }
    let after = |mark: &str| text.strip_prefix(mark).map(str::trim).filter(|rest| !rest.is_empty());
    let found = after("file:").map(SecretPlace::File).or_else(|| after("command:").map(SecretPlace::Command));
    found.ok_or_else(|| {
        Complaint::new(
            "a secret stands in the file, or its reference is malformed",
            "keep it outside and write `${NAME}` (an environment variable), `file:PATH` or `command:LINE` (what it prints)",
        )
    })
}

fn path(text: &str) -> Read<()> {
    let bad = text.is_empty() || text.len() > 4_096 || text.chars().any(char::is_control);
    if bad { Err(Scalar::Path.complaint(text)) } else { Ok(()) }
}

/// `sqlite:PATH` or `memory`.
pub(crate) fn store(text: &str) -> Read<StoreAddress> {
    if text == "memory" {
        return Ok(StoreAddress::Memory);
    }
    if let Some(file) = text.strip_prefix("sqlite:").filter(|file| path(file).is_ok()) {
        return Ok(StoreAddress::Sqlite(PathBuf::from(file)));
    }
    let postgres = text.starts_with("postgres:") || text.starts_with("postgresql:");
    match STORES_NOT_BUILT.first().filter(|_| postgres) {
        Some(choice) => Err(not_built(choice)),
        // The address of a database may carry a password.
        None => Err(Complaint::new("this is no store", format!("write {}", Scalar::Store.expects()))),
    }
}

/// `provider/model`; the model's own name may hold further slashes.
pub(crate) fn model(text: &str) -> Read<(&str, &str)> {
    let parts = text.split_once('/').filter(|(provider, model)| name(provider).is_ok() && plain_text(model).is_ok());
    parts.ok_or_else(|| Scalar::Model.complaint(text))
}

fn header(text: &str) -> Option<String> {
    text.parse::<http::HeaderName>().ok().map(|header| header.as_str().to_owned())
}

fn field(text: &str) -> Option<String> {
    let level =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    text.split('.').all(level).then(|| text.to_owned())
}

/// `header:NAME`, `body:FIELD`, `path`, `user`, `conversation`.
pub(crate) fn session_source(text: &str) -> Read<SessionSource> {
    let read = match text.split_once(':') {
        Some(("header", rest)) => header(rest).map(SessionSource::Header),
        Some(("body", rest)) => field(rest).map(SessionSource::Body),
        Some(_) => None,
        None => match text {
            "path" => Some(SessionSource::Path),
            "user" => Some(SessionSource::Body("user".to_owned())),
            "conversation" => Some(SessionSource::Conversation),
            _ => None,
        },
    };
    read.ok_or_else(|| Scalar::SessionSource.complaint(text))
}

/// `header:NAME`, `body:FIELD`.
pub(crate) fn customer_source(text: &str) -> Read<CustomerSource> {
    let read = match text.split_once(':') {
        Some(("header", rest)) => header(rest).map(CustomerSource::Header),
        Some(("body", rest)) => field(rest).map(CustomerSource::Body),
        Some(_) | None => None,
    };
    read.ok_or_else(|| Scalar::CustomerSource.complaint(text))
}

/// A metric's name.
pub(crate) fn metric(text: &str) -> Read<Metric> {
    text.parse().map_err(|_| {
        let known: Vec<String> = Metric::BUILT_IN.iter().map(ToString::to_string).collect();
        let near = nearest(text, known.iter().map(String::as_str));
        let hint = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
        Complaint::new(
            format!("{} is not a metric", shown(text)),
            format!("{hint}the metrics are {}, feedback.NAME, thumbs_down.NAME and judge.NAME", known.join(", ")),
        )
    })
}

/// `hold 30m`, `rollback 30m`, `warn`.
pub(crate) fn no_data(text: &str) -> Read<(NoDataThen, Option<SpanMs>)> {
    let (word, grace) = text.split_once(' ').map_or((text, None), |(word, rest)| (word, Some(rest.trim())));
    let then = match word {
        "hold" => NoDataThen::Hold,
        "rollback" => NoDataThen::Rollback,
        "warn" => NoDataThen::Warn,
        _ => return Err(Scalar::NoData.complaint(text)),
    };
    Ok((then, grace.map(duration).transpose()?))
}

/// `fri 16:00 .. mon 08:00 Europe/Berlin`: the span in minutes since Monday 00:00 and the zone that they are
/// of; those of a fixed offset are of UTC already.
pub(crate) fn freeze(text: &str) -> Read<(FreezeWindow, Option<&str>)> {
    let complaint = || Scalar::Freeze.complaint(text);
    let (from, rest) = text.split_once("..").ok_or_else(complaint)?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let (to, zone) = match words.as_slice() {
        [day, time] => (format!("{day} {time}"), "UTC"),
        [day, time, zone] => (format!("{day} {time}"), *zone),
        _ => return Err(complaint()),
    };
    let (offset, named) = match zone_offset(zone) {
        Some(offset) => (offset, None),
        None if zone::is_known(zone) => (0, Some(zone)),
        None => {
            let what = format!("{} is no time zone", shown(zone));
            return Err(Complaint::new(
                what,
                "write its name as in the IANA database, such as Europe/Berlin, UTC or +02:00",
            ));
        }
    };
    let utc = |local: &str| {
        let minute = minute_of_week(local.trim())? - offset;
        u16::try_from(minute.rem_euclid(7 * 24 * 60)).ok()
    };
    let window = utc(from).zip(utc(&to)).map(|(from, to)| FreezeWindow { from, to, zone: None });
    let window = window.ok_or_else(complaint)?;
    if window.from == window.to {
        return Err(Complaint::new("the span begins and ends at the same minute", "write a span that ends later"));
    }
    Ok((window, named))
}

fn minute_of_week(text: &str) -> Option<i32> {
    let (day, time) = text.split_once(' ')?;
    let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let day = days.iter().position(|known| *known == day)?;
    Some(i32::try_from(day).ok()? * 24 * 60 + minute_of_day(time.trim())?)
}

fn minute_of_day(text: &str) -> Option<i32> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |s: &str| s.len() == 2 && s.bytes().all(|b| b.is_ascii_digit());
    if !two(hours) || !two(minutes) {
        return None;
    }
    let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

fn zone_offset(zone: &str) -> Option<i32> {
    if matches!(zone, "UTC" | "Z") {
        return Some(0);
    }
    if let Some(east) = zone.strip_prefix('+') {
        return minute_of_day(east).filter(|m| *m <= 14 * 60);
    }
    zone.strip_prefix('-').and_then(minute_of_day).filter(|m| *m <= 12 * 60).map(|m| -m)
}
