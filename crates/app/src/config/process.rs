//! `coalmine.yaml` as the process uses it.

use crate::config::capture::Capture;
use crate::config::check::check;
use crate::config::fault::{At, Complaint, Fault, Faults, dot, nearest};
use crate::config::hooks::{Assessor, Webhook};
use crate::config::limits::{self, Limits};
use crate::config::people;
use crate::config::prices;
use crate::config::read::{Fields, Placed, Reading, scalar_text};
use crate::config::release::{Background, RouteBackground};
use crate::config::route::{Asked, Route};
use crate::config::scalar::{self, SecretPlace, StoreAddress};
use crate::config::secret::{self, Origin, Secret, Surroundings};
use crate::config::table::process::PROCESS;
use crate::config::telemetry::{self, Telemetry};
use crate::config::tree::{self, Value};
use crate::config::upstream;
use crate::config::version::{Answering, Place, listed};
use coalmine_core::id::{Actor, CustomerId, ProviderName, RouteName};
use coalmine_core::key::{Quota, Usd};
use coalmine_core::origin::Region;
use coalmine_core::time::SpanMs;
use coalmine_gateway::client_address::TrustedProxies;
use coalmine_gateway::config::{CapacityCheck, ChoicePolicy, HealthCheck, HedgePolicy, Warm, WarmUp};
use coalmine_wire::dialect::Family;
use coalmine_wire::params::{self, OwnHost};
use coalmine_wire::prices::Quote;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Everything that `coalmine.yaml` says, defaults filled in, secrets found, files read.
#[derive(Debug, Clone, PartialEq)]
pub struct Process {
    /// Address of the gateway.
    pub listen: SocketAddr,
    /// Own address of the management API; without it, it is served at `listen`.
    pub admin_listen: Option<SocketAddr>,
    /// The certificate that `listen` is served with.
    pub tls: Option<TlsFiles>,
    /// Where state is kept; a relative path is already joined to the file's folder.
    pub store: StoreAddress,
    /// Folder of the local files, joined likewise.
    pub data_dir: PathBuf,
    /// Who answers.
    pub providers: BTreeMap<ProviderName, Provider>,
    /// Where requests go that name no route.
    pub default_provider: Option<ProviderName>,
    /// What clients put in `model`.
    pub routes: BTreeMap<RouteName, Route>,
    /// Whom the routes serve.
    pub customers: BTreeMap<CustomerId, Customer>,
    /// Named sets of customers, resolved to names.
    pub cohorts: BTreeMap<String, BTreeSet<CustomerId>>,
    /// Keys of clients that belong to no customer.
    pub client_keys: BTreeMap<String, Secret>,
    /// Whether a request needs a key before there is one.
    pub require_key: bool,
    /// What all requests together may use.
    pub quota: Quota,
    /// Tokens of the management API.
    pub api_tokens: BTreeMap<Actor, Secret>,
    /// Who is told of what.
    pub notify: Vec<Webhook>,
    /// Webhooks that suites of sentinels may ask about an answer.
    pub assessors: BTreeMap<String, Assessor>,
    /// How answers are captured, where a route says that they are.
    pub capture: Option<Capture>,
    /// Prices over the shipped ones, by the provider's own name of the model.
    pub prices: BTreeMap<String, Quote>,
    /// Whose word on a client's address is taken.
    pub trusted_proxies: TrustedProxies,
    /// Bounds.
    pub limits: Limits,
    /// What is told of requests beside `/metrics`.
    pub telemetry: Telemetry,
    /// Where this gateway stands.
    pub region: Option<Region>,
    /// Whether answers carry the `x-coalmine-…` headers.
    pub answer_headers: bool,
    /// Whether clients may force an arm.
    pub override_header: bool,
    /// Where people reach the management API, without a slash at the end.
    pub public_url: Option<String>,
    /// Milliseconds that pass in one of the wall's.
    pub time_scale: f64,
}

