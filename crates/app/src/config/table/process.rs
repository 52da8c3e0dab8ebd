//! The keys of `coalmine.yaml`.

use super::capture::{CAPTURE, ROUTE_CAPTURE};
use super::price::PRICE;
use super::upstream::{BREAKER, CAPACITY, HEALTH, HEDGE, NEAREST, OUTLIERS, SPREADS, UPSTREAM, WARM_UP};
use super::{COUNT, DURATION, MONEY, NAME, PATH, SECRET, SHARE, SWITCH, TEXT};
use crate::config::key::{Choice, Key, Kind, Scalar, Section};

/// `coalmine.yaml`.
pub static PROCESS: Section = Section {
    name: "coalmine.yaml",
    doc: "The process: where it listens, whom it asks, its first routes. One provider and one route are enough.",
    keys: &[
        Key::default(
            "listen",
            Kind::Scalar(Scalar::Address),
            "127.0.0.1:8080",
            "Address of the gateway, and of the management API unless `admin_listen` is given.",
        ),
        Key::optional("admin_listen", Kind::Scalar(Scalar::Address), "Own address of the management API."),
        Key::optional(
            "tls",
            Kind::Section(&TLS),
            "Serves `listen` under TLS: HTTP/2 and HTTP/1.1 by ALPN. Without it, in the clear.",
        ),
        Key::default(
            "store",
            Kind::Scalar(Scalar::Store),
            "sqlite:coalmine.db",
            "Where releases, versions and evidence are kept; a relative path starts at this file's folder.",
        ),
        Key::default("pins", Kind::Scalar(Scalar::OneOf(PINS)), "embedded", "Where sessions' pins are kept."),
        Key::default(
            "data_dir",
            PATH,
            ".coalmine",
            "Folder of the local files: pin log and ceiling file. Relative to this file's folder.",
        ),
        Key::required("providers", Kind::Map("NAME", &Kind::Section(&PROVIDER)), "Who answers, by name."),
        Key::optional(
            "default_provider",
            NAME,
            "Where a request goes that names no route; without it such a request gets a 404 that says so.",
        ),
        Key::required("routes", Kind::Map("NAME", &Kind::Section(&ROUTE)), "What clients put in `model`, by name."),
        Key::optional(
            "customers",
            Kind::Map("NAME", &Kind::Section(&CUSTOMER)),
            "Whom the routes serve, where stages are cut by customer or keys differ.",
        ),
        Key::optional(
            "cohorts",
            Kind::Map("NAME", &Kind::Either(&[Kind::List(&NAME), Kind::Section(&SELECTOR)])),
            "Sets of customers that a stage can name: a list of names, or `{ tag: pilot }`.",
        ),
        Key::optional(
            "client_keys",
            Kind::Map("NAME", &SECRET),
            "Keys that clients of no particular customer show as `Authorization: Bearer` or `x-api-key`. Without any key here, under `customers` or made by `coalmine key create`, every request is admitted.",
        ),
        Key::default("require_key", SWITCH, "off", "Whether a request needs a key before the first one was made too."),
        Key::optional(
            "quota",
            Kind::Section(&QUOTA),
            "What all requests together may use, with and without a key. A single key's own is set by `coalmine key create`.",
        ),
        Key::optional("api", Kind::Section(&API), "The management API."),
        Key::optional("notify", Kind::List(&Kind::Section(&WEBHOOK)), "Who is told of what."),
        Key::optional(
            "assessors",
            Kind::Map("NAME", &Kind::Section(&GRADER)),
            "Webhooks that suites of sentinels may ask about an answer, by the names that they are given there.",
        ),
        Key::optional(
            "capture",
            Kind::Section(&CAPTURE),
            "How answers are sealed and redacted, and who may read them, where a route captures any.",
        ),
        Key::optional(
            "prices",
            Kind::Map("MODEL", &Kind::Section(&PRICE)),
            "Prices over the shipped ones, by the provider's own name of the model. Without a price, cost is no data, never 0.",
        ),
        Key::optional("limits", Kind::Section(&LIMITS), "Bounds of sizes, counts and times."),
        Key::optional(
            "trusted_proxies",
            Kind::List(&Kind::Scalar(Scalar::Network)),
            "Networks of the proxies in front of this gateway, whose word on a client's address is taken; without any, a client is whoever opened the connection.",
        ),
        Key::default(
            "client_address_header",
            Kind::Scalar(Scalar::OneOf(ADDRESS_HEADERS)),
            "x-forwarded-for",
            "The one header in which they tell it; the others are believed of nobody.",
        ),
        Key::optional("telemetry", Kind::Section(&TELEMETRY), "What is told of requests beside `/metrics`."),
        Key::optional(
            "region",
            NAME,
            "Where this gateway stands, such as `eu-west`: sessions that come in by different regions are compared apart.",
        ),
        Key::default("answer_headers", SWITCH, "on", "Whether answers carry the `x-coalmine-…` headers."),
        Key::default(
            "override_header",
            SWITCH,
            "off",
            "Whether clients may force an arm with `x-coalmine-override: stable` or `canary`; such requests are never counted.",
        ),
        Key::optional(
            "public_url",
            Kind::Scalar(Scalar::Url),
            "Where people reach the management API; put into links of notices.",
        ),
        Key::default(
            "time_scale",
            Kind::Scalar(Scalar::Number),
            "1",
            "How many milliseconds pass in one of the wall's; for demos and tests only.",
        ),
    ],
};

