//! What stands under `capture`, in the file and in a route.

use crate::config::fault::{Complaint, nearest};
use crate::config::process::Reader;
use crate::config::read::{Fields, Placed, scalar_text};
use crate::config::scalar;
use crate::config::secret::Secret;
use crate::config::version::listed;
use coalmine_control::captures::redact::Redactor;
use coalmine_control::captures::seal::SealKey;
use coalmine_core::capture::CaptureRule;
use std::collections::{BTreeMap, BTreeSet};

/// Of a text at most so much can be kept: what a request and an answer are read to.
const TEXT_MAX_BYTES: usize = 24 << 10;

/// How answers are captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// Seals them.
    pub key: Secret,
    /// Sealed them before.
    pub earlier_keys: Vec<Secret>,
    /// Operators who may read them.
    pub readers: BTreeSet<String>,
    /// What else is taken out, by name.
    pub patterns: BTreeMap<String, String>,
    /// The assessor that takes out more.
    pub webhook: Option<String>,
}

/// What a route captures; the outer `None` where it cannot be read.
pub(super) fn rule(fields: &Fields<'_>) -> Option<Option<CaptureRule>> {
    if fields.node("capture").is_none() {
        return Some(None);
    }
    let section = fields.section("capture")?;
    let text_max_bytes = scalar::bytes(section.text("text")?.value).ok()?;
    if !(256..=TEXT_MAX_BYTES).contains(&text_max_bytes) {
        let complaint = Complaint::new("this is not within 256B and 24KB", "write `text: 16KB`");
        section.fault("text", complaint, None);
    }
    Some(Some(CaptureRule {
        sample: section.share("sample")?,
        keep: section.duration("keep")?,
        text_max_bytes,
        rows_max: section.integer("rows")?,
    }))
}

impl Reader<'_> {
    /// How answers are captured; the outer `None` where that cannot be read.
    pub(super) fn capture(&self, fields: &Fields<'_>, tokens: &BTreeMap<String, Secret>) -> Option<Option<Capture>> {
        if fields.node("capture").is_none() {
            for (_, route) in fields.named("routes") {
                if route.node("capture").is_some() {
                    let what = "answers would be captured, and nothing says under which key, and who may read them";
                    let mend = "add `capture: { key: ${COALMINE_CAPTURE_KEY}, readers: [NAME] }` to the file itself";
                    route.fault("capture", Complaint::new(what, mend), None);
                }
            }
            return Some(None);
        }
        let section = fields.section("capture")?;
        let key = section.node("key").and_then(scalar_text).and_then(|text| self.seal_key(&section, text));
        let earlier = section.items("earlier_keys").into_iter().filter_map(scalar_text);
        let earlier: Vec<Option<Secret>> = earlier.map(|text| self.seal_key(&section, text)).collect();
        let readers = readers(&section, tokens);
        let patterns = patterns(&section);
        let assessors = fields.named("assessors").into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        let webhook = section.text("webhook").map(|text| text.value.to_owned());
        if let Some(name) = webhook.as_deref().filter(|name| !assessors.contains(name)) {
            let near = nearest(name, assessors.iter().copied());
            let what = format!("there is no assessor {}", scalar::shown(name));
            section.fault("webhook", Complaint::new(what, "name one that stands under `assessors`"), near);
        }
        let earlier_keys = earlier.into_iter().collect::<Option<Vec<_>>>()?;
        Some(Some(Capture { key: key?, earlier_keys, readers, patterns, webhook }))
    }

    /// A secret that can seal.
    fn seal_key(&self, fields: &Fields<'_>, text: Placed<&str>) -> Option<Secret> {
        let place = Placed { value: text.value, at: text.at, path: text.path.clone() };
        let secret = self.secret(fields, text)?;
        if SealKey::read(secret.expose()).is_none() {
            let complaint =
                Complaint::new("what is found there is no key", "put 64 hex digits there: `openssl rand -hex 32`");
            fields.reading.fault(place.at, &place.path, complaint, None);
            return None;
        }
        Some(secret)
    }
}