/// A certificate and its key, joined to the file's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those between it and the root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// One provider.
#[derive(Debug, Clone, PartialEq)]
pub struct Provider {
    /// The dialect.
    pub kind: ProviderKind,
    /// Sent as `Authorization: Bearer`, to Anthropic's as `x-api-key`.
    pub api_key: Option<Secret>,
    /// How often that is read again; zero: only where the provider refuses it. `None`: by where it comes from.
    pub api_key_refresh: Option<SpanMs>,
    /// Whether the client's own key is sent on; never beside `api_key`.
    pub send_client_key: bool,
    /// Whether streams are asked for their usage.
    pub stream_usage: bool,
    /// The `anthropic-beta` flags that it is told; `None`: all that clients send.
    pub anthropic_beta: Option<BTreeSet<String>>,
    /// Parameters that it takes beside those that are known.
    pub extra_params: BTreeSet<String>,
    /// At least one.
    pub upstreams: Vec<Upstream>,
    /// Which of them is asked.
    pub choice: ChoicePolicy,
    /// Whether they are looked at by themselves.
    pub health: Option<HealthCheck>,
    /// Whether its model is warmed before a stage begins.
    pub warm_up: Option<WarmUp>,
    /// Whether its addresses are asked for their load.
    pub capacity: Option<CapacityCheck>,
    /// Its own times.
    pub timeouts: ProviderTimeouts,
    /// Tries beyond the first.
    pub retries: u16,
    /// When a second address is asked beside the first.
    pub hedge: Option<HedgePolicy>,
}

/// A provider's times where they are not those of the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProviderTimeouts {
    /// In place of `connect_timeout`.
    pub connect: Option<SpanMs>,
    /// In place of `first_byte_timeout`.
    pub first_byte: Option<SpanMs>,
    /// In place of `thinking_timeout`.
    pub thinking: Option<SpanMs>,
    /// In place of `idle_timeout`.
    pub idle: Option<SpanMs>,
    /// In place of `total_timeout`.
    pub total: Option<SpanMs>,
}

impl Provider {
    /// All parameters that a version may set with it.
    #[must_use]
    pub fn params(&self) -> BTreeSet<String> {
        let own = |upstream: &Upstream| {
            let host = upstream.url.split('/').nth(2).unwrap_or_default();
            host == "api.openai.com" || host.ends_with(".azure.com")
        };
        let own_host = if self.upstreams.iter().all(own) { OwnHost::Yes } else { OwnHost::No };
        let family = match self.kind {
            ProviderKind::OpenAi | ProviderKind::People => Family::OpenAi,
            ProviderKind::Anthropic => Family::Anthropic,
        };
        let known = params::taken_by(family, own_host).into_iter().map(str::to_owned);
        known.chain(self.extra_params.iter().cloned()).collect()
    }
}

/// The dialect of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderKind {
    /// OpenAI's.
    OpenAi,
    /// Anthropic's.
    Anthropic,
    /// None: people answer.
    People,
}

impl ProviderKind {
    /// The provider's own address.
    fn address(self) -> &'static str {
        match self {
            Self::OpenAi => "https://api.openai.com/v1",
            Self::Anthropic => "https://api.anthropic.com/v1",
            Self::People => "http://people.invalid/v1",
        }
    }
}

/// One address of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Up to and with `/v1`, without a slash at the end.
    pub url: String,
    /// Where it stands; `None`: where the gateway does.
    pub region: Option<Region>,
    /// Connections kept open ahead of need.
    pub warm: Option<Warm>,
}

/// One customer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Customer {
    /// Words that select it.
    pub tags: BTreeSet<String>,
    /// Keys that it shows.
    pub keys: Vec<Secret>,
    /// What they may use together.
    pub quota: Quota,
}