/// Access log and collector.
pub static TELEMETRY: Section = Section {
    name: "telemetry",
    doc: "What is told of requests beside `/metrics`: numbers and names, never a prompt, an answer or a key.",
    keys: &[
        Key::default(
            "access_log",
            PATH,
            "off",
            "A line of JSON per request: `off`, `stderr`, or a file, relative to this file's folder.",
        ),
        Key::optional(
            "otlp",
            Kind::Section(&OTLP),
            "An OpenTelemetry collector that is told of traces, metrics and decisions.",
        ),
    ],
};

/// A collector.
pub static OTLP: Section = Section {
    name: "otlp",
    doc: "Where traces, metrics and decisions go, as OTLP over HTTP in JSON. What is not written here is taken from the standard `OTEL_…` variables of the environment.",
    keys: &[
        Key::optional(
            "endpoint",
            Kind::Scalar(Scalar::Url),
            "The collector's base, to which `/v1/traces`, `/v1/metrics` and `/v1/logs` are added; without it `OTEL_EXPORTER_OTLP_ENDPOINT`, or `http://localhost:4318`.",
        ),
        Key::optional(
            "headers",
            Kind::Map("NAME", &SECRET),
            "Sent with every message; without any, those of `OTEL_EXPORTER_OTLP_HEADERS`.",
        ),
        Key::default("traces", SWITCH, "on", "Whether spans are told."),
        Key::default("metrics", SWITCH, "on", "Whether metrics are told."),
        Key::default(
            "decisions",
            SWITCH,
            "on",
            "Whether decisions on releases are told, as events (records of a log).",
        ),
        Key::optional(
            "sample",
            SHARE,
            "The share of the requests without a `traceparent` that begin a trace; without it all, or what `OTEL_TRACES_SAMPLER` says. Those with one do as it says.",
        ),
        Key::optional("metrics_every", DURATION, "How often metrics are told; without it `60s`."),
        Key::optional("timeout", DURATION, "The collector's time to answer; without it `10s`."),
    ],
};

/// The listener's certificate.
pub static TLS: Section = Section {
    name: "tls",
    doc: "Files in PEM. They are looked at every few seconds and on SIGHUP; changed ones serve the connections that begin from then on, and where they cannot be used the earlier ones go on.",
    keys: &[
        Key::required("certificate", PATH, "The server's certificate, then those between it and the root."),
        Key::required("key", PATH, "Its private key."),
    ],
};

