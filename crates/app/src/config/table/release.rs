//! The keys of `releases/*.yaml`.

use super::process::{INLINE_PROMPT, INLINE_TOOLS, SELECTOR};
use super::{COUNT, DURATION, MONEY, NAME, PATH, SHARE, SWITCH, TEXT};
use crate::config::key::{Choice, Key, Kind, Scalar, Section};

/// `releases/*.yaml`.
pub static RELEASE: Section = Section {
    name: "releases/*.yaml",
    doc: "One release: what is tried, on whom, and the criteria, fixed before it starts.",
    keys: &[
        Key::required("release", NAME, "The route whose stable version is to give way."),
        Key::required(
            "canary",
            Kind::Section(&CANARY),
            "What changes against the route's stable version; the difference decides which checks apply by default.",
        ),
        Key::default("unit", Kind::Scalar(Scalar::OneOf(UNITS)), "session", "What is split and counted once."),
        Key::optional("on_rollback", Kind::Section(&ON_ROLLBACK), "What becomes of live canary sessions."),
        Key::default(
            "false_rollback_rate",
            SHARE,
            "1%",
            "Bound on rolling back a good version, over the whole release and however often it looks.",
        ),
        Key::default(
            "false_promotion_rate",
            SHARE,
            "5%",
            "Bound on promoting a version that stands at a guardrail's margin, for each guardrail.",
        ),
        Key::default("max_duration", DURATION, "72h", "After this a release that is not decided is `undecided`."),
        Key::default(
            "on_undecided",
            Kind::Either(&[Kind::Scalar(Scalar::OneOf(ON_UNDECIDED)), Kind::Section(&UNPROVEN)]),
            "hold",
            "What happens then.",
        ),
        Key::optional(
            "acknowledge",
            Kind::List(&Kind::Scalar(Scalar::OneOf(KNOWN))),
            "What `coalmine plan` would refuse, and is known: it is warned of and started all the same.",
        ),
        Key::default("keep", DURATION, "48h", "After promotion the old stable can be restored for this long."),
        Key::optional(
            "hold_back",
            SHARE,
            "While the old stable is kept, so much of the new sessions stays on it, 1% to 5%: a late regression that is proven against it rolls the promotion back, under the same bound.",
        ),
        Key::optional(
            "budget",
            Kind::Section(&BUDGET),
            "Harm at which the release pauses, whatever the statistics say.",
        ),
        Key::optional(
            "freeze",
            Kind::List(&Kind::Scalar(Scalar::Freeze)),
            "Weekly spans in which nothing is advanced or promoted; rollback is never frozen.",
        ),
        Key::required(
            "stages",
            Kind::List(&Kind::Section(&STAGE)),
            "The exposure levels in order; a cohort's weight never falls.",
        ),
        Key::optional(
            "sentinels",
            Kind::Either(&[PATH, Kind::Section(&SENTINELS)]),
            "Known-answer prompts that must pass, asked of stable and canary before the first stage, at each stage's start and by the clock. A suite's file, in promptfoo's form, or a mapping.",
        ),
        Key::optional(
            "gate",
            Kind::Section(&GATE),
            "Offline gate: a suite of which the canary must pass a share before any traffic.",
        ),
        Key::optional(
            "judges",
            Kind::Map("NAME", &PATH),
            "The files of judges by their names; one that is not named here is `judges/NAME.yaml`.",
        ),
        Key::optional(
            "guardrails",
            Kind::List(&Kind::Section(&GUARDRAIL)),
            "Metrics that the canary must not worsen; their regression rolls back. Without this list, the difference of the versions decides.",
        ),
        Key::optional(
            "signals",
            Kind::List(&Kind::Section(&SIGNAL)),
            "Metrics whose regression holds the release, which goes on after recovery.",
        ),
        Key::optional("tripwires", Kind::Section(&TRIPWIRES), "Stops without statistics, outside the bound."),
        Key::default("bucket", DURATION, "60s", "Length of an exposure bucket of the evidence."),
        Key::optional(
            "ages",
            Kind::Section(&AGES),
            "When a session's numbers are posted, counted from its first exposed request.",
        ),
        Key::default("rescue_budget", SHARE, "5%", "Share of the canary's requests that stable may answer for it."),
    ],
};