/// Reads `coalmine.yaml`. `file` names it in errors, and its folder is where relative paths start;
/// nothing but `around` is read.
///
/// # Errors
/// Everything that is wrong with the file, in the order of the file.
pub fn parse_process(text: &str, file: &Path, around: &dyn Surroundings) -> Result<Process, Faults> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let reading = Reading::default();
    let (node, faults) = tree::parse(text);
    let broken = !faults.is_empty();
    reading.extend(faults);
    let process = match &node {
        Some(node) => {
            reading.extend(check(node, &PROCESS));
            let fields = reading.fields(&PROCESS, "", node);
            fields.and_then(|fields| Reader { place: Place { folder, around } }.process(&fields))
        }
        None if broken => None,
        None => {
            let mend = "name at least one provider and one route; `coalmine config keys` lists all keys";
            reading.fault(At { line: 1, column: 1 }, "", Complaint::new("the file is empty", mend), None);
            None
        }
    };
    let mut faults = reading.into_faults();
    match process {
        Some(process) if faults.is_empty() => Ok(process),
        Some(_) | None => {
            if faults.is_empty() {
                faults.push(unread());
            }
            Err(Faults::new(file, faults))
        }
    }
}

/// A reader gave up without saying why: a defect of ours that must not look like success.
pub(crate) fn unread() -> Fault {
    let what = "the file cannot be read, and no reason was found".to_owned();
    let mend = "report this with the file, without its secrets".to_owned();
    Fault { at: At { line: 1, column: 1 }, key: String::new(), what, nearest: None, mend }
}

impl Process {
    /// What a release file is read against, with the stables of this file; put the store's in
    /// where it knows better.
    #[must_use]
    pub fn background(&self) -> Background {
        let mut tags: BTreeMap<String, BTreeSet<CustomerId>> = BTreeMap::new();
        for (name, customer) in &self.customers {
            for tag in &customer.tags {
                tags.entry(tag.clone()).or_default().insert(name.clone());
            }
        }
        let route = |(name, route): (&RouteName, &Route)| {
            (name.clone(), RouteBackground { stable: route.stable.clone(), feedback: route.feedback.clone() })
        };
        Background {
            routes: self.routes.iter().map(route).collect(),
            providers: self.providers.keys().cloned().collect(),
            params: self.providers.iter().map(|(name, provider)| (name.clone(), provider.params())).collect(),
            cohorts: self.cohorts.clone(),
            tags,
            priced: self.prices.keys().cloned().collect(),
            assessors: self.assessors.keys().cloned().collect(),
        }
    }
}

pub(super) struct Reader<'a> {
    pub(super) place: Place<'a>,
}