/// One provider.
pub static PROVIDER: Section = Section {
    name: "provider",
    doc: "Who answers: one service under one key, at one or more addresses.",
    keys: &[
        Key::required("kind", Kind::Scalar(Scalar::OneOf(PROVIDER_KINDS)), "The dialect that it speaks."),
        Key::optional(
            "api_key",
            SECRET,
            "Sent as `Authorization: Bearer`, to a provider of kind `anthropic` as `x-api-key`; without it no key is sent.",
        ),
        Key::optional(
            "api_key_refresh",
            DURATION,
            "How often a key of `file:` or `command:` is read again, without a restart; without it a file every `5s`, a command every `5m`. `0s`: only where the provider answers 401, which always asks at once.",
        ),
        Key::default(
            "send_client_key",
            SWITCH,
            "off",
            "Whether the client's own key is sent on, where clients hold the provider's keys; not beside `api_key`.",
        ),
        Key::default(
            "stream_usage",
            SWITCH,
            "on",
            "Whether streams are asked for their usage; `off` for a server that refuses `stream_options`, cost is no data then.",
        ),
        Key::optional(
            "base_url",
            Kind::Scalar(Scalar::Url),
            "Its one address, up to and with `/v1`. Without it and without `upstreams`: https://api.openai.com/v1, or https://api.anthropic.com/v1.",
        ),
        Key::optional(
            "anthropic_beta",
            Kind::List(&TEXT),
            "Which flags of a client's `anthropic-beta` it is told, for a provider that refuses the others; without it all. For kind `anthropic` only.",
        ),
        Key::optional(
            "extra_params",
            Kind::List(&TEXT),
            "Names of parameters that it takes beside those that are known; a version may set no others.",
        ),
        Key::optional("upstreams", Kind::List(&Kind::Section(&UPSTREAM)), "Its addresses, where there are several."),
        Key::optional("timeouts", Kind::Section(&TIMEOUTS), "Its own times, in place of those under `limits`."),
        Key::default(
            "retries",
            Kind::Scalar(Scalar::Integer(0)),
            "1",
            "Tries beyond the first, of what failed before anything was delivered.",
        ),
        Key::optional(
            "hedge",
            Kind::Section(&HEDGE),
            "Asks a second address where the first is long in coming; without it, never.",
        ),
        Key::default("spread", Kind::Scalar(Scalar::OneOf(SPREADS)), "sessions", "Which address of a region is asked."),
        Key::default(
            "nearest",
            Kind::Scalar(Scalar::OneOf(NEAREST)),
            "listed",
            "Which region is asked first; the others, where nobody in it is well.",
        ),
        Key::default(
            "return_after",
            DURATION,
            "10s",
            "So long must a nearer region have been well before it is asked again.",
        ),
        Key::default(
            "max_ejected",
            SHARE,
            "50%",
            "Of the addresses that answer at all, the most that are put aside at a time; one always may.",
        ),
        Key::optional("breaker", Kind::Section(&BREAKER), "When an address is put aside for its own failures."),
        Key::optional(
            "outliers",
            Kind::Section(&OUTLIERS),
            "When an address is put aside for being worse than its siblings.",
        ),
        Key::optional(
            "health",
            Kind::Section(&HEALTH),
            "Looks at each address by itself; without it, only requests tell.",
        ),
        Key::optional(
            "warm_up",
            Kind::Section(&WARM_UP),
            "Warms the model before a stage of a release begins; without it only connections are (`warm`).",
        ),
        Key::optional(
            "capacity",
            Kind::Section(&CAPACITY),
            "Asks each address for its load; without it a weight is raised whatever they bear.",
        ),
    ],
};

/// A provider's own times.
pub static TIMEOUTS: Section = Section {
    name: "timeouts",
    doc: "Times of one provider; what is not named is as under `limits`.",
    keys: &[
        Key::optional("connect", DURATION, "As `connect_timeout`."),
        Key::optional("first_byte", DURATION, "As `first_byte_timeout`."),
        Key::optional("thinking", DURATION, "As `thinking_timeout`."),
        Key::optional("idle", DURATION, "As `idle_timeout`."),
        Key::optional("total", DURATION, "As `total_timeout`."),
    ],
};