/// What changes.
pub static CANARY: Section = Section {
    name: "canary",
    doc: "What changes against stable. A part that is not named stays; `null` takes it away.",
    keys: &[
        Key::optional("model", Kind::Scalar(Scalar::Model), "Provider and the provider's own name of the model."),
        Key::optional("prompt", Kind::Either(&[Kind::Null, PATH, Kind::Section(&INLINE_PROMPT)]), "The system prompt."),
        Key::optional(
            "prompt_mode",
            Kind::Scalar(Scalar::OneOf(super::process::PROMPT_MODES)),
            "How it meets the client's own.",
        ),
        Key::optional("tools", Kind::Either(&[Kind::Null, PATH, Kind::Section(&INLINE_TOOLS)]), "The tools."),
        Key::optional(
            "tools_mode",
            Kind::Scalar(Scalar::OneOf(super::process::TOOLS_MODES)),
            "How they meet the client's own.",
        ),
        Key::optional(
            "params",
            Kind::Map("NAME", &Kind::Json),
            "Parameters, each merged by name; `null` takes one away.",
        ),
        Key::optional(
            "fallbacks",
            Kind::Either(&[Kind::Null, Kind::List(&TEXT)]),
            "Who is asked where it failed and nothing was delivered: `provider`, or `provider/model`.",
        ),
    ],
};

/// Live sessions at a rollback.
pub static ON_ROLLBACK: Section = Section {
    name: "on_rollback",
    doc: "What becomes of live canary sessions at a rollback.",
    keys: &[
        Key::default("live_sessions", Kind::Scalar(Scalar::OneOf(LIVE_SESSIONS)), "move_next_turn", "What they do."),
        Key::optional("drain", DURATION, "How long they have with `finish_on_canary`; 2h without it."),
    ],
};

/// Promotion without proof.
pub static UNPROVEN: Section = Section {
    name: "on_undecided",
    doc: "Promotion without proof, which must be acknowledged.",
    keys: &[Key::required(
        "promote",
        Kind::Scalar(Scalar::OneOf(ACKNOWLEDGED)),
        "Promotes although nothing is proven.",
    )],
};

/// The budget.
pub static BUDGET: Section = Section {
    name: "budget",
    doc: "Excess over control, at which the release pauses. Outside the bound.",
    keys: &[
        Key::optional("harmed", COUNT, "Bad canary sessions beyond those expected at control's rate."),
        Key::optional("extra_cost", MONEY, "Cost beyond that expected at control's rate."),
    ],
};