impl Reader<'_> {
    /// Every part is read, whatever is wrong with the others, so that all faults are told.
    fn process(&self, fields: &Fields<'_>) -> Option<Process> {
        let providers = self.providers(fields);
        let names: BTreeSet<ProviderName> = fields.named("providers").iter().map(|(name, _)| (*name).into()).collect();
        let params = providers.iter().flatten().map(|(name, provider)| (name.clone(), provider.params())).collect();
        let answering = Answering { providers: &names, params: &params };
        let named = fields.named("assessors").into_iter().map(|(name, _)| name.to_owned()).collect();
        let routes = self.routes(fields, &Asked { answering: &answering, assessors: named });
        let customers = self.customers(fields);
        let cohorts = cohorts(fields, &customers);
        let client_keys = self.secrets(fields, "client_keys");
        let api_tokens = fields.section("api").map(|api| self.secrets(&api, "tokens")).unwrap_or_default();
        let notify = fields.sections("notify").iter().map(|hook| self.webhook(hook)).collect::<Option<Vec<_>>>();
        let assessors =
            fields.named("assessors").into_iter().map(|(name, one)| Some((name.to_owned(), self.assessor(&one)?)));
        let assessors = assessors.collect::<Vec<Option<_>>>().into_iter().collect::<Option<BTreeMap<_, _>>>();
        let prices =
            fields.named("prices").into_iter().map(|(name, price)| Some((name.to_owned(), prices::read(&price)?)));
        let prices = prices.collect::<Option<BTreeMap<_, _>>>();
        let limits = fields.section("limits").and_then(|limits| limits::limits(&limits));
        let default_provider = default_provider(fields, &names);
        let listen = fields.text("listen").and_then(|text| scalar::address(text.value).ok());
        let admin_listen = fields.text("admin_listen").and_then(|text| scalar::address(text.value).ok());
        guard_api(fields, admin_listen.or(listen), api_tokens.is_empty());
        if admin_listen.is_some() && admin_listen == listen {
            let complaint = Complaint::new("this is the address of `listen`", "remove it, or write another port");
            fields.fault("admin_listen", complaint, None);
        }
        one_holder_each(fields, &customers, &client_keys, &api_tokens);
        let capture = self.capture(fields, &api_tokens);
        Some(Process {
            listen: listen?,
            admin_listen,
            tls: match fields.node("tls") {
                Some(_) => Some(self.tls(&fields.section("tls")?)?),
                None => None,
            },
            store: self.store(fields)?,
            data_dir: self.place.folder.join(fields.text("data_dir")?.value),
            providers: providers?,
            default_provider,
            routes: routes?,
            customers,
            cohorts,
            client_keys,
            require_key: fields.switch("require_key")?,
            quota: quota(fields),
            api_tokens: api_tokens.into_iter().map(|(name, token)| (Actor(name), token)).collect(),
            notify: notify?,
            assessors: assessors?,
            capture: capture?,
            prices: prices?,
            trusted_proxies: upstream::trusted_proxies(fields)?,
            limits: limits?,
            telemetry: match fields.node("telemetry") {
                Some(_) => self.telemetry(&fields.section("telemetry")?)?,
                None => Telemetry::default(),
            },
            region: fields.text("region").map(|text| Region(text.value.into())),
            answer_headers: fields.switch("answer_headers")?,
            override_header: fields.switch("override_header")?,
            public_url: match fields.node("public_url") {
                Some(node) => Some(self.url(fields, scalar_text(node)?)?),
                None => None,
            },
            time_scale: fields.number("time_scale")?,
        })
    }

    fn telemetry(&self, fields: &Fields<'_>) -> Option<Telemetry> {
        let otlp = match fields.node("otlp") {
            Some(_) => {
                let section = fields.section("otlp")?;
                let headers = self.secrets(&section, "headers");
                Some(telemetry::otlp(&section, headers, self.place.around)?)
            }
            None => None,
        };
        Some(Telemetry { access_log: telemetry::access_log(fields, self.place.folder), otlp })
    }

    fn tls(&self, fields: &Fields<'_>) -> Option<TlsFiles> {
        let file = |name| Some(self.place.folder.join(fields.text(name)?.value));
        Some(TlsFiles { certificate: file("certificate")?, key: file("key")? })
    }

    fn store(&self, fields: &Fields<'_>) -> Option<StoreAddress> {
        Some(match scalar::store(fields.text("store")?.value).ok()? {
            StoreAddress::Sqlite(path) => StoreAddress::Sqlite(self.place.folder.join(path)),
            StoreAddress::Memory => StoreAddress::Memory,
        })
    }

    fn providers(&self, fields: &Fields<'_>) -> Option<BTreeMap<ProviderName, Provider>> {
        let named = fields.named("providers");
        if named.is_empty() {
            let complaint = Complaint::new(
                "there is no provider",
                "add one: `openai: { kind: openai, api_key: ${OPENAI_API_KEY} }`",
            );
            fields.fault("providers", complaint, None);
        }
        let read = named.into_iter().map(|(name, provider)| Some((name.into(), self.provider(&provider)?)));
        // All are read before any missing one ends it.
        read.collect::<Vec<_>>().into_iter().collect()
    }

    fn provider(&self, fields: &Fields<'_>) -> Option<Provider> {
        let api_key = fields.node("api_key").and_then(scalar_text).map(|text| self.secret(fields, text));
        let kind = match fields.text("kind").map(|kind| kind.value) {
            Some("anthropic") => ProviderKind::Anthropic,
            Some("people") => ProviderKind::People,
            // Anything else was told already.
            _ => ProviderKind::OpenAi,
        };
        people::provider(fields, kind);
        let upstreams = self.upstreams(fields, kind);
        let betas = || fields.words("anthropic_beta").into_iter().map(|flag| flag.value.to_owned()).collect();
        let anthropic_beta = fields.node("anthropic_beta").map(|_| betas());
        if anthropic_beta.is_some() && kind != ProviderKind::Anthropic {
            let complaint = Complaint::new("only a provider of kind `anthropic` is told beta flags", "remove the key");
            fields.fault("anthropic_beta", complaint, None);
        }
        let send_client_key = fields.switch("send_client_key")?;
        if send_client_key && api_key.is_some() {
            let complaint =
                Complaint::new("the client's own key and `api_key` cannot both be sent", "keep one of them");
            fields.fault("send_client_key", complaint, None);
        }
        let api_key = api_key.map_or(Some(None), |key| key.map(Some))?;
        Some(Provider {
            kind,
            api_key_refresh: upstream::key_refresh(fields, api_key.as_ref()),
            api_key,
            send_client_key,
            stream_usage: fields.switch("stream_usage")?,
            anthropic_beta,
            extra_params: fields.words("extra_params").into_iter().map(|name| name.value.to_owned()).collect(),
            upstreams: upstreams?,
            choice: upstream::choice(fields),
            health: upstream::health(fields),
            warm_up: upstream::warm_up(fields, send_client_key),
            capacity: upstream::capacity(fields),
            timeouts: provider_timeouts(fields),
            hedge: upstream::hedge(fields),
            retries: u16::try_from(fields.integer("retries")?).unwrap_or(u16::MAX),
        })
    }

    fn upstreams(&self, fields: &Fields<'_>, kind: ProviderKind) -> Option<Vec<Upstream>> {
        let base = fields.node("base_url");
        if base.is_some() && fields.node("upstreams").is_some() {
            let complaint = Complaint::new("both `base_url` and `upstreams` stand", "keep one of them");
            fields.fault("upstreams", complaint, None);
        }
        if fields.node("upstreams").is_some() {
            let listed = fields.sections("upstreams");
            if listed.is_empty() {
                fields.fault("upstreams", Complaint::new("the list is empty", "add `{ url: http://… }`"), None);
            }
            let one = |listed: &Fields<'_>| {
                let url = self.url(listed, listed.text("url")?)?;
                let region = listed.text("region").map(|text| Region(text.value.into()));
                Some(Upstream { url, region, warm: upstream::warm(listed) })
            };
            upstream::bounded(fields, listed.len());
            let read: Vec<Option<Upstream>> = listed.iter().map(one).collect();
            upstream::distinct(&listed, &read);
            return read.into_iter().collect();
        }
        let url = match base {
            Some(node) => self.url(fields, scalar_text(node)?)?,
            None => kind.address().to_owned(),
        };
        Some(vec![Upstream { url, region: None, warm: None }])
    }

    /// An address, which may be an environment variable's.
    fn url(&self, fields: &Fields<'_>, text: Placed<&str>) -> Option<String> {
        let Some(name) = scalar::reference(text.value) else {
            return scalar::url(text.value).ok().map(|()| text.value.trim_end_matches('/').to_owned());
        };
        let found = self.place.around.env(name).filter(|value| !value.is_empty());
        let read = match found {
            Some(value) if scalar::reference(&value).is_none() && scalar::url(&value).is_ok() => Ok(value),
            Some(_) => Err(Complaint::new(
                format!("the environment variable {name} is not an http address"),
                format!("set {name} to one"),
            )),
            None => Err(not_set(name)),
        };
        match read {
            Ok(url) => Some(url.trim_end_matches('/').to_owned()),
            Err(complaint) => {
                fields.reading.fault(text.at, &text.path, complaint, None);
                None
            }
        }
    }

    fn customers(&self, fields: &Fields<'_>) -> BTreeMap<CustomerId, Customer> {
        let one = |(name, customer): (&str, Fields<'_>)| {
            let tags = customer.words("tags").into_iter().map(|text| text.value.to_owned()).collect();
            let keys = customer.words("keys").into_iter().filter_map(|text| self.secret(&customer, text)).collect();
            (CustomerId::from(name), Customer { tags, keys, quota: quota(&customer) })
        };
        fields.named("customers").into_iter().map(one).collect()
    }

    fn secrets(&self, fields: &Fields<'_>, name: &'static str) -> BTreeMap<String, Secret> {
        let entries = fields.entries(name).into_iter();
        entries.filter_map(|(own, node)| Some((own.to_owned(), self.secret(fields, scalar_text(node)?)?))).collect()
    }

    /// What a reference refers to; a malformed one was told of.
    pub(super) fn secret(&self, fields: &Fields<'_>, text: Placed<&str>) -> Option<Secret> {
        let (read, origin) = match scalar::secret(text.value).ok()? {
            SecretPlace::Env(name) => (self.place.around.env(name).ok_or_else(|| not_set(name)), Origin::Fixed),
            SecretPlace::File(path) => (self.place.file(path), Origin::File(self.place.folder.join(path))),
            SecretPlace::Command(line) => {
                let printed = self.place.around.command(line).map_err(|error| failed(&error));
                (printed, Origin::Command(line.to_owned()))
            }
        };
        let read = read.and_then(|found| {
            let complaint =
                || Complaint::new("the secret is empty or has control characters", "put its one line of text there");
            secret::one_line(&found).map(str::to_owned).ok_or_else(complaint)
        });
        match read {
            Ok(value) => Some(Secret::found(text.value, value, origin)),
            Err(complaint) => {
                fields.reading.fault(text.at, &text.path, complaint, None);
                None
            }
        }
    }
}