/// Names under `api.tokens`: whoever has no token of their own cannot be told from others, and reads nothing.
fn readers(section: &Fields<'_>, tokens: &BTreeMap<String, Secret>) -> BTreeSet<String> {
    let words = section.words("readers");
    if words.is_empty() && section.node("readers").is_some() {
        let complaint = Complaint::new("nobody may read what is captured", "name an operator of `api.tokens`");
        section.fault("readers", complaint, None);
    }
    for Placed { value, at, path } in &words {
        if !tokens.contains_key(*value) {
            let known: Vec<&str> = tokens.keys().map(String::as_str).collect();
            let what = format!("there is no operator {}", scalar::shown(value));
            let mend = if known.is_empty() {
                "give each reader a token of their own: `api: { tokens: { NAME: ${NAME_TOKEN} } }`".to_owned()
            } else {
                format!("name one of {}, or add the token under `api.tokens`", listed(&known))
            };
            let near = nearest(value, known.iter().copied());
            section.reading.fault(*at, path, Complaint::new(what, mend), near);
        }
    }
    words.into_iter().map(|word| word.value.to_owned()).collect()
}

fn patterns(section: &Fields<'_>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (name, node) in section.entries("patterns") {
        let Some(Placed { value, at, path }) = scalar_text(node) else { continue };
        if let Err(error) = Redactor::new([(name, value)]) {
            let complaint =
                Complaint::new(format!("this is no pattern: {error}"), "write it as the regex crate reads it");
            section.reading.fault(at, &path, complaint, None);
        }
        found.insert(name.to_owned(), value.to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{Made, made};
    use crate::config::{Faults, Process, parse_process};
    use std::path::Path;

    const REST: &str = "
api: { tokens: { alice: ${ALICE_TOKEN} } }
providers: { openai: { kind: openai } }
assessors: { names: { url: file:secrets/hook } }
";

    fn parsed(text: &str) -> Result<Process, Faults> {
        let mut around: Made = made();
        around.env.insert("CAPTURE_KEY".to_owned(), "5a".repeat(32));
        parse_process(&format!("{REST}{text}"), Path::new("etc/coalmine.yaml"), &around)
    }

    fn with(capture: &str, route: &str) -> String {
        format!(
            "capture: {capture}\nroutes: {{ support: {{ stable: {{ model: openai/gpt-4.1 }}, capture: {route} }} }}\n"
        )
    }

    #[test]
    fn it_is_off_by_default_and_read_whole() {
        let off = parsed("routes: { support: { stable: { model: openai/gpt-4.1 } } }\n").unwrap();
        assert!(off.capture.is_none() && off.routes.values().all(|route| route.capture.is_none()));
        let text = with(
            "{ key: ${CAPTURE_KEY}, readers: [alice], webhook: names, patterns: { order: 'ORD-[0-9]+' } }",
            "{ sample: 5% }",
        );
        let on = parsed(&text).unwrap();
        let capture = on.capture.unwrap();
        assert_eq!((capture.webhook.as_deref(), capture.patterns["order"].as_str()), (Some("names"), "ORD-[0-9]+"));
        assert!(!format!("{capture:?}").contains("5a5a"));
        let rule = on.routes.values().next().unwrap().capture.unwrap();
        assert_eq!((rule.sample.bp(), rule.text_max_bytes, rule.rows_max), (500, 16 << 10, 1_000));
        assert_eq!(rule.keep.0, 7 * 24 * 60 * 60 * 1_000);
    }

    #[test]
    fn what_would_keep_answers_in_the_clear_or_for_nobody_is_refused() {
        let key = "key: ${CAPTURE_KEY}";
        for (capture, route, said) in [
            ("{ key: ${ALICE_TOKEN}, readers: [alice] }".to_owned(), "{ sample: 5% }", "64 hex digits"),
            (format!("{{ {key}, readers: [] }}"), "{ sample: 5% }", "nobody may read"),
            (format!("{{ {key}, readers: [bob] }}"), "{ sample: 5% }", "no operator `bob`"),
            (format!("{{ {key}, readers: [alice], webhook: other }}"), "{ sample: 5% }", "no assessor `other`"),
            (format!("{{ {key}, readers: [alice], patterns: {{ x: 'a*' }} }}"), "{ sample: 5% }", "no pattern"),
            (format!("{{ {key}, readers: [alice] }}"), "{ sample: 5%, text: 1MB }", "24KB"),
            (format!("{{ {key}, readers: [alice] }}"), "{ keep: 1d }", "sample"),
        ] {
            let told = parsed(&with(&capture, route)).unwrap_err().to_string();
            assert!(told.contains(said), "{capture} {route}: {told}");
            assert!(!told.contains("hush-alice"), "{told}");
        }
        let alone = "routes: { support: { stable: { model: openai/gpt-4.1 }, capture: { sample: 5% } } }\n";
        let told = parsed(alone).unwrap_err().to_string();
        assert!(told.contains("under which key"), "{told}");
    }
}