/// One stage.
pub static STAGE: Section = Section {
    name: "stage",
    doc: "One exposure level.",
    keys: &[
        Key::optional(
            "cohort",
            Kind::Either(&[NAME, Kind::Section(&SELECTOR)]),
            "Who: a cohort of `coalmine.yaml`, or `{ tag: pilot }`. Without it everybody.",
        ),
        Key::optional("weight", SHARE, "How much of them; with `ramp` at most. Every stage but a shadow has one."),
        Key::optional(
            "ramp",
            Kind::Scalar(Scalar::OneOf(RAMPS)),
            "The weight rises by itself from `from` to `weight`; only in the last stage.",
        ),
        Key::optional("from", SHARE, "Where a ramp begins; 1% without it."),
        Key::optional(
            "harm",
            Kind::Scalar(Scalar::PerMinute),
            "With `ramp`: so many sessions a minute may be harmed beyond control's rate, in the worst case that the evidence does not exclude yet; 5/min without it.",
        ),
        Key::optional("bake", DURATION, "How long at least. Every stage but a shadow has one."),
        Key::default(
            "min_sessions",
            COUNT,
            "100",
            "How many canary sessions at least, with their number posted; of a shadow, mirrored ones.",
        ),
        Key::optional("approval", TEXT, "Whose word opens this stage, beside the evidence."),
        Key::optional(
            "shadow",
            SHARE,
            "In the first stage, in place of `weight`: of so many sessions each request is put to the canary too, stable's answer is served and the canary's is compared with it and thrown away. Nobody is exposed.",
        ),
        Key::optional("for", DURATION, "Of a shadow: how long at least."),
        Key::optional(
            "in_flight",
            COUNT,
            "Of a shadow: so many copies a gateway has under way at most; further requests are not copied, and counted. 16 without it.",
        ),
        Key::optional(
            "pairs",
            Kind::List(&Kind::Section(&PAIRS)),
            "Of a shadow: who compares the two answers, beside the guardrails that can be compared.",
        ),
        Key::optional(
            "similarity",
            Kind::Section(&SIMILARITY),
            "Of a shadow: how near the two answers are, by an embeddings endpoint. It is told, and rolls nothing back.",
        ),
        Key::optional(
            "cost_per_day",
            MONEY,
            "Of a shadow: what the copies of a gateway may cost in a day of UTC, by the prices; then none is made until the next. $20 without it.",
        ),
    ],
};

/// One thing that compares the pairs of a shadow.
pub static PAIRS: Section = Section {
    name: "pairs",
    doc: "A judge of pairs: it reads stable's and the canary's answer to the same request, blind, in both orders; where they contradict each other the pair is a tie.",
    keys: &[
        Key::required(
            "judge",
            NAME,
            "Its name; its file is `judges/NAME.yaml` or as `judges` says, with `scale: pairs`.",
        ),
        Key::default(
            "margin",
            Kind::Scalar(Scalar::Margin),
            "10pp",
            "By so much the share of the pairs that the canary loses may be above the share that it wins; what is proven beyond rolls back.",
        ),
        Key::default("sample", SHARE, "100%", "The share of the mirrored sessions that it sees."),
        Key::default("role", Kind::Scalar(Scalar::OneOf(PAIR_ROLES)), "guardrail", "What it does."),
        Key::optional(
            "weight",
            Kind::Scalar(Scalar::Number),
            "Its share of the shadow's part of the error rate, against the guardrails'. Without it by severity.",
        ),
    ],
};

/// The embeddings by which the answers of a shadow are held together.
pub static SIMILARITY: Section = Section {
    name: "similarity",
    doc: "The cosine of the embeddings of stable's and the canary's answer to the same request. Different is not worse: it is told, and can keep the first stage waiting.",
    keys: &[
        Key::required(
            "model",
            Kind::Scalar(Scalar::Model),
            "Provider and embedding model; the provider speaks OpenAI's dialect.",
        ),
        Key::optional("params", Kind::Map("NAME", &Kind::Json), "Sent with each question, such as `dimensions`."),
        Key::default("sample", SHARE, "100%", "The share of the mirrored sessions that are measured."),
        Key::default(
            "baseline",
            SHARE,
            "10%",
            "The share of these whose requests stable is asked a second time, so that its answers are measured against themselves.",
        ),
        Key::optional(
            "min",
            Kind::Scalar(Scalar::Number),
            "A bar: the least cosine of a session, the mean over its pairs. The first stage waits until `share` of them have it.",
        ),
        Key::optional(
            "share",
            SHARE,
            "With `min`: the share of the measured sessions that must have it; 90% without it.",
        ),
    ],
};