/// The line is not repeated, and neither is what it printed: a secret may stand in either.
fn failed(error: &io::Error) -> Complaint {
    Complaint::new(
        format!("the command gave no secret: {error}"),
        "run it by hand; it must print the secret on one line, and end well within ten seconds",
    )
}

fn not_set(name: &str) -> Complaint {
    Complaint::new(
        format!("the environment variable {name} is not set"),
        format!("set {name}, or refer to another place"),
    )
}

/// Cohorts resolved to names; a cohort without customers would never see a canary.
fn cohorts(fields: &Fields<'_>, customers: &BTreeMap<CustomerId, Customer>) -> BTreeMap<String, BTreeSet<CustomerId>> {
    let mut found = BTreeMap::new();
    for (name, Placed { value, at, path }) in fields.entries("cohorts") {
        let members: BTreeSet<CustomerId> = match &value.value {
            Value::List(_) => named_members(fields, &path, value, customers),
            Value::Map(entries) => {
                let tag = entries.iter().find(|entry| entry.key == "tag").map(|entry| &entry.value.value);
                let Some(Value::Scalar { text: tag, .. }) = tag else { continue };
                let tagged = customers.iter().filter(|(_, customer)| customer.tags.contains(tag));
                tagged.map(|(name, _)| name.clone()).collect()
            }
            Value::Scalar { .. } => continue,
        };
        if members.is_empty() {
            let complaint = Complaint::new(
                "the cohort holds no customer",
                "name customers that stand under `customers`, or a tag that one has",
            );
            fields.reading.fault(at, &path, complaint, None);
        }
        found.insert(name.to_owned(), members);
    }
    found
}

