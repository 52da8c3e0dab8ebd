//! The routes of `coalmine.yaml`.

use crate::config::capture;
use crate::config::fault::Complaint;
use crate::config::process::Reader;
use crate::config::read::{Fields, Placed};
use crate::config::release::judging;
use crate::config::scalar::{self, CustomerSource, SessionSource};
use crate::config::suite::{self, Purpose};
use crate::config::tree::Value;
use crate::config::version::{self, Answering};
use coalmine_core::capture::CaptureRule;
use coalmine_core::id::RouteName;
use coalmine_core::sentinel::steady::tries_as_stated;
use coalmine_core::sentinel::{Sentinels, TRIES_MAX};
use coalmine_core::version::Version;
use std::collections::{BTreeMap, BTreeSet};

/// Rounds in a row that qualify a sentinel where nothing is written.
const QUALIFY: u32 = 3;

/// One route.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Where a session's key is found, the first first.
    pub session: Vec<SessionSource>,
    /// Where a customer's name is found, the first first; after these, whose key it is.
    pub customer: Vec<CustomerSource>,
    /// Seeds a route that the store does not know.
    pub stable: Version,
    /// The scores that the application sends back; empty: any.
    pub feedback: BTreeSet<String>,
    /// What stable is asked by the clock, with or without a release.
    pub sentinels: Option<Sentinels>,
    /// What is captured of it.
    pub capture: Option<CaptureRule>,
}

/// Who may be asked about an answer.
pub(super) struct Asked<'a> {
    pub(super) answering: &'a Answering<'a>,
    pub(super) assessors: BTreeSet<String>,
}

impl Reader<'_> {
    pub(super) fn routes(&self, fields: &Fields<'_>, asked: &Asked<'_>) -> Option<BTreeMap<RouteName, Route>> {
        let named = fields.named("routes");
        if named.is_empty() && fields.node("routes").is_some_and(|node| matches!(node.value.value, Value::Map(_))) {
            let complaint =
                Complaint::new("there is no route", "add one: `support-agent: { stable: { model: openai/gpt-4.1 } }`");
            fields.fault("routes", complaint, None);
        }
        let one = |(name, route): (&str, Fields<'_>)| Some((name.into(), self.route(&route, asked)?));
        named.into_iter().map(one).collect::<Vec<_>>().into_iter().collect()
    }

    fn route(&self, fields: &Fields<'_>, asked: &Asked<'_>) -> Option<Route> {
        let session = fields.words("session").into_iter().filter_map(|text| scalar::session_source(text.value).ok());
        let customer = fields.words("customer").into_iter().filter_map(|text| scalar::customer_source(text.value).ok());
        let mut feedback = BTreeSet::new();
        for Placed { value, at, path } in fields.words("feedback") {
            if coalmine_core::metric::is_feedback_name(value) {
                feedback.insert(value.to_owned());
            } else {
                let what = format!("{} cannot name a feedback", scalar::shown(value));
                let complaint = Complaint::new(what, "write 1 to 64 of a-z, 0-9, `_`, `.`, `-`");
                fields.reading.fault(at, &path, complaint, None);
            }
        }
        let sentinels = self.route_sentinels(fields, asked);
        // A version that does not stand was told of; one that is no mapping too.
        let stable = fields.node("stable").and_then(|_| fields.section("stable"));
        let stable = stable.and_then(|stable| version::whole(&stable, asked.answering, self.place))?;
        let (session, customer) = (session.collect(), customer.collect());
        Some(Route { session, customer, stable, feedback, sentinels, capture: capture::rule(fields)? })
    }

    /// What stable is asked by the clock; a suite that cannot be read was told of.
    fn route_sentinels(&self, fields: &Fields<'_>, asked: &Asked<'_>) -> Option<Sentinels> {
        let written = fields.node("sentinels")?;
        let section = match &written.value.value {
            Value::Scalar { .. } => None,
            Value::Map(_) | Value::List(_) => Some(fields.section("sentinels")?),
        };
        let named = section.as_ref().map_or_else(|| fields.text("sentinels"), |section| section.text("suite"))?;
        let qualify = section.as_ref().and_then(|section| section.integer("qualify"));
        let qualify = qualify.and_then(|rounds| u32::try_from(rounds).ok()).unwrap_or(QUALIFY);
        let judging = judging(section.as_ref());
        let read = suite::load(self.place, named.value, asked.answering.providers, &asked.assessors);
        let read = read.and_then(|suite| {
            let sentinels = suite.sentinels(Purpose::Sentinels).into();
            let suite = self.place.folder.join(named.value).display().to_string();
            let all = Sentinels { suite, sentinels, qualify, judging, gate: None };
            match all.sentinels.iter().find(|sentinel| tries_as_stated(&all, sentinel).is_none()) {
                Some(flaky) => Err(Complaint::new(
                    format!(
                        "{} is so flaky that not even {TRIES_MAX} failed tries would confirm a failure",
                        flaky.name
                    ),
                    "lower `flaky`, or ask for several answers with `pass: 2-of-3`",
                )),
                None => Ok(all),
            }
        });
        read.map_err(|complaint| fields.reading.fault(named.at, &named.path, complaint, None)).ok()
    }
}