/// One guardrail.
pub static GUARDRAIL: Section = Section {
    name: "guardrail",
    doc: "A metric that the canary must not worsen beyond a margin.",
    keys: &[
        Key::required("metric", Kind::Scalar(Scalar::Metric), "Which."),
        Key::optional(
            "margin",
            Kind::Scalar(Scalar::Margin),
            "The tolerance that promotion must prove: `pp` for rates and scores, `%` for times and amounts. Without it 0.5pp for errors and sessions above a cap, 1pp for other rates, 2pp for scores, 10% for times and amounts.",
        ),
        Key::optional(
            "rollback_margin",
            Kind::Scalar(Scalar::Margin),
            "What rolls back when it is proven exceeded; `0`: any proven harm. Without it half of `margin` for rates and scores, the same for times and amounts.",
        ),
        Key::optional("max", Kind::Scalar(Scalar::Bound), "Absolute bound of a metric of which less is better."),
        Key::optional("min", Kind::Scalar(Scalar::Bound), "Absolute bound of a metric of which more is better."),
        Key::optional(
            "no_data",
            Kind::Scalar(Scalar::NoData),
            "What the metric's silence does, and after how long. Without it `hold 1h`; `warn 1h` for tool_call_valid and schema_valid.",
        ),
        Key::optional(
            "weight",
            Kind::Scalar(Scalar::Number),
            "Its share of the error rates, against the others'. Without it by severity.",
        ),
        Key::default("dry_run", SWITCH, "off", "Whether it is computed and shown and does nothing."),
        Key::default(
            "control",
            Kind::Scalar(Scalar::OneOf(CONTROLS)),
            "all",
            "Which of stable's sessions it is compared with; all of them began inside the release.",
        ),
        Key::default(
            "unit",
            Kind::Scalar(Scalar::OneOf(EVIDENCE_UNITS)),
            "session",
            "What is one unit of its evidence; it cannot be changed on the way.",
        ),
        Key::optional(
            "age",
            DURATION,
            "Of feedback, thumbs_down and judges: the age of a session at which its late scores are counted. Without it `ages.whole`.",
        ),
        Key::optional(
            "sample",
            Kind::Either(&[SHARE, Kind::Section(&SAMPLE)]),
            "Of a judge: the share of each arm's sessions that it scores, drawn by a hash of the session; 10% without it.",
        ),
    ],
};

/// One signal.
pub static SIGNAL: Section = Section {
    name: "signal",
    doc: "A metric whose regression holds the release.",
    keys: &[
        Key::required("metric", Kind::Scalar(Scalar::Metric), "Which."),
        Key::optional("margin", Kind::Scalar(Scalar::Margin), "As for a guardrail."),
        Key::optional(
            "rollback_margin",
            Kind::Scalar(Scalar::Margin),
            "What holds when it is proven exceeded; as for a guardrail.",
        ),
        Key::optional(
            "no_data",
            Kind::Scalar(Scalar::NoData),
            "What the metric's silence does, and after how long. Without it `hold 1h`; `warn 1h` for tool_call_valid and schema_valid.",
        ),
        Key::default(
            "control",
            Kind::Scalar(Scalar::OneOf(CONTROLS)),
            "all",
            "Which of stable's sessions it is compared with; all of them began inside the release.",
        ),
        Key::default(
            "unit",
            Kind::Scalar(Scalar::OneOf(EVIDENCE_UNITS)),
            "session",
            "What is one unit of its evidence; it cannot be changed on the way.",
        ),
        Key::optional(
            "age",
            DURATION,
            "Of feedback, thumbs_down and judges: the age of a session at which its late scores are counted. Without it `ages.whole`.",
        ),
        Key::optional(
            "sample",
            Kind::Either(&[SHARE, Kind::Section(&SAMPLE)]),
            "Of a judge: the share of each arm's sessions that it scores, drawn by a hash of the session; 10% without it.",
        ),
    ],
};

/// Whose answers a judge scores.
pub static SAMPLE: Section = Section {
    name: "sample",
    doc: "The share of each arm's sessions that a judge scores; a small canary may be seen more often than its control.",
    keys: &[
        Key::required("control", SHARE, "Of control's sessions."),
        Key::required("canary", SHARE, "Of the canary's."),
    ],
};