fn named_members(
    fields: &Fields<'_>,
    path: &str,
    list: &tree::Node,
    customers: &BTreeMap<CustomerId, Customer>,
) -> BTreeSet<CustomerId> {
    let Value::List(items) = &list.value else { return BTreeSet::new() };
    let mut members = BTreeSet::new();
    for (i, item) in items.iter().enumerate() {
        let path = crate::config::fault::index(path, i);
        let Some(text) = scalar_text(Placed { value: item, at: item.at, path }) else { continue };
        let customer = CustomerId::from(text.value);
        if !customers.contains_key(&customer) {
            let known: Vec<&str> = customers.keys().map(CustomerId::as_str).collect();
            let near = nearest(text.value, known.iter().copied());
            let what = format!("there is no customer {}", scalar::shown(text.value));
            let mend = format!("name one of {}, or add it under `customers`", listed(&known));
            fields.reading.fault(text.at, &text.path, Complaint::new(what, mend), near);
        }
        members.insert(customer);
    }
    members
}

fn default_provider(fields: &Fields<'_>, names: &BTreeSet<ProviderName>) -> Option<ProviderName> {
    let name = ProviderName::from(fields.text("default_provider")?.value);
    if !names.contains(&name) {
        let known: Vec<&str> = names.iter().map(ProviderName::as_str).collect();
        let near = nearest(name.as_str(), known.iter().copied());
        let what = format!("there is no provider {}", scalar::shown(name.as_str()));
        fields.fault("default_provider", Complaint::new(what, format!("name one of {}", listed(&known))), near);
    }
    Some(name)
}

