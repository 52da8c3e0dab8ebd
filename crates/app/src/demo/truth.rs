//! What is true in the demo: how the providers behave, and what must become of the two releases.

/// How a simulated model behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Truth {
    /// Share of answers that refuse.
    pub(super) refuses: f64,
    /// Share of tool calls whose arguments do not fit the schema.
    pub(super) calls_wrongly: f64,
    /// Share of requests that fail with a 500.
    pub(super) fails: f64,
}

/// One release of the demo.
#[derive(Debug, Clone, Copy)]
pub(super) struct Story {
    /// The route.
    pub(super) route: &'static str,
    /// The model in service.
    pub(super) stable: &'static str,
    /// The model on trial.
    pub(super) canary: &'static str,
    /// What must become of it.
    pub(super) expected: Expected,
}

/// What must become of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// It is bad.
    RolledBack,
    /// It is good.
    Promoted,
}

impl Expected {
    /// The state's word, as the API says it.
    #[must_use]
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::RolledBack => "rolled_back",
            Self::Promoted => "promoted",
        }
    }
}

/// The two releases.
pub(super) const STORIES: [Story; 2] = [
    Story { route: "support-agent", stable: "parrot-4", canary: "parrot-5-mini", expected: Expected::RolledBack },
    Story { route: "sales-agent", stable: "parrot-4", canary: "parrot-5", expected: Expected::Promoted },
];

/// How each model behaves; a model that nobody knows behaves as the one in service.
#[must_use]
pub(super) fn truth_of(model: &str) -> Truth {
    match model {
        // Cheaper, and worse: it refuses more and gets the tools wrong.
        "parrot-5-mini" => Truth { refuses: 0.10, calls_wrongly: 0.12, fails: 0.002 },
        // Slightly better in every respect.
        "parrot-5" => Truth { refuses: 0.012, calls_wrongly: 0.008, fails: 0.002 },
        _ => Truth { refuses: 0.02, calls_wrongly: 0.012, fails: 0.002 },
    }
}