/// One route.
pub static ROUTE: Section = Section {
    name: "route",
    doc: "What clients put in `model`: one stable version, and at most one running release.",
    keys: &[
        Key::default(
            "session",
            Kind::List(&Kind::Scalar(Scalar::SessionSource)),
            "[header:x-session-id, path, body:metadata.session_id, conversation]",
            "Where a session's key is found; the first that is present.",
        ),
        Key::optional(
            "capture",
            Kind::Section(&ROUTE_CAPTURE),
            "Keeps sampled answers of both versions of a release, redacted and sealed, to be read side by side; without it none.",
        ),
        Key::optional(
            "customer",
            Kind::List(&Kind::Scalar(Scalar::CustomerSource)),
            "Where the customer's name is found, the first that is present; after these, whose API key it is (`customers`).",
        ),
        Key::required(
            "stable",
            Kind::Section(&VERSION),
            "The version in service. It only seeds a route that the store does not know; afterwards the store wins, and start-up prints the difference.",
        ),
        Key::optional(
            "feedback",
            Kind::List(&TEXT),
            "Names of the scores that the application sends back; where any is listed, a release can guard no other.",
        ),
        Key::optional(
            "sentinels",
            Kind::Either(&[PATH, Kind::Section(&ROUTE_SENTINELS)]),
            "Known-answer prompts that stable is asked by their clock, with or without a release: the drift watch. A suite's file, in promptfoo's form, or a mapping.",
        ),
    ],
};

/// A route's own sentinels.
pub static ROUTE_SENTINELS: Section = Section {
    name: "route sentinels",
    doc: "Known-answer prompts for a steady stable. One that it used to pass and fails, confirmed, opens an incident.",
    keys: &[
        Key::required("suite", PATH, "The suite's file, in promptfoo's form, relative to this file's folder."),
        Key::default(
            "qualify",
            COUNT,
            "3",
            "A failure means something only after so many passed rounds in a row, and is over after as many.",
        ),
        Key::optional(
            "budget",
            MONEY,
            "What judging answers may cost on a day of UTC; then such sentinels are unknown.",
        ),
        Key::default("calls", COUNT, "2000", "How often models may be asked about answers on a day of UTC."),
    ],
};

/// One version.
pub static VERSION: Section = Section {
    name: "version",
    doc: "What answers: model, prompt, tools, parameters. The same content is the same version.",
    keys: &[
        Key::required("model", Kind::Scalar(Scalar::Model), "Provider and the provider's own name of the model."),
        Key::optional(
            "prompt",
            Kind::Either(&[PATH, Kind::Section(&INLINE_PROMPT)]),
            "The system prompt: a file, or a mapping of `text` or `file` and its `variables`. Without it the client's own stays.",
        ),
        Key::default(
            "prompt_mode",
            Kind::Scalar(Scalar::OneOf(PROMPT_MODES)),
            "replace",
            "How it meets the client's own.",
        ),
        Key::optional(
            "tools",
            Kind::Either(&[PATH, Kind::Section(&INLINE_TOOLS)]),
            "The tools, a JSON array in OpenAI's form: a file, or `{ json: … }`. Without it the client's own stay.",
        ),
        Key::default(
            "tools_mode",
            Kind::Scalar(Scalar::OneOf(TOOLS_MODES)),
            "replace",
            "How they meet the client's own.",
        ),
        Key::optional(
            "params",
            Kind::Map("NAME", &Kind::Json),
            "Parameters set over the client's: `temperature`, `max_tokens`, … Numbers and words as JSON has them.",
        ),
        Key::optional(
            "fallbacks",
            Kind::List(&TEXT),
            "Who is asked in its place, one after the other, where it failed and nothing was delivered: `provider` with the same model, or `provider/model`. The turn counts as failed all the same.",
        ),
    ],
};

/// A prompt that stands in the file, or has variables.
pub static INLINE_PROMPT: Section = Section {
    name: "inline prompt",
    doc: "A prompt that stands in the file itself, or that has variables. One of `text` and `file` must stand.",
    keys: &[
        Key::optional("text", Kind::Scalar(Scalar::Block), "The text; `|` begins a block of lines."),
        Key::optional("file", PATH, "A file with the text."),
        Key::optional(
            "variables",
            Kind::Map("NAME", &Kind::Scalar(Scalar::Block)),
            "What `{{NAME}}` in the text says where a request gives nothing for it by the header `x-coalmine-variables`. Without any, braces are text. At most 32, of small letters, digits and `_`, with at most 4 KiB each.",
        ),
    ],
};