/// The tripwires.
pub static TRIPWIRES: Section = Section {
    name: "tripwires",
    doc: "Stops without statistics; ignored while control trips too.",
    keys: &[Key::default(
        "consecutive_failures",
        Kind::Scalar(Scalar::Integer(2)),
        "10",
        "So many canary requests in a row failed by the version's fault.",
    )],
};

/// The sentinels.
pub static SENTINELS: Section = Section {
    name: "sentinels",
    doc: "Known-answer prompts. A critical one that fails on the canary alone, confirmed, rolls back at once.",
    keys: &[
        Key::required("suite", PATH, "The suite's file, in promptfoo's form."),
        Key::default(
            "qualify",
            COUNT,
            "3",
            "A sentinel is critical only after so many rounds in a row that stable passed.",
        ),
        Key::optional(
            "budget",
            MONEY,
            "What judging answers may cost on a day of UTC; then such sentinels are unknown.",
        ),
        Key::default("calls", COUNT, "2000", "How often models may be asked about answers on a day of UTC."),
    ],
};

/// The offline gate.
pub static GATE: Section = Section {
    name: "gate",
    doc: "A suite that the canary is asked before any traffic, each test once.",
    keys: &[
        Key::required("suite", PATH, "The suite's file, in promptfoo's form."),
        Key::default("pass", SHARE, "100%", "The share of its tests that the canary must pass."),
    ],
};

/// The ages.
pub static AGES: Section = Section {
    name: "ages",
    doc: "Ages of a session at which its numbers are posted; the same in both arms, frozen with the policy.",
    keys: &[
        Key::default("first", DURATION, "60s", "The first request's outcome; a request is judged at this age."),
        Key::default("session", DURATION, "15m", "The mean over the requests so far."),
        Key::default("whole", DURATION, "30m", "Cost, tokens and feedback."),
    ],
};

static RAMPS: &[Choice] =
    &[Choice::built("adaptive", "as fast as the worst case that is not excluded yet costs at most `harm`")];

/// Units of evidence.
static EVIDENCE_UNITS: &[Choice] = &[
    Choice::built("session", "each session by itself"),
    Choice::built("bucket_mean", "the difference of the arms in each bucket, where an arm has noise of its own"),
];

static UNITS: &[Choice] = &[
    Choice::built("session", "a conversation or a call"),
    Choice::not_built("customer", "all sessions of a customer together", "use `session`"),
    Choice::not_built("user", "all sessions of a person together", "use `session`"),
    Choice::not_built("request", "each request by itself", "use `session`"),
];

static PAIR_ROLES: &[Choice] = &[
    Choice::built("guardrail", "a canary proven worse is rolled back, and the first stage waits for enough verdicts"),
    Choice::built("signal", "a canary proven worse is held, and the first stage waits for enough verdicts"),
    Choice::built("dry_run", "it is computed and shown and does nothing"),
];

static CONTROLS: &[Choice] = &[
    Choice::built("all", "all that were not chosen"),
    Choice::built("matched", "as many as the canary has, for what a cold cache biases: times and cost"),
];

static ON_UNDECIDED: &[Choice] = &[
    Choice::built("hold", "stays where it is and tells"),
    Choice::built("rollback", "rolls back; not a verdict on the version"),
    Choice::built("ask", "pauses until a person says"),
    Choice::built("promote", "promotes without proof; only as `{ promote: acknowledged }`"),
];

static KNOWN: &[Choice] =
    &[Choice::built("undecidable", "at the route's traffic a guardrail is unlikely to decide within `max_duration`")];

static LIVE_SESSIONS: &[Choice] = &[
    Choice::built("move_next_turn", "answered by stable from their next turn on"),
    Choice::built("finish_on_canary", "finish on the canary within `drain`"),
];

static ACKNOWLEDGED: &[Choice] = &[Choice::built("acknowledged", "whoever wrote this knows that nothing is proven")];