/// An API without tokens is for this machine alone.
fn guard_api(fields: &Fields<'_>, api: Option<SocketAddr>, without_tokens: bool) {
    let Some(api) = api.filter(|api| without_tokens && !api.ip().is_loopback()) else { return };
    let key = if fields.node("admin_listen").is_some() { "admin_listen" } else { "listen" };
    let what =
        format!("the management API would answer at {api}, beyond this machine, to anybody: `api.tokens` is empty");
    let mend = "add a token under `api.tokens`, or give the API an own address with `admin_listen: 127.0.0.1:8081`";
    fields.fault(key, Complaint::new(what, mend), None);
}

/// A key that two show would name neither of them, and a token of two operators would blur the journal.
fn one_holder_each(
    fields: &Fields<'_>,
    customers: &BTreeMap<CustomerId, Customer>,
    client_keys: &BTreeMap<String, Secret>,
    api_tokens: &BTreeMap<String, Secret>,
) {
    let mut keys = Vec::new();
    for (name, customer) in customers {
        keys.extend(customer.keys.iter().map(|key| ("customers", dot("customers", name.as_str()), key)));
    }
    keys.extend(client_keys.iter().map(|(name, key)| ("client_keys", dot("client_keys", name), key)));
    let tokens = api_tokens.iter().map(|(name, token)| ("api", dot("api.tokens", name), token)).collect();
    for holders in [keys, tokens] {
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for (key, path, secret) in &holders {
            if let Some(first) = seen.insert(secret.expose(), path) {
                let what = format!("{path} and {first} have the same key, so it names neither");
                fields.fault(key, Complaint::new(what, "give each a key of its own"), None);
            }
        }
    }
}

/// What stands under `quota`; a bound that cannot be read was told of.
fn quota(fields: &Fields<'_>) -> Quota {
    let Some(section) = fields.node("quota").and_then(|_| fields.section("quota")) else { return Quota::default() };
    Quota {
        requests_per_minute: section.integer("requests_per_minute"),
        tokens_per_minute: section.integer("tokens_per_minute"),
        concurrent: section.integer("concurrent"),
        per_day: section.money("per_day").map(Usd::from_dollars),
        per_month: section.money("per_month").map(Usd::from_dollars),
    }
}

/// What stands under `timeouts`; a time that cannot be read was told of.
fn provider_timeouts(fields: &Fields<'_>) -> ProviderTimeouts {
    let Some(times) = fields.node("timeouts").and_then(|_| fields.section("timeouts")) else {
        return ProviderTimeouts::default();
    };
    ProviderTimeouts {
        connect: times.duration("connect"),
        first_byte: times.duration("first_byte"),
        thinking: times.duration("thinking"),
        idle: times.duration("idle"),
        total: times.duration("total"),
    }
}