/// Tools that stand in the file.
pub static INLINE_TOOLS: Section = Section {
    name: "inline tools",
    doc: "Tools that stand in the file itself.",
    keys: &[Key::required(
        "json",
        Kind::Scalar(Scalar::Block),
        "The JSON array as text, in quotes; it is kept byte for byte.",
    )],
};

/// One customer.
pub static CUSTOMER: Section = Section {
    name: "customer",
    doc: "A customer of the routes.",
    keys: &[
        Key::optional("tags", Kind::List(&NAME), "Words by which cohorts and stages select it."),
        Key::optional("keys", Kind::List(&SECRET), "Keys that it shows as `Authorization: Bearer` or `x-api-key`."),
        Key::optional("quota", Kind::Section(&QUOTA), "What all its keys together may use."),
    ],
};

/// One quota.
pub static QUOTA: Section = Section {
    name: "quota",
    doc: "What may be used; beyond it a request is answered with 429 and asked of nobody. Rates and requests at a time are of each gateway, money is of all together.",
    keys: &[
        Key::optional("requests_per_minute", COUNT, "Requests a minute; as many may come at once."),
        Key::optional("tokens_per_minute", COUNT, "Tokens a minute, read and written; as many may be used at once."),
        Key::optional("concurrent", COUNT, "Requests at a time."),
        Key::optional("per_day", MONEY, "Money of a day of UTC, by the prices; counted after each answer."),
        Key::optional("per_month", MONEY, "Money of a month of UTC."),
    ],
};

/// A selector of customers.
pub static SELECTOR: Section =
    Section { name: "selector", doc: "Customers by what they have.", keys: &[Key::required("tag", NAME, "A tag.")] };

/// The management API.
pub static API: Section = Section {
    name: "api",
    doc: "The management API under `/api/v1`.",
    keys: &[Key::optional(
        "tokens",
        Kind::Map("OPERATOR", &SECRET),
        "Bearer tokens by the operator's name, which stands in the journal. Without any, the API answers only where it listens on this machine alone.",
    )],
};

/// One webhook.
pub static WEBHOOK: Section = Section {
    name: "webhook",
    doc: "An address that is told of a release's turns, and of incidents.",
    keys: &[
        Key::required("url", SECRET, "The address, as a reference: whoever knows it can write to it."),
        Key::optional("secret", SECRET, "Signs the body: HMAC-SHA256 in `x-coalmine-signature`."),
        Key::default("format", Kind::Scalar(Scalar::OneOf(WEBHOOK_FORMATS)), "json", "The body's form."),
        Key::default(
            "on",
            Kind::List(&Kind::Scalar(Scalar::OneOf(NOTICES))),
            "[approval_wanted, paused, held, promoted, rolled_back, undecided, stable_sick, drift, lost_data, incident_opened, incident_closed]",
            "What it is told of.",
        ),
    ],
};

/// One webhook that is asked about answers.
pub static GRADER: Section = Section {
    name: "assessor",
    doc: "An address that is posted an answer as `{ output, context }` and says `{ pass, score, reason }`.",
    keys: &[
        Key::required("url", SECRET, "The address, as a reference: it may hold a secret."),
        Key::optional("token", SECRET, "Sent as `authorization: Bearer …`."),
    ],
};

/// The limits.
pub static LIMITS: Section = Section {
    name: "limits",
    doc: "Bounds of sizes, counts and times. Times of answers are long: models think.",
    keys: &[
        Key::default(
            "body",
            Kind::Scalar(Scalar::Bytes),
            "64MB",
            "The largest request body; files for a provider, which stream through, may be larger.",
        ),
        Key::default(
            "bodies",
            Kind::Scalar(Scalar::Bytes),
            "1GB",
            "All request bodies that are held at once, until their answers begin; who finds no room for a second is told to come again.",
        ),
        Key::default("connections", COUNT, "20000", "Client connections at a time; further ones wait."),
        Key::optional(
            "threads",
            COUNT,
            "Threads that serve connections; without it as many as the machine has processors. Each keeps its own connections to upstreams.",
        ),
        Key::default("header_timeout", DURATION, "2m", "A client's time to send the head of a request."),
        Key::default("body_timeout", DURATION, "60s", "A client's time to send the body."),
        Key::default(
            "connect_timeout",
            DURATION,
            "5s",
            "Time to connect to an upstream: its name, TCP and TLS together.",
        ),
        Key::default(
            "first_byte_timeout",
            DURATION,
            "10m",
            "An upstream's time, at each try, until its answer begins: its head, and of a stream the first content.",
        ),
        Key::default(
            "thinking_timeout",
            DURATION,
            "30m",
            "The same where request or version ask for reasoning or thinking.",
        ),
        Key::default(
            "idle_timeout",
            DURATION,
            "5m",
            "An upstream's longest silence inside an answer, pings and comments among it, once a stream has content; a client that takes nothing of its answer for as long is gone.",
        ),
        Key::default(
            "total_timeout",
            DURATION,
            "1h",
            "The time that a request may take in all, with every try and whoever answers in the end.",
        ),
        Key::default(
            "keep_alive",
            DURATION,
            "10s",
            "After so long a silence inside a stream the client is sent a comment, or a `ping` of messages; `0s`: never.",
        ),
        Key::default(
            "rescue_hold",
            DURATION,
            "20s",
            "How long a canary's answer is held back while it has no content, so that stable can still take over.",
        ),
        Key::default("drain", DURATION, "30s", "Time that running requests have when the process ends."),
        Key::default("session_idle", DURATION, "24h", "A session that is silent for longer loses its pin."),
    ],
};

static PINS: &[Choice] = &[
    Choice::built("embedded", "in memory, with a log in `data_dir`"),
    Choice::not_built("redis://", "pins in Redis, for gateways that run apart", "use `embedded`, on one node"),
];

static ADDRESS_HEADERS: &[Choice] = &[
    Choice::built("x-forwarded-for", "a list that each proxy adds to"),
    Choice::built("forwarded", "the same by RFC 7239"),
    Choice::built("x-real-ip", "one address, which the nearest proxy sets"),
];

static PROVIDER_KINDS: &[Choice] = &[
    Choice::built("openai", "OpenAI, or any server that speaks its dialect"),
    Choice::built("anthropic", "Anthropic, or any server that speaks its dialect"),
    Choice::built(
        "people",
        "nobody: people answer, and the client sends what they said (see docs/shadow.md); its name is `people`",
    ),
];

pub(crate) static PROMPT_MODES: &[Choice] = &[
    Choice::built("replace", "in place of the client's"),
    Choice::built("prepend", "before the client's"),
    Choice::built("append", "after the client's"),
];

pub(crate) static TOOLS_MODES: &[Choice] = &[
    Choice::built("replace", "in place of the client's"),
    Choice::built("merge", "first, then the client's of other names"),
];

static WEBHOOK_FORMATS: &[Choice] =
    &[Choice::built("json", "the notice as it is"), Choice::built("slack", "a message for Slack")];

/// What a webhook can be told of.
pub(crate) static NOTICES: &[Choice] = &[
    Choice::built("approval_wanted", "a release waits for a person"),
    Choice::built("paused", "a release stands still"),
    Choice::built("held", "a signal or missing evidence holds a release"),
    Choice::built("promoted", "a release was promoted"),
    Choice::built("rolled_back", "a release was rolled back"),
    Choice::built("undecided", "`max_duration` is over and nothing is decided"),
    Choice::built("stable_sick", "stable itself is proven above an absolute limit"),
    Choice::built("drift", "another model answers than the evidence is about"),
    Choice::built("lost_data", "evidence is missing or void"),
    Choice::built("incident_opened", "something is wrong with a route, release or not"),
    Choice::built("incident_closed", "an incident is over"),
];
